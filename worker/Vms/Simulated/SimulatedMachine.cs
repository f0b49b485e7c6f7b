using Contracts;
using Worker.Vms.Simulated.Guest;
using Worker.Vms.Simulated.Iommu;
using Worker.Vms.Simulated.Memory;
using Worker.Vms.Simulated.Pci;
using Worker.Vms.Simulated.Workloads;

namespace Worker.Vms.Simulated;

/// <summary>Everything that a run follows from. Shifts: of the granules of stage 1 and 2, 12 or 16. <c>MemoryMib</c>: the guest's; <c>Pages</c>: of the workload's buffer, a power of two.</summary>
internal sealed record MachineModel(ulong Seed, WorkloadKind Workload, AcceleratorModel Device, int Devices, int Shift1, int Shift2, int MemoryMib, int Pages)
{
    public static readonly MachineModel Default = new(1, WorkloadKind.Streaming, AcceleratorModel.Default, 1, 12, 12, 128, 1024);

    public SmmuSizes Smmu { get; init; } = SmmuSizes.Default;
    public SimulatedTimings Timings { get; init; } = SimulatedTimings.Default;
}

/// <summary>What the machine has counted since its start.</summary>
internal sealed record MachineCounters(
    long Accesses, long Done, long Failed, long GuestFaults, long AtsRequests, long AtsTranslated, long AtcHits, long TlbHits, long TlbMisses, long Events, long EventsLost, long PageRequestsLost,
    long PageFaults, long PageFaultsSuccess, long PageFaultsInvalid, long PageFaultsFailure)
{
    /// <summary>Accesses that needed a translation and got one, from whatever cache or walk.</summary>
    public long Translations => Done;
}

// A guest with accelerators, their SMMU (or virtio-iommu) and a process whose addresses they share, in virtual time. Guarantees: what it does is a function of
// its model alone, whatever the wall's clock and however the run is divided; no two machines share anything.
internal sealed class SimulatedMachine
{
    private const ulong HostOrigin = 0x8_0000_0000;
    private const ushort Vmid = 7;
    private const uint FirstStream = 8, Domain = 1;
    private const int HostMibBeside = 32;
    private readonly Agenda _agenda;
    private readonly Accelerator[] _devices;
    private readonly Workload[] _workloads;
    private bool _paused;

    public SimulatedMachine(MachineModel model)
    {
        Model = model;
        _agenda = new Agenda(Clock);
        // The host has what the guest has, and what tables and queues need.
        Memory = new PhysicalMemory(HostOrigin, (model.MemoryMib + HostMibBeside) << (20 - PhysicalMemory.FrameShift));
        var stage2 = new PageTables(Memory, null, model.Shift2);
        Guest = new GuestPhysicalMemory(Memory, stage2, model.Shift1, (long)model.MemoryMib << 20);
        Smmu = new Smmu(Memory, Clock, _agenda, model.Timings, PageFaults, model.Smmu);
        Driver = new SvaDriver(Smmu, Memory, Guest, model.Shift1, model.Device.Faults, Vmid, _agenda, Clock, model.Timings, new SeededRandom(model.Seed ^ 0xD1));
        Process = Driver.NewSpace();
        Buffer = Process.Map(model.Pages, writable: true);
        (_devices, _workloads) = (new Accelerator[model.Devices], new Workload[model.Devices]);
        Virtio = model.Device.Faults == FaultModel.Mapped ? new VirtioIommu((1UL << PageTables.AddressBits) - 1, 255, Enumerable.Range(0, model.Devices).Select(d => FirstStream + (uint)d).ToHashSet())
        {
            Interrupt = () => _agenda.After(model.Timings.Interrupt, Activity.EventQueueInterrupts),
        } : null;
        for (var index = 0; index < model.Devices; index++)
        {
            var ground = new WorkloadGround(Driver, Process, Buffer, model.Pages, new SeededRandom(model.Seed + ((ulong)index << 32)));
            _workloads[index] = Workloads.Workloads.Of(model.Workload, ground);
            _devices[index] = new Accelerator(
                index, FirstStream + (uint)index, Math.Min(model.Shift1, model.Shift2), model.Device, _workloads[index], Smmu, Clock, _agenda, model.Timings, PageFaults, new SeededRandom(model.Seed ^ ((ulong)index << 8) ^ 0xAC))
            {
                Virtio = Virtio,
            };
            Driver.Attach(_devices[index], stage2);
            _devices[index].Pause(true);
        }
        Driver.TryBind(Process);
        foreach (var device in _devices)
            Virtio?.Serve(VirtioIommu.AttachRequest(Domain, device.StreamId));
        Share(Buffer, model.Pages);
    }

