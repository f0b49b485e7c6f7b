using System.Globalization;
using Contracts;
using Worker.Vms;

namespace Worker.Faults;

/// <summary>What the condition FaultStorm is to say. <c>Detail</c> is of the moment in which it began to say so.</summary>
internal sealed record StormJudgement(ConditionReason Reason, string? Detail);

// Pure: counters over virtual time to whether they are a storm. Guarantees: a judgement is made of a full window only, over which at least one of the sources was
// read without a break; a storm begins at the policy's rate and ends below half of it. A missing sample, a counter that went back and a null begin the window
// anew: they make no storm and end none. A lower bound may prove a storm, and never that there is none. When two windows pass without a judgement it is Unknown.
// Assumes: a reading is a counter of one incarnation, and time goes forward. After a crash the next worker's detector begins with what the last one had told.
internal sealed class StormDetector(StormPolicy policy, ConditionReason told)
{
    /// <summary>A longer pause between two samples is a break.</summary>
    public static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(5);
    /// <summary>What is kept of a window, however long it is.</summary>
    private const int PointsOfAWindow = 60;
    private readonly TimeSpan _window = TimeSpan.FromSeconds(policy.WindowSeconds);
    private readonly Dictionary<string, long> _last = new(StringComparer.Ordinal);
    private readonly HashSet<string> _everSeen = new(StringComparer.Ordinal);
    private readonly Queue<Point> _points = new();
    private StormJudgement _now = new(told, null);
    private Point _latest;
    private Int128 _total;
    private TimeSpan? _at, _judgedAt, _incompleteAt;

    private readonly record struct Point(TimeSpan At, Int128 Total);

    public StormPolicy Policy => policy;

    /// <summary>One sample at a moment of a clock that nobody sets; what is to be told after it.</summary>
    public StormJudgement Take(TimeSpan at, IReadOnlyList<SourceReading> readings)
    {
        var broken = _at is not { } before || at - before > LongestPause;
        _judgedAt ??= at;
        _at = at;
        var counted = StormSources.Of(policy).Select(source => readings.FirstOrDefault(r => r.Source == source)).OfType<SourceReading>().Where(r => r.Value is not null).ToList();
        if (Count(counted, broken) is { } added)
        {
            _total += added;
            Keep(at);
            if (at - _points.Peek().At >= _window)
                Judge(at, counted);
        }
        else
        {
            _points.Clear();
            if (counted.Count > 0)
                Keep(at);
        }
        if (at - _judgedAt >= (2 * _window) + LongestPause && _now.Reason != ConditionReasons.StormUnobserved)
            _now = new StormJudgement(ConditionReasons.StormUnobserved, Missing(readings));
        return _now;
    }

    /// <summary>What the sources have counted since the sample before; null when none of them tells.</summary>
    private Int128? Count(List<SourceReading> counted, bool broken)
    {
        Int128? added = null;
        var complete = true;
        foreach (var reading in counted)
        {
            if (!broken && _last.TryGetValue(reading.Source, out var old) && reading.Value >= old)
            {
                // The same fault may be told by several of them: which, nobody says. Where they differ, the most is a lower bound.
                Int128 grown = reading.Value!.Value - old;
                complete &= grown == 0 || (added ?? 0) == 0 || added == grown;
                added = Int128.Max(added ?? 0, grown);
            }
            else
                complete = false;
            complete &= !reading.LowerBound;
            _everSeen.Add(reading.Source);
        }
        complete &= counted.Count == _everSeen.Count;
        _last.Clear();
        foreach (var reading in counted)
            _last[reading.Source] = reading.Value!.Value;
        if (!complete)
            _incompleteAt = _at;
        return added;
    }

    private void Keep(TimeSpan at)
    {
        if (_points.Count == 0 || at - _latest.At >= _window / PointsOfAWindow)
            _points.Enqueue(_latest = new Point(at, _total));
        // The window begins at the last point that lies a full window back.
        while (_points.Count > 1 && at - _points.ElementAt(1).At >= _window)
            _points.Dequeue();
    }

    private void Judge(TimeSpan at, List<SourceReading> counted)
    {
        _judgedAt = at;
        var start = _points.Peek();
        var seconds = (at - start.At).TotalSeconds;
        var rate = (double)(_total - start.Total) / seconds;
        var atLeast = _incompleteAt > start.At;
        if (_now.Reason == ConditionReasons.FaultStorm && rate >= policy.PerSecond / 2)
            return;
        var reason = rate >= policy.PerSecond ? ConditionReasons.FaultStorm : atLeast ? ConditionReasons.StormOnlyLowerBound : ConditionReasons.NoFaultStorm;
        if (reason != _now.Reason)
            _now = new StormJudgement(reason, Say(rate, seconds, atLeast, counted));
    }

    private string Say(double rate, double seconds, bool atLeast, List<SourceReading> counted) => string.Create(CultureInfo.InvariantCulture,
        $"{(atLeast ? "It was at least" : "It was")} {rate:0.###} a second over {seconds:0.#} s; the policy's is {policy.PerSecond:0.######} over {policy.WindowSeconds} s. Counted: {string.Join(", ", counted.Select(r => r.Source))} ({StormMetrics.OriginOf(counted, policy)?.ToString().ToLowerInvariant()}).");

    private string Missing(IReadOnlyList<SourceReading> readings) =>
        string.Join(", ", StormSources.Of(policy).Select(source => readings.FirstOrDefault(r => r.Source == source) switch
        {
            null => $"{source}: not told here",
            { NullReason: { } reason } => $"{source}: {reason}",
            _ => $"{source}: read with breaks",
        })) + ".";
}
