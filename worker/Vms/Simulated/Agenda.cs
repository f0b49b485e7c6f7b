namespace Worker.Vms.Simulated;

/// <summary>What can be due at a time of the clock.</summary>
internal enum Activity : byte
{
    AtsRequestArrives, AtsCompletionArrives, PageRequestArrives, PageResponseArrives, InvalidationArrives, InvalidationIsAnswered, InvalidationTimesOut,
    PageGroupCloses, WalkEnds, CommandIsDue, PageQueueInterrupts, EventQueueInterrupts, FaultIsServed, PasidIsDrained, PagesAreEnabled, ProcessActs,
}

/// <summary>Something that happens at a time. <c>Subject</c> and <c>Item</c>: of whom and of what, by index; <c>Detail</c>: as the activity has it.</summary>
internal readonly record struct Due(long At, long Order, Activity What, int Subject, int Item, ulong Detail);

// What is to happen, the earliest first and, of one time, what was entered first: a run is then a function of its seed. A binary heap in one array,
// so nothing is allocated once it has grown.
internal sealed class Agenda(VirtualClock clock)
{
    private Due[] _heap = new Due[256];
    private int _count;
    private long _order;

    public int Count => _count;
    public long NextAt => _count == 0 ? long.MaxValue : _heap[0].At;

    public void After(long nanoseconds, Activity what, int subject = 0, int item = 0, ulong detail = 0)
    {
        if (_count == _heap.Length)
            Array.Resize(ref _heap, _count * 2);
        var due = new Due(clock.Now + nanoseconds, _order++, what, subject, item, detail);
        var at = _count++;
        while (at > 0 && Earlier(due, _heap[(at - 1) / 2]))
        {
            _heap[at] = _heap[(at - 1) / 2];
            at = (at - 1) / 2;
        }
        _heap[at] = due;
    }

    public Due Take()
    {
        var first = _heap[0];
        var last = _heap[--_count];
        var at = 0;
        while (true)
        {
            var child = (2 * at) + 1;
            if (child >= _count)
                break;
            if (child + 1 < _count && Earlier(_heap[child + 1], _heap[child]))
                child++;
            if (!Earlier(_heap[child], last))
                break;
            _heap[at] = _heap[child];
            at = child;
        }
        _heap[at] = last;
        return first;
    }

    private static bool Earlier(in Due one, in Due other) => one.At != other.At ? one.At < other.At : one.Order < other.Order;
}
