using Contracts;
using Microsoft.Extensions.Logging;
using Worker.Channels;
using Worker.Hardware;
using Worker.Hardware.Pci;

namespace Worker.Faults;

// What the performance monitors of the host's SMMU count of the sandbox's functions: misses of its TLB, ATS requests and those that were answered with a translation.
// Guarantees: filtered by StreamID, so that nothing of a neighbour is counted; what a shared counter missed is not scaled up but makes the count a lower bound; opened, read and
// closed beside the sampler. Assumes: nothing of a PMCG's hardware; no test of ours has had one.
// On a crash: the kernel closes the counters; the next worker's begin anew on top of the stored counts, as lower bounds from then on.
internal sealed class SmmuPmuFaults(RepeatedLook<SourceCounts>? look, Origin host) : IFaultCollector
{
    public IEnumerable<SourceReading> Read(DateTimeOffset now) => Of(look is not null, look?.Latest, host);

    internal static IEnumerable<SourceReading> Of(bool assigned, SourceCounts? seen, Origin host) => SmmuMonitors.Events.Select(e => Reading.Of(
        e.Source, seen?.Of(e.Source)?.Value, assigned ? seen is null ? NullReasons.HostSilent : seen.Of(e.Source)?.Reason : NullReasons.NoAssignedDevice, NullReasons.NoSmmuPmu, host, seen?.Of(e.Source)?.LowerBound == true));
}

/// <summary>Opens a counter of a monitor's: <see cref="PerfCounter.Open"/>, or a test's.</summary>
internal delegate PerfCounter? OpenPerfCounter(uint type, ulong config, ulong config1, int cpu, out PerfRefusal refusal, out int error);

/// <summary>One sandbox's counters. For one reader, and one disposal at any time: what a look still has then is closed as it ends.</summary>
internal sealed class SmmuPmuCounter(HostTree tree, IReadOnlyList<PciAddress> functions, KeptTallies tallies, OpenPerfCounter open, TimeProvider time, ILogger log) : IDisposable
{
    private static readonly TimeSpan RetryPeriod = TimeSpan.FromSeconds(30);
    private const int MostCounters = 1024;
    private readonly Lock _looking = new();
    private readonly Dictionary<string, Opened> _open = new(StringComparer.Ordinal);
    private readonly RareWarning _trouble = new(time, log, SmmuMonitors.Directory);
    private Dictionary<string, string> _refused = new(StringComparer.Ordinal);
    private long? _triedAt;
    private volatile bool _ended;

    /// <param name="Source">What it counts.</param>
    /// <param name="Late">It was opened after the tenancy's start.</param>
    /// <param name="Counter">The kernel's.</param>
    private sealed record Opened(string Source, bool Late, PerfCounter Counter);

    public SourceCounts Look()
    {
        lock (_looking)
        {
            try
            {
                if (!_ended && (_triedAt is not { } at || (_refused.Count > 0 && time.GetElapsedTime(at) >= RetryPeriod)))
                    Open();
                var counts = SmmuMonitors.Events.ToDictionary(e => e.Source, e => Sum(e.Source));
                tallies.Store();
                return new SourceCounts(counts);
            }
            finally
            {
                if (_ended)
                    Close();
            }
        }
    }

    public void Dispose()
    {
        _ended = true;
        if (!_looking.TryEnter())
            return;
        try
        {
            Close();
        }
        finally
        {
            _looking.Exit();
        }
    }

    private void Open()
    {
        var late = _triedAt is not null;
        _triedAt = time.GetTimestamp();
        _refused = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var function in functions)
        {
            var found = SmmuMonitors.For(tree, function);
            foreach (var (source, number, _) in SmmuMonitors.Events)
            {
                var able = found.Monitors.Where(monitor => monitor.Counts.Contains(source)).ToList();
                if (able.Count == 0)
                    _refused[source] = found.Reason ?? NullReasons.PmuEventMissing;
                foreach (var monitor in able)
                    OpenOne(source, number, monitor, found.StreamId, late);
            }
        }
    }

    private void OpenOne(string source, uint number, SmmuMonitor monitor, uint streamId, bool late)
    {
        var key = $"{monitor.Name}/{streamId:x}/{source}";
        if (_open.ContainsKey(key))
            return;
        if (_open.Count == MostCounters)
        {
            _refused[source] = NullReasons.PmuTaken;
            return;
        }
        if (open(monitor.Type, number, SmmuMonitors.FilterOf(streamId), monitor.Cpu, out var refusal, out var error) is { } counter)
        {
            _open[key] = new Opened(source, late, counter);
            return;
        }
        _refused[source] = Of(refusal);
        if (refusal is PerfRefusal.Other or PerfRefusal.NoSuchMonitor)
            _trouble.Add($"{monitor.Name} cannot be opened: errno {error}");
    }

    private static string Of(PerfRefusal refusal) => refusal switch
    {
        PerfRefusal.NotPermitted => NullReasons.PmuNotPermitted,
        PerfRefusal.Taken => NullReasons.PmuTaken,
        PerfRefusal.NoSuchEvent => NullReasons.PmuEventMissing,
        PerfRefusal.NoSuchMonitor => NullReasons.NoSmmuPmu,
        _ => NullReasons.PmuFailed,
    };

    private SourceCount Sum(string source)
    {
        var (sum, known, reason) = (0L, 0, _refused.GetValueOrDefault(source));
        var whole = reason is null;
        foreach (var (key, opened) in _open.Where(o => o.Value.Source == source))
        {
            var reading = opened.Counter.Read();
            var counted = reading is { IsTaken: false } ? reading : null;
            if (counted is null)
                (whole, reason) = (false, reading is null ? NullReasons.PmuFailed : NullReasons.PmuTaken);
            if (tallies.Count(key, counted?.Count, from: 0, incomplete: opened.Late || counted?.IsShared == true) is { } tally)
                (sum, known, whole) = (Tally.Plus(sum, tally.Value), known + 1, whole && !tally.LowerBound);
        }
        return known == 0 ? new SourceCount(null, false, reason ?? NullReasons.NoSmmuPmu) : new SourceCount(sum, !whole, null);
    }

    private void Close()
    {
        foreach (var opened in _open.Values)
            opened.Counter.Dispose();
        _open.Clear();
    }
}
