using Worker.Vms.Simulated.Iommu;

namespace Worker.Vms.Simulated.Guest;

// Page requests and stalled transactions, one after the other as one kernel thread serves them.
internal sealed partial class SvaDriver
{
    private const int MaxFaults = 1024, MaxPages = 16;

    private sealed class Fault
    {
        public readonly ulong[] Addresses = new ulong[MaxPages];
        public readonly bool[] Writes = new bool[MaxPages];
        public bool InUse, IsWhole;
        public uint StreamId;
        public int Pasid, Group, Stag, Count, Next;
    }

    private readonly Fault[] _faults = new Fault[MaxFaults];
    private long _busyUntil;
    private int _faultsInUse, _faultsUsed;

    public int FaultsInHand => _faultsInUse;
    public long Answers { get; private set; }

    public void PageQueueInterrupts()
    {
        _smmu.PageRequestsAreRead();
        while (_faultsInUse < MaxFaults && _smmu.TryTakePageRequest(out var request))
        {
            var index = FindUnfinished(request.StreamId, request.Group);
            if (index < 0)
                index = Take(request.StreamId, request.SubstreamId, request.Group, -1);
            Add(_faults[index], request.Address, request.Write);
            if (request.Last)
                Schedule(index);
        }
        if (!_smmu.PageRequests.IsEmpty)
            _agenda.After(_timings.Interrupt, Activity.PageQueueInterrupts);
        else if (_smmu.PageRequests.HasOverflowed)
        {
            // The last of these was discarded and answered by the SMMU (IHI 0070, 8.1.1).
            DropUnfinished(null);
            _smmu.PageRequests.AcknowledgeOverflow();
        }
    }

    public void EventQueueInterrupts()
    {
        _smmu.EventsAreRead();
        while (_faultsInUse < MaxFaults && _smmu.TryTakeEvent(out var record))
        {
            if (record.Stag < 0)
                continue;
            var index = Take(record.StreamId, record.SubstreamId, -1, record.Stag);
            Add(_faults[index], record.Address, !record.Read);
            Schedule(index);
        }
        if (!_smmu.Events.IsEmpty)
            _agenda.After(_timings.Interrupt, Activity.EventQueueInterrupts);
        _smmu.Events.AcknowledgeOverflow();
    }

    /// <summary>Serves page after page; one that is copied goes on when the old translation is gone.</summary>
    public void FaultIsServed(int index)
    {
        var fault = _faults[index];
        while (fault.Next < fault.Count)
        {
            if (SpaceFor(fault.Pasid) is not { } space)
            {
                Answer(index, FaultOutcome.Invalid);
                return;
            }
            var address = fault.Addresses[fault.Next];
            switch (space.Fault(address, fault.Writes[fault.Next]))
            {
                case FaultOutcome.Ready:
                    fault.Next++;
                    break;
                case FaultOutcome.Busy:
                    _agenda.After(_timings.Fault, Activity.FaultIsServed, 0, index);
                    return;
                case FaultOutcome.Break:
                    var page = address & ~(space.PageBytes - 1);
                    Begin(new PendingInvalidation(space, fault.Pasid, page, 1, Then.GoOnWithFault, [new GonePage(page, space.FrameInBreak(page))]) { Fault = index });
                    return;
                case var refused:
                    Answer(index, refused);
                    return;
            }
        }
        Answer(index, FaultOutcome.Ready);
    }

    private void GoOn(PendingInvalidation invalidation)
    {
        var outcome = invalidation.Space.FinishBreak(invalidation.Address);
        if (outcome == FaultOutcome.Ready)
        {
            _faults[invalidation.Fault].Next++;
            FaultIsServed(invalidation.Fault);
        }
        else
            Answer(invalidation.Fault, outcome);
    }

    private ProcessAddressSpace? SpaceFor(int pasid) =>
        pasid > 0 && pasid < _states.Length && _states[pasid] is PasidState.Bound or PasidState.Draining ? _spaces[pasid] : null;

    private void Answer(int index, FaultOutcome outcome)
    {
        var fault = _faults[index];
        Answers++;
        if (outcome == FaultOutcome.Ready)
            FaultsServed += fault.Count;
        if (fault.Stag >= 0)
            Push(Command.Resume(fault.StreamId, fault.Stag, outcome == FaultOutcome.Ready ? ResumeAction.Retry : ResumeAction.Abort));
        else
            Push(Command.Respond(fault.StreamId, fault.Pasid, fault.Group, outcome switch { FaultOutcome.Ready => PageAnswer.Success, FaultOutcome.NoMemory => PageAnswer.Failure, _ => PageAnswer.Invalid }));
        // A failure has stopped the device's page requests; the driver lets it try again when memory may have come back.
        if (outcome == FaultOutcome.NoMemory && fault.Stag < 0)
            _agenda.After(_timings.Reset, Activity.PagesAreEnabled, (int)fault.StreamId);
        GiveBack(fault);
    }

    private void Schedule(int index)
    {
        _faults[index].IsWhole = true;
        _busyUntil = Math.Max(_clock.Now, _busyUntil) + _timings.Fault + (_timings.FaultSpread > 0 ? _random.Below(_timings.FaultSpread) : 0);
        _agenda.After(_busyUntil - _clock.Now, Activity.FaultIsServed, 0, index);
    }

    private int Take(uint stream, int pasid, int group, int stag)
    {
        var index = Array.FindIndex(_faults, fault => !fault.InUse);
        var taken = _faults[index];
        (taken.InUse, taken.IsWhole, taken.StreamId, taken.Pasid, taken.Group, taken.Stag, taken.Count, taken.Next) = (true, false, stream, pasid, group, stag, 0, 0);
        _faultsInUse++;
        _faultsUsed = Math.Max(_faultsUsed, index + 1);
        return index;
    }

    private static void Add(Fault fault, ulong address, bool write)
    {
        if (fault.Count == MaxPages)
            return;
        (fault.Addresses[fault.Count], fault.Writes[fault.Count]) = (address, write);
        fault.Count++;
    }

    private int FindUnfinished(uint stream, int group)
    {
        if (_faultsInUse == 0)
            return -1;
        for (var index = 0; index < _faultsUsed; index++)
            if (_faults[index] is { InUse: true, IsWhole: false } fault && fault.StreamId == stream && fault.Group == group)
                return index;
        return -1;
    }

    private void DropUnfinished(uint? stream)
    {
        foreach (var fault in _faults)
            if (fault is { InUse: true, IsWhole: false } && (stream is null || fault.StreamId == stream))
                GiveBack(fault);
    }

    private void GiveBack(Fault fault)
    {
        fault.InUse = false;
        _faultsInUse--;
    }
}
