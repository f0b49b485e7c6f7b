using CsCheck;
using Worker.Vms.Simulated;
using Worker.Vms.Simulated.Iommu;
using Worker.Vms.Simulated.Memory;
using Worker.Vms.Simulated.Pci;
using Worker.Vms.Simulated.Workloads;
using Xunit;

namespace Worker.Tests.Simulated;

/// <summary>Two VMs behind one SMMU, whose guests use the same PASIDs, ASIDs and addresses: what one maps, the other never reaches.</summary>
public sealed class IsolationTests
{
    private const int Vms = 2, Pasids = 2, Pages = 6;

    private sealed class Rig
    {
        private readonly PhysicalMemory _memory = new(0x8_0000_0000, 4096);
        private readonly VirtualClock _clock = new();
        private readonly Agenda _agenda;
        private readonly Smmu _smmu;
        private readonly GuestPhysicalMemory[] _guests = new GuestPhysicalMemory[Vms];
        private readonly PageTables[,] _tables = new PageTables[Vms, Pasids];
        private readonly Accelerator[] _devices = new Accelerator[Vms];
        private readonly ulong?[,,] _model = new ulong?[Vms, Pasids, Pages];
        private ulong? _reached;

        public Rig()
        {
            _agenda = new Agenda(_clock);
            var faults = new PageFaultCounters();
            _smmu = new Smmu(_memory, _clock, _agenda, SimulatedTimings.Default, faults, new SmmuSizes(4, 6, 6, 4, 16));
            for (var vm = 0; vm < Vms; vm++)
            {
                var stage2 = new PageTables(_memory, null, 12);
                _guests[vm] = new GuestPhysicalMemory(_memory, stage2, 12, 1 << 20);
                var contexts = _guests[vm].Take();
                new StreamTableEntry(true, StreamConfig.Nested, contexts, 4, DefaultSubstream.Terminate, false, true, (ushort)(vm + 1), 48, 12, stage2.Root, true).Write(_memory, _smmu.AddressOfSte((uint)vm));
                for (var pasid = 0; pasid < Pasids; pasid++)
                {
                    _tables[vm, pasid] = new PageTables(_memory, _guests[vm], 12);
                    new ContextDescriptor(true, (ushort)(pasid + 1), _tables[vm, pasid].Root, 12, 48, false, true, false, false).Write(_guests[vm], contexts + ((ulong)(pasid + 1) * 64));
                }
                _devices[vm] = new Accelerator(
                    vm, (uint)vm, 12, AcceleratorModel.Default with { Faults = FaultModel.Stall }, new Idle(), _smmu, _clock, _agenda, SimulatedTimings.Default, faults, new SeededRandom(1))
                { Reached = access => _reached = access.Output };
            }
        }

        public void Map(int vm, int pasid, int page)
        {
            if (_model[vm, pasid, page] is not null || !_guests[vm].TryTake(out var frame))
                return;
            _tables[vm, pasid].TrySet(AddressOf(page), Descriptor.Page(frame, Permissions.Read | Permissions.Write));
            _model[vm, pasid, page] = frame;
        }

        public void Unmap(int vm, int pasid, int page, Func<ushort, ushort, ulong, Command> tlbi)
        {
            if (_model[vm, pasid, page] is not { } frame)
                return;
            _tables[vm, pasid].TrySet(AddressOf(page), 0);
            _model[vm, pasid, page] = null;
            _smmu.TryPush(tlbi((ushort)(vm + 1), (ushort)(pasid + 1), AddressOf(page)));
            _smmu.TryPush(Command.Sync());
            RunDry();
            _guests[vm].Return(frame);
        }

        /// <summary>Whether an access went where the model says, and nowhere where it says nothing.</summary>
        public bool Access(int vm, int pasid, int page, bool write)
        {
            _reached = null;
            _devices[vm].Begin(pasid + 1, AddressOf(page) + 0x40, write);
            RunDry();
            while (_smmu.TryTakeEvent(out var record))
                if (record.StreamId != vm || record.SubstreamId != pasid + 1 || record.Type != EventType.Translation)
                    return false;
            return _reached == (_model[vm, pasid, page] is { } frame ? _guests[vm].ToPhysical(frame) + 0x40 : null);
        }

        private static ulong AddressOf(int page) => 0x7F00_0000_0000 + ((ulong)page << 12);

        private void RunDry()
        {
            while (_agenda.Count > 0)
            {
                var due = _agenda.Take();
                _clock.AdvanceTo(due.At);
                if (due.What == Activity.WalkEnds)
                    _smmu.WalkEnds(due.Item);
                else if (due.What == Activity.CommandIsDue)
                    _smmu.CommandIsDue();
                else if (due.What == Activity.EventQueueInterrupts)
                    _smmu.EventsAreRead();
            }
        }
    }

    private sealed class Idle() : Workload(null!)
    {
        public override void Next(out Access access) => access = default;
    }

    [Fact]
    public void TwoVms_WithTheSameNumbers_NeverReachEachOther() => Gen.Select(Gen.Int[0, 9], Gen.Int[0, Vms - 1], Gen.Int[0, Pasids - 1], Gen.Int[0, Pages - 1]).Array[1, 60].Sample(steps =>
    {
        var rig = new Rig();
        foreach (var (what, vm, pasid, page) in steps)
        {
            switch (what)
            {
                case 0 or 1 or 2:
                    rig.Map(vm, pasid, page);
                    break;
                case 3:
                    rig.Unmap(vm, pasid, page, Command.TlbiByAddress);
                    break;
                case 4:
                    rig.Unmap(vm, pasid, page, (vmid, asid, _) => Command.TlbiByAsid(vmid, asid));
                    break;
                case 5:
                    rig.Unmap(vm, pasid, page, (vmid, _, _) => Command.TlbiByVmid(vmid));
                    break;
                default:
                    if (!rig.Access(vm, pasid, page, write: what > 7))
                        return false;
                    break;
            }
        }
        for (var all = 0; all < Vms * Pasids * Pages; all++)
            if (!rig.Access(all % Vms, all / Vms % Pasids, all / Vms / Pasids, write: false))
                return false;
        return true;
    }, iter: 1_500);
}
