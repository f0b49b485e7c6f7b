using System.Text.Json.Serialization;
using Contracts;
using Worker.Hardware.Pci;

namespace Worker.Faults.Tracing;

/// <summary>What tracing has counted of one sandbox.</summary>
internal sealed record TracedCounts(IReadOnlyDictionary<string, long> SmmuEvents, long PageFaults, long Success, long Invalid, long Failure, LatencyHistogram Times, long GuestFaults)
{
    public static readonly TracedCounts Zero = new(new Dictionary<string, long>(), 0, 0, 0, 0, LatencyHistogram.Empty, 0);

    /// <summary>Of the functions, since the keeper began; guest faults are counted by thread, elsewhere.</summary>
    public static TracedCounts Of(TraceSnapshot seen, IReadOnlyList<PciAddress> functions) => new(
        HostTracePlan.EventsOf(seen.Table(HostTracePlan.SmmuEvents), functions), HostTracePlan.FaultsOf(seen.Table(HostTracePlan.PageFaults), functions),
        HostTracePlan.AnswersOf(seen.Table(HostTracePlan.Answers), functions, 0), HostTracePlan.AnswersOf(seen.Table(HostTracePlan.Answers), functions, 1),
        HostTracePlan.AnswersOf(seen.Table(HostTracePlan.Answers), functions, 2), HostTracePlan.TimesOf(seen.Table(HostTracePlan.AnswerTimes), functions), 0);

    [JsonIgnore]
    public bool IsWellFormed => SmmuEvents is not null && SmmuEvents.Values.All(count => count >= 0) && PageFaults >= 0 && Success >= 0 && Invalid >= 0 && Failure >= 0 && GuestFaults >= 0
        && Times is { IsWellFormed: true };

    public TracedCounts Plus(TracedCounts other) => new(
        Each(SmmuEvents, other.SmmuEvents, (a, b) => a + b), PageFaults + other.PageFaults, Success + other.Success, Invalid + other.Invalid, Failure + other.Failure,
        Times.Plus(other.Times), GuestFaults + other.GuestFaults);

    /// <summary>What was added after an earlier reading of the same tables; nothing of what cannot be, a count that went back.</summary>
    public TracedCounts Since(TracedCounts earlier) => new(
        Each(SmmuEvents, earlier.SmmuEvents, (a, b) => Math.Max(0, a - b)), Math.Max(0, PageFaults - earlier.PageFaults), Math.Max(0, Success - earlier.Success),
        Math.Max(0, Invalid - earlier.Invalid), Math.Max(0, Failure - earlier.Failure), Times.Since(earlier.Times) ?? LatencyHistogram.Empty, 0);

    private static Dictionary<string, long> Each(IReadOnlyDictionary<string, long> a, IReadOnlyDictionary<string, long> b, Func<long, long, long> both) =>
        a.Keys.Union(b.Keys).Select(type => (type, Count: both(a.GetValueOrDefault(type), b.GetValueOrDefault(type)))).Where(e => e.Count > 0)
            .ToDictionary(e => e.type, e => e.Count, StringComparer.Ordinal);
}