    public MachineModel Model { get; }
    public VirtualClock Clock { get; } = new();
    public PhysicalMemory Memory { get; }
    public GuestPhysicalMemory Guest { get; }
    public Smmu Smmu { get; }
    public SvaDriver Driver { get; }
    public VirtioIommu? Virtio { get; }
    public ProcessAddressSpace Process { get; }
    public ulong Buffer { get; }
    public IReadOnlyList<Accelerator> Devices => _devices;
    public PageFaultCounters PageFaults { get; } = new();

    public MachineCounters Counters => new(
        _devices.Sum(d => d.Begun), _devices.Sum(d => d.Done), _devices.Sum(d => d.Failed), GuestFaults, _devices.Sum(d => d.AtsRequests), _devices.Sum(d => d.AtsTranslated), _devices.Sum(d => d.AtcHits),
        Smmu.TlbHits, Smmu.TlbMisses, Virtio?.FaultsRecorded ?? Smmu.EventsRecorded, Virtio?.FaultsLost ?? Smmu.EventsLost, Smmu.PageRequestsLost,
        PageFaults.Raised, PageFaults.Success, PageFaults.Invalid, PageFaults.Failure);

    /// <summary>Those of the one IOMMU that the guest sees, by type or reason; without what has not happened.</summary>
    public IReadOnlyDictionary<string, long> Events => (Virtio is { } virtio
        ? Enum.GetValues<VirtioFaultReason>().Select(reason => (Name: reason.ToString().ToUpperInvariant(), Count: virtio.FaultsOf(reason)))
        : Enum.GetValues<EventType>().Select(type => (Name: EventRecord.NameOf(type), Count: Smmu.EventsOf(type)))).Where(e => e.Count > 0).ToDictionary(e => e.Name, e => e.Count);

    private long GuestFaults => Driver.FaultsOfExited + Enumerable.Range(1, Driver.Pasids - 1).Sum(pasid => Driver.SpaceOf(pasid)?.FaultsServed ?? 0);

    /// <summary>Lets the workloads begin.</summary>
    public void Begin()
    {
        for (var index = 0; index < _devices.Length; index++)
        {
            _devices[index].Pause(false);
            if (Virtio is null)
                _agenda.After(_workloads[index].ActsEvery, Activity.ProcessActs, index);
        }
    }

    /// <summary>No device begins anything more, and no process acts; what is under way goes on.</summary>
    public void Pause()
    {
        _paused = true;
        foreach (var device in _devices)
            device.Pause(true);
    }

    /// <summary>Simulates up to a time of the virtual clock.</summary>
    public void Run(long until)
    {
        while (true)
        {
            var next = _devices[0];
            foreach (var device in _devices)
                if (device.NextIssueAt < next.NextIssueAt)
                    next = device;
            if (next.NextIssueAt < _agenda.NextAt && next.NextIssueAt <= until)
                next.IssueUntil(_devices.Length == 1 ? until : next.NextIssueAt);
            else if (_agenda.NextAt <= until)
                Do(_agenda.Take());
            else
                break;
        }
        Clock.AdvanceTo(until);
    }

