using System.Text.Json;
using Worker.Channels;
using Worker.Hardware.Pci;

namespace Worker.Faults.Tracing;

/// <summary>One of the traced counts now. <c>Reason</c>: why there is none. <c>IsExact</c>: nothing of it can have been missed since the guest's start.</summary>
internal readonly record struct TracedState(string? Reason, bool IsExact);

// One VM's share of what the host's kernel traces, from its start on.
// Guarantees: nothing of an earlier tenant of its functions is counted, and nothing twice: of each keeper what was added since the VM's beginning there. Counts
// are stored with the VM's records and go on over restarts of keeper and worker. They are exact only while one keeper has counted since before the VM began, lost
// nothing, and nothing happened on the functions in the moment that cannot be told apart from the tenant before; from the first gap on they are lower bounds.
// Not thread safe: one sampler a VM.
internal sealed class TracedVm
{
    private readonly KernelTrace _trace;
    private readonly IReadOnlyList<PciAddress> _functions;
    private readonly string _statePath;
    private readonly RareWarning _trouble;
    private readonly TraceSnapshot? _before;
    private readonly long _from;
    private readonly Dictionary<string, (long From, long Now)> _threads = new(StringComparer.Ordinal);
    /// <summary>Threads that have ended, and what was counted of their numbers until then: another by that number begins there.</summary>
    private readonly Dictionary<string, long> _ended = new(StringComparer.Ordinal);
    private TracedCounts _earlier, _current = TracedCounts.Zero;
    private TraceSnapshot? _base, _began;
    private bool _eventsExact, _pagesExact, _guestExact, _isCurrent;
    private long _guestEnded;
    private byte[] _stored = [];

    private TracedVm(KernelTrace trace, IReadOnlyList<PciAddress> functions, string statePath, RareWarning trouble, TracedCounts? goesOn)
    {
        (_trace, _functions, _statePath, _trouble, _earlier) = (trace, functions, statePath, trouble, goesOn ?? TracedCounts.Zero);
        _before = goesOn is null ? trace.Latest : null;
        _from = trace.Now;
        _eventsExact = _pagesExact = _guestExact = _before is not null;
    }

    /// <summary>Of a VM that is about to be started.</summary>
    public static TracedVm Begin(KernelTrace trace, IReadOnlyList<PciAddress> functions, string statePath, RareWarning trouble)
    {
        File.Delete(statePath);
        return new TracedVm(trace, functions, statePath, trouble, null);
    }

    /// <summary>Of a VM that has run before this worker.</summary>
    public static TracedVm GoOn(KernelTrace trace, IReadOnlyList<PciAddress> functions, string statePath, RareWarning trouble) =>
        new(trace, functions, statePath, trouble, Load(statePath) ?? TracedCounts.Zero);

    public TracedCounts Counts { get; private set; } = TracedCounts.Zero;
    public TracedState SmmuEvents { get; private set; }
    public TracedState PageFaults { get; private set; }
    public TracedState GuestFaults { get; private set; }

    // threads: Numbers of the VMM's threads; null when they could not be told, which is not that there are none.
    public void Update(IReadOnlyList<string>? threads)
    {
        var seen = _trace.Latest;
        _isCurrent = seen is not null && Follow(seen);
        if (_isCurrent)
            Count(seen!, threads);
        Counts = _earlier.Plus(_current);
        SmmuEvents = State(seen, HostTracePlan.SmmuEvents, ref _eventsExact);
        PageFaults = State(seen, HostTracePlan.PageFaults, ref _pagesExact);
        foreach (var table in (string[])[HostTracePlan.Answers, HostTracePlan.AnswerTimes])
            if (PageFaults.Reason is null && State(seen, table, ref _pagesExact) is { } part && (part.Reason is not null || !part.IsExact))
                PageFaults = part;
        GuestFaults = State(seen, HostTracePlan.GuestFaults, ref _guestExact);
        Store();
    }

