using Worker.Vms.Simulated.Memory;
using Worker.Vms.Simulated.Pci;

namespace Worker.Vms.Simulated.Iommu;

internal enum Outcome : byte { Hit, Pending, Abort }

/// <summary>What a device asks of the SMMU: a transaction to be translated, or (<c>Ats</c>) a translation to be told. <c>SubstreamId</c>: -1 without a PASID.
/// <c>Slot</c> and <c>Epoch</c>: the device's own names of it.</summary>
internal readonly record struct Transaction(uint StreamId, int SubstreamId, ulong Address, bool Write, bool Ats, int Device, int Slot, int Epoch);

/// <summary>A translation that is known at once.</summary>
internal readonly record struct Translated(ulong Output, Permissions Permissions);

/// <summary>Sizes of an SMMU, each a log2 of entries but the TLB's.</summary>
internal sealed record SmmuSizes(int StreamBits, int CommandBits, int EventBits, int PageRequestBits, int TlbEntries)
{
    public static readonly SmmuSizes Default = new(4, 8, 7, 7, 2048);
}

// An SMMUv3 (IHI 0070) as far as SVA needs one: stream table and context descriptors, nested walks, a TLB, and the three queues, all in memory.
// Guarantees: a walk reads the tables as they are when it begins and fills the TLB when it ends; one that an invalidation overtakes fills nothing, and a
// SYNC completes only when no such walk is left and every ATC invalidation before it was answered. So after a SYNC nothing old is used.
// Assumes software to keep the order TLBI, SYNC, ATC_INV, SYNC; linear tables; no secure state, no 52-bit addresses, no hardware update of table entries.
internal sealed partial class Smmu
{
    private const int ContextSlots = 256, MaxWalks = 1024;
    private readonly PhysicalMemory _memory;
    private readonly Agenda _agenda;
    private readonly VirtualClock _clock;
    private readonly SimulatedTimings _timings;
    private readonly PageFaultCounters _pageFaults;
    private readonly SmmuSizes _sizes;
    private readonly TranslationCache _tlb;
    private readonly List<Accelerator> _devices = [];
    private readonly TranslationContext[] _contexts = new TranslationContext[ContextSlots];
    private readonly bool[] _contextCached = new bool[ContextSlots];
    private readonly Walk[] _walks = new Walk[MaxWalks];
    private readonly Stack<int> _freeWalks = new(MaxWalks);
    /// <summary>No walk beyond it was ever begun.</summary>
    private int _walksUsed;

    private struct Walk
    {
        public Transaction Transaction;
        public TranslationContext Context;
        public WalkResult Result;
        public bool Running, Overtaken;
    }

    public Smmu(PhysicalMemory memory, VirtualClock clock, Agenda agenda, SimulatedTimings timings, PageFaultCounters pageFaults, SmmuSizes sizes)
    {
        (_memory, _clock, _agenda, _timings, _pageFaults, _sizes) = (memory, clock, agenda, timings, pageFaults, sizes);
        StreamTable = memory.Take(16);
        Commands = new RecordQueue(memory, memory.Take(16), sizes.CommandBits, Command.Words);
        Events = new RecordQueue(memory, memory.Take(16), sizes.EventBits, EventRecord.Words);
        PageRequests = new RecordQueue(memory, memory.Take(16), sizes.PageRequestBits, PageRequest.Words);
        _tlb = new TranslationCache(sizes.TlbEntries);
        for (var walk = MaxWalks - 1; walk >= 0; walk--)
            _freeWalks.Push(walk);
        for (var stag = _stalls.Length - 1; stag >= 0; stag--)
            _freeStags.Push(stag);
    }

    /// <summary>SMMU_STRTAB_BASE: linear, of <see cref="SmmuSizes.StreamBits"/>.</summary>
    public ulong StreamTable { get; }
    public RecordQueue Commands { get; }
    public RecordQueue Events { get; }
    public RecordQueue PageRequests { get; }
    public long TlbHits { get; private set; }
    public long TlbMisses { get; private set; }
    public long WalksBegun { get; private set; }

