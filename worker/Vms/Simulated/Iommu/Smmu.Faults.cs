namespace Worker.Vms.Simulated.Iommu;

// Faults: event records, stalled transactions, and the PRI queue. Guarantees: a stalled transaction waits for one CMD_RESUME and its record is never lost,
// only late; any other record is lost, and counted, when the queue is full (7.4). A page request that meets a full PRI queue, and all after it until
// software has acknowledged the overflow, are discarded, and the last one of a group is answered with success so that the device tries again (8.1).
internal sealed partial class Smmu
{
    /// <summary>In a response's detail: the SMMU's own answer to a group that it discarded.</summary>
    public const ulong AutomaticResponse = 1 << 8;

    private struct Stall
    {
        public Transaction Transaction;
        public EventRecord Record;
        public long Since;
        public bool Waits;
    }

    private readonly Stall[] _stalls = new Stall[MaxWalks];
    private readonly Stack<int> _freeStags = new(MaxWalks);
    private readonly Queue<int> _unrecorded = new();
    private readonly long[] _eventsOf = new long[256];
    private bool _eventsTold, _pagesTold;

    public long EventsRecorded { get; private set; }
    public long EventsLost { get; private set; }
    public long PageRequestsLost { get; private set; }
    public long ResumesOfNothing { get; private set; }
    public int Stalled => _stalls.Length - _freeStags.Count;

    public long EventsOf(EventType type) => _eventsOf[(byte)type];

    /// <summary>The driver has begun to read a queue: what comes from now on interrupts it again.</summary>
    public void EventsAreRead() => _eventsTold = false;

    public void PageRequestsAreRead() => _pagesTold = false;

    public bool TryTakeEvent(out EventRecord record)
    {
        record = default;
        Span<ulong> words = stackalloc ulong[EventRecord.Words];
        if (!Events.TryTake(words))
            return false;
        record = EventRecord.Decode(words);
        while (!Events.IsFull && _unrecorded.TryDequeue(out var stag))
            Put(_stalls[stag].Record);
        return true;
    }

    public bool TryTakePageRequest(out PageRequest request)
    {
        request = default;
        Span<ulong> words = stackalloc ulong[PageRequest.Words];
        if (!PageRequests.TryTake(words))
            return false;
        request = PageRequest.Decode(words);
        return true;
    }

    public void Receive(int device, in PageRequest request)
    {
        if (PageRequests.IsFull)
            PageRequests.Overflow();
        if (PageRequests.HasOverflowed)
        {
            PageRequestsLost++;
            if (request.Last)
                _agenda.After(_timings.Link, Activity.PageResponseArrives, _devices[device].Address(), request.Group, (ulong)PageResponse.Success | AutomaticResponse);
            TellOfPages();
            return;
        }
        Span<ulong> words = stackalloc ulong[PageRequest.Words];
        request.Encode(words);
        PageRequests.TryPut(words);
        TellOfPages();
    }

    private void TellOfPages()
    {
        if (_pagesTold)
            return;
        _pagesTold = true;
        _agenda.After(_timings.Interrupt, Activity.PageQueueInterrupts);
    }

    private Outcome Fault(in Transaction transaction, in TranslationContext context, in WalkResult result)
    {
        if (transaction.Ats)
            return Outcome.Abort;
        var canStall = context.Stalls && !result.AtStage2 && result.Fault is EventType.Translation or EventType.AddressSize or EventType.Access or EventType.Permission;
        var stag = canStall && _freeStags.TryPop(out var free) ? free : -1;
        var record = new EventRecord(result.Fault, transaction.StreamId, transaction.SubstreamId, stag, !transaction.Write, result.AtStage2, result.Class, transaction.Address, result.Intermediate);
        if (stag < 0)
        {
            if (context.RecordsFaults)
                Record(record);
            return Outcome.Abort;
        }
        _stalls[stag] = new Stall { Transaction = transaction, Record = record, Since = _clock.Now, Waits = true };
        _pageFaults.Raise();
        _devices[transaction.Device].Stall(transaction.Slot, stag);
        if (Events.IsFull)
            _unrecorded.Enqueue(stag);
        else
            Put(record);
        return Outcome.Pending;
    }

    private void Record(in EventRecord record)
    {
        if (!Events.IsFull)
        {
            Put(record);
            return;
        }
        EventsLost++;
        Events.Overflow();
    }

    private void Put(in EventRecord record)
    {
        Span<ulong> words = stackalloc ulong[EventRecord.Words];
        record.Encode(words);
        Events.TryPut(words);
        EventsRecorded++;
        _eventsOf[(byte)record.Type]++;
        if (_eventsTold)
            return;
        _eventsTold = true;
        _agenda.After(_timings.Interrupt, Activity.EventQueueInterrupts);
    }

    private void Resume(Command command)
    {
        ref var stall = ref _stalls[command.Stag % _stalls.Length];
        if (command.Stag >= _stalls.Length || !stall.Waits || stall.Transaction.StreamId != command.StreamId)
        {
            ResumesOfNothing++;
            return;
        }
        var transaction = stall.Transaction;
        stall.Waits = false;
        _freeStags.Push(command.Stag);
        var retry = command.Action == ResumeAction.Retry;
        _pageFaults.Answer(retry ? PageResponse.Success : PageResponse.Invalid, _clock.Now - stall.Since);
        var device = _devices[transaction.Device];
        if (!retry)
        {
            device.Abort(transaction.Slot);
            return;
        }
        device.Retry(transaction.Slot);
        switch (Translate(transaction, out var translated))
        {
            case Outcome.Hit:
                device.Finish(transaction.Slot, translated.Output);
                break;
            case Outcome.Abort:
                device.Abort(transaction.Slot);
                break;
        }
    }
}