    /// <summary>False while what was counted before the VM's beginning is not known.</summary>
    private bool Follow(TraceSnapshot seen)
    {
        if (_base?.Session == seen.Session)
            return true;
        if (seen.Begun < _from)
            return false;
        if (_base is null && _before?.Session == seen.Session)
            Compare(_before, seen);
        else
            _eventsExact = _pagesExact = _guestExact = false;
        (_earlier, _current, _guestEnded) = (_earlier.Plus(_current), TracedCounts.Zero, 0);
        _threads.Clear();
        _ended.Clear();
        // A thread of this VM counted nothing before it, but another by its number may have.
        (_base, _began) = (seen, _base is null && _before?.Session == seen.Session ? _before : seen);
        return true;
    }

    /// <summary>What happened around the beginning may be the last tenant's or this one's: it is not counted, and then the count is a lower bound.</summary>
    private void Compare(TraceSnapshot before, TraceSnapshot seen)
    {
        var between = TracedCounts.Of(seen, _functions).Since(TracedCounts.Of(before, _functions));
        _eventsExact &= between.SmmuEvents.Count == 0;
        _pagesExact &= between is { PageFaults: 0, Success: 0, Invalid: 0, Failure: 0 };
    }

    private void Count(TraceSnapshot seen, IReadOnlyList<string>? threads)
    {
        var table = seen.Table(HostTracePlan.GuestFaults);
        foreach (var thread in threads ?? [.. _threads.Keys])
            if (table?.CountOf(thread) is > 0 and var now)
                _threads[thread] = (_threads.TryGetValue(thread, out var known) ? known.From : _ended.TryGetValue(thread, out var last) ? last : _began!.Table(HostTracePlan.GuestFaults)?.CountOf(thread) ?? 0, now);
        // Its number may become another VM's thread's.
        foreach (var ended in threads is null ? [] : _threads.Keys.Except(threads).ToList())
        {
            _guestEnded += Math.Max(0, _threads[ended].Now - _threads[ended].From);
            _ended[ended] = _threads[ended].Now;
            _threads.Remove(ended);
        }
        _current = TracedCounts.Of(seen, _functions).Since(TracedCounts.Of(_base!, _functions)) with { GuestFaults = _guestEnded + _threads.Values.Sum(t => Math.Max(0, t.Now - t.From)) };
    }

    private TracedState State(TraceSnapshot? seen, string table, ref bool exact)
    {
        var reason = seen is null ? NullReasons.TracingNotReady : seen.ProblemOf(table) ?? (_isCurrent ? null : NullReasons.TracingNotReady);
        if (reason is null && table == HostTracePlan.SmmuEvents && !HostTracePlan.IsProven(seen!.Table(table)!))
            reason = NullReasons.TracePointMissing;
        // A keeper that is only late counts on in the kernel.
        if (reason is not (null or NullReasons.TracingNotReady))
            exact = false;
        else if (reason is null)
        {
            var (now, began) = (seen!.Table(table)!, _began!.Table(table));
            exact &= began is not null && now.Lost == began.Lost && (table != HostTracePlan.SmmuEvents || HostTracePlan.Unnamed(now) == HostTracePlan.Unnamed(began));
        }
        return new TracedState(reason, exact && reason is null);
    }

    /// <summary>What a full file system does not take is counted on in memory: only a restart of the worker would lose it.</summary>
    private void Store()
    {
        var bytes = JsonSerializer.SerializeToUtf8Bytes(Counts, TraceJson.Default.TracedCounts);
        if (bytes.AsSpan().SequenceEqual(_stored))
            return;
        try
        {
            WholeFile.ReplaceInCache(_statePath, bytes);
            _stored = bytes;
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            _trouble.Add($"the counts of {_statePath} are not stored: {problem.Message}");
        }
    }

    private static TracedCounts? Load(string path)
    {
        try
        {
            return File.Exists(path) && JsonSerializer.Deserialize(File.ReadAllBytes(path), TraceJson.Default.TracedCounts) is { IsWellFormed: true } counts ? counts : null;
        }
        catch (Exception problem) when (problem is JsonException or IOException)
        {
            return null;
        }
    }
}