    public void Attach(Accelerator device) => _devices.Add(device);

    public ulong AddressOfSte(uint stream) => StreamTable + (stream * (ulong)StreamTableEntry.Bytes);

    /// <summary>Answers at once from the TLB; otherwise a walk begins, or the transaction waits for software, and its device is told later.</summary>
    public Outcome Translate(in Transaction transaction, out Translated translated)
    {
        translated = default;
        ref readonly var context = ref ContextOf(transaction.StreamId, transaction.SubstreamId);
        if (context.Fault != EventType.None)
        {
            // What is wrong with the configuration is not recorded for ATS: SMMU_CR2.REC_CFG_ATS is 0.
            if (!transaction.Ats)
                Record(new EventRecord(context.Fault, transaction.StreamId, transaction.SubstreamId, -1, !transaction.Write, false, FaultClass.ContextDescriptor, transaction.Address, 0));
            return Outcome.Abort;
        }
        if (transaction.Ats && !context.Ats)
        {
            Record(new EventRecord(EventType.BadAtsRequest, transaction.StreamId, transaction.SubstreamId, -1, !transaction.Write, false, FaultClass.Input, transaction.Address, 0));
            return Outcome.Abort;
        }
        if (context.Bypass)
        {
            translated = new Translated(transaction.Address, Permissions.All);
            return Outcome.Hit;
        }
        if (_tlb.TryFind(context.Tag, transaction.Address, context.PageShift, out var output, out var permissions1, out var permissions2))
        {
            TlbHits++;
            translated = new Translated(output, permissions1 & permissions2);
            var wanted = Wanted(transaction);
            if ((translated.Permissions & wanted) == wanted)
                return Outcome.Hit;
            return Fault(transaction, context, new WalkResult { Fault = EventType.Permission, AtStage2 = (permissions1 & wanted) == wanted, Class = FaultClass.Input });
        }
        TlbMisses++;
        BeginWalk(transaction, context);
        return Outcome.Pending;
    }

    private void BeginWalk(in Transaction transaction, in TranslationContext context)
    {
        var index = _freeWalks.Pop();
        _walksUsed = Math.Max(_walksUsed, index + 1);
        ref var walk = ref _walks[index];
        (walk.Transaction, walk.Context, walk.Running, walk.Overtaken) = (transaction, context, true, false);
        TableWalk.Run(_memory, context, transaction.Address, Wanted(transaction), out walk.Result);
        WalksBegun++;
        _agenda.After(_timings.WalkRead * Math.Max(1, walk.Result.Reads), Activity.WalkEnds, 0, index);
    }

    public void WalkEnds(int index)
    {
        ref var walk = ref _walks[index];
        var transaction = walk.Transaction;
        walk.Running = false;
        _freeWalks.Push(index);
        ref readonly var result = ref walk.Result;
        if (result.Fault == EventType.None && !walk.Overtaken)
            _tlb.Fill(walk.Context.Tag, transaction.Address, walk.Context.PageShift, result.LeafShift, result.Output, result.Permissions1, result.Permissions2);
        var device = _devices[transaction.Device];
        if (transaction.Epoch == device.Epoch)
            Tell(device, transaction, walk.Context, result);
        if (walk.Overtaken && --_overtaken == 0)
            TryCompleteSync();
    }

    private void Tell(Accelerator device, in Transaction transaction, in TranslationContext context, in WalkResult result)
    {
        if (transaction.Ats)
            device.SendCompletion(transaction.Slot, result.Output, result.Fault == EventType.None ? result.Permissions : Permissions.None, IsAbort(result.Fault));
        else if (result.Fault == EventType.None)
            device.Finish(transaction.Slot, result.Output);
        else if (Fault(transaction, context, result) == Outcome.Abort)
            device.Abort(transaction.Slot);
    }