    private void Do(in Due due)
    {
        Clock.AdvanceTo(due.At);
        var index = due.Subject & 0xFF;
        switch (due.What)
        {
            case Activity.AtsRequestArrives or Activity.AtsCompletionArrives or Activity.PageRequestArrives or Activity.PageResponseArrives or Activity.PageGroupCloses when due.Subject >> 8 != _devices[index].Epoch:
                // From before a reset of the device.
                break;
            case Activity.AtsRequestArrives:
                AskSmmu(_devices[index], due.Item);
                break;
            case Activity.AtsCompletionArrives:
                _devices[index].CompletionArrives(due.Item, due.Detail);
                break;
            case Activity.PageRequestArrives:
                Smmu.Receive(index, _devices[index].PageRequestOf(due.Item, due.Detail == 1));
                break;
            case Activity.PageGroupCloses:
                _devices[index].GroupCloses();
                break;
            case Activity.PageResponseArrives:
                _devices[index].ResponseArrives(due.Item, due.Detail);
                break;
            case Activity.InvalidationArrives:
                _devices[index].Invalidate(due.Item, (uint)due.Detail);
                break;
            case Activity.InvalidationIsAnswered:
                Smmu.InvalidationIsAnswered(due.Item, (uint)due.Detail);
                break;
            case Activity.InvalidationTimesOut:
                Smmu.InvalidationTimesOut(due.Item, (uint)due.Detail);
                break;
            case Activity.WalkEnds:
                Smmu.WalkEnds(due.Item);
                break;
            case Activity.CommandIsDue:
                Smmu.CommandIsDue();
                break;
            case Activity.PageQueueInterrupts:
                Driver.PageQueueInterrupts();
                break;
            case Activity.EventQueueInterrupts:
                Driver.EventQueueInterrupts();
                // The driver of virtio-iommu writes them to its log, and that is all.
                while (Virtio?.TryTakeEvent(out _) == true)
                {
                }
                break;
            case Activity.FaultIsServed:
                Driver.FaultIsServed(due.Item);
                break;
            case Activity.PasidIsDrained:
                Driver.PasidIsDrained(due.Item);
                break;
            case Activity.PagesAreEnabled:
                EnablePages((uint)due.Subject);
                break;
            case Activity.ProcessActs:
                if (!_paused)
                    _workloads[index].Act();
                _agenda.After(_workloads[index].ActsEvery, Activity.ProcessActs, index);
                break;
        }
    }

    private void AskSmmu(Accelerator device, int slot)
    {
        var outcome = Smmu.Translate(device.TranslationRequest(slot), out var translated);
        if (outcome != Outcome.Pending)
            device.SendCompletion(slot, translated.Output, translated.Permissions, outcome == Outcome.Abort);
    }

    private void EnablePages(uint stream)
    {
        foreach (var device in _devices)
            if (device.StreamId == stream)
                device.EnablePages();
    }

    /// <summary>Pages that devices may use from now on. Only without page requests that takes anything: they are there before the device starts, mapped at the
    /// process's own addresses, in one domain of all devices.</summary>
    public void Share(ulong address, int pages)
    {
        if (Virtio is not { } virtio)
            return;
        for (var page = address; page < address + ((ulong)pages << Model.Shift1); page += Process.PageBytes)
            if (Process.Fault(page, write: true) == FaultOutcome.Ready)
                virtio.Serve(VirtioIommu.MapRequest(
                    Domain, page, page + Process.PageBytes - 1, Descriptor.AddressOf(Process.Tables.Get(page), Model.Shift1), VirtioIommu.MapRead | VirtioIommu.MapWrite));
    }

    /// <summary>Pages that the process gives up.</summary>
    public void Unshare(ulong address, int pages)
    {
        Virtio?.Serve(VirtioIommu.UnmapRequest(Domain, address, address + ((ulong)pages << Model.Shift1) - 1));
        Driver.Unmap(Process, address, pages, keepArea: false);
    }
}