    /// <summary>Reads of them fail with an abort; the others say that there is no such page now (IHI 0070, 3.9.1).</summary>
    private static bool IsAbort(EventType fault) => fault is EventType.AddressSize or EventType.WalkExternalAbort;

    private static Permissions Wanted(in Transaction transaction) => transaction.Ats ? Permissions.None : transaction.Write ? Permissions.Write : Permissions.Read;

    private ref readonly TranslationContext ContextOf(uint stream, int substream)
    {
        var slot = (int)((stream * 31) + (uint)(substream + 1)) & (ContextSlots - 1);
        ref var context = ref _contexts[slot];
        if (!_contextCached[slot] || context.StreamId != stream || context.SubstreamId != substream)
        {
            ReadContext(stream, substream, out context);
            _contextCached[slot] = true;
        }
        return ref context;
    }

    private void ReadContext(uint stream, int substream, out TranslationContext context)
    {
        context = new TranslationContext { StreamId = stream, SubstreamId = substream };
        context.Fault = stream >> _sizes.StreamBits != 0 ? EventType.BadStreamId
            : !StreamTableEntry.TryRead(_memory, AddressOfSte(stream), out var ste) ? EventType.SteFetch
            : !ste.Valid || ste.Config == StreamConfig.Abort ? EventType.BadSte
            : ReadStages(ste, substream, ref context);
    }

    private EventType ReadStages(in StreamTableEntry ste, int substream, ref TranslationContext context)
    {
        (context.Ats, context.Vmid, context.Stage2) = (ste.Ats, ste.Vmid, ste.HasStage2);
        (context.Root2, context.Shift2, context.InputBits2, context.AccessFaultDisabled2) = (ste.Stage2Root, ste.Stage2Shift, ste.Stage2InputBits, ste.Stage2AccessFaultDisabled);
        context.RecordsFaults = true;
        if (!ste.HasStage1)
        {
            if (substream >= 0)
                return EventType.BadSubstreamId;
            context.Bypass = !ste.HasStage2;
            return EventType.None;
        }
        if (substream < 0 && ste.ContextBits > 0)
        {
            if (ste.Default == DefaultSubstream.Terminate)
                return EventType.StreamDisabled;
            if (ste.Default == DefaultSubstream.BypassStage1)
            {
                context.Bypass = !ste.HasStage2;
                return EventType.None;
            }
        }
        else if (substream == 0 && ste.Default == DefaultSubstream.Substream0 && ste.ContextBits > 0)
            return EventType.StreamDisabled;
        return substream >= 0 && (ste.ContextBits == 0 || substream >> ste.ContextBits != 0) ? EventType.BadSubstreamId : ReadDescriptor(ste, Math.Max(0, substream), ref context);
    }

    private EventType ReadDescriptor(in StreamTableEntry ste, int substream, ref TranslationContext context)
    {
        var address = ste.ContextTable + ((ulong)substream * ContextDescriptor.Bytes);
        if (ste.HasStage2)
        {
            TableWalk.Run(_memory, context, address, Permissions.Read, out var result);
            if (result.Fault != EventType.None)
                return result.Fault;
            address = result.Output;
        }
        if (!_memory.TryRead(address, out var word0) || !_memory.TryRead(address + sizeof(ulong), out var word1))
            return EventType.CdFetch;
        var cd = ContextDescriptor.Decode(word0, word1);
        if (!cd.Valid || !ContextDescriptor.IsLegal(word0))
            return EventType.BadCd;
        context.Stage1 = true;
        (context.Asid, context.Root1, context.Shift1, context.InputBits1) = (cd.Asid, cd.Root, cd.Shift, cd.InputBits);
        (context.Stalls, context.RecordsFaults, context.AccessFaultDisabled1, context.WalksDisabled) = (cd.Stall && !ste.StallDisabled, cd.RecordsFaults, cd.AccessFaultDisabled, cd.Disabled);
        return EventType.None;
    }
}
