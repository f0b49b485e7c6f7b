using System.Text.Json.Serialization;

namespace Contracts;

/// <summary>What happens when a sandbox's faults become a storm. <c>None</c>: it is told (the condition FaultStorm and its events), and nothing else.
/// <c>Stop</c>: its guest is powered off as by <c>POST /v1/sandboxes/{id}/stop</c>. <c>Quarantine</c>: that, and its devices are handed out no more once
/// its tenancy is over, until they are released by <c>POST /v1/devices/{id}/release</c>.</summary>
[JsonConverter(typeof(NamedEnum<StormAction>))]
public enum StormAction { None, Stop, Quarantine }

/// <summary>Field <c>faultStorm</c> of <c>POST /v1/sandboxes</c>, and body of <c>PUT /v1/sandboxes/{id}/storm-policy</c>. Unknown fields are refused.</summary>
/// <param name="PerSecond">Faults a second from which on it is a storm; 0.0001 to 1000000000.</param>
/// <param name="WindowSeconds">Over how long they are counted; 5 to 3600, default 30.</param>
/// <param name="Action">What happens then; default None.</param>
/// <param name="Source">What is counted, one of <see cref="StormSources.All"/>; null: what devices do wrong or ask for, <see cref="StormSources.Default"/>.</param>
public sealed record StormPolicyRequest(double? PerSecond, int? WindowSeconds, StormAction? Action, string? Source);

/// <summary>A storm policy as it holds. It is a storm when the rate over a full window is at least <c>PerSecond</c>, and over when the rate over a full window is
/// below half of that. <c>Source</c>: null for <see cref="StormSources.Default"/>.</summary>
public sealed record StormPolicy(double PerSecond, int WindowSeconds, StormAction Action, string? Source)
{
    /// <summary>Whether a judgement by one is a judgement by the other: they differ in what follows from it at most.</summary>
    public bool MeasuresLike(StormPolicy? other) => other is not null && this with { Action = other.Action } == other;
}

/// <summary>The fault sources that a storm policy can count: what goes wrong or is asked for, not what is looked up.</summary>
public static class StormSources
{
    /// <summary>What devices do wrong or ask for: of those that can be observed, the one that counted most. A fault may be told by several of them (a stalled transaction is an event and a page
    /// fault; an event of a nested SMMU is told by the host's and by the guest's), so what is counted is never above the truth.</summary>
    public static readonly IReadOnlyList<string> Default = [FaultSource.SmmuEvents, FaultSource.HostSmmuEvents, FaultSource.VirtioIommuEvents, FaultSource.IoPageFaults];

    public static readonly IReadOnlyList<string> All =
    [
        .. Default, FaultSource.IoPageFaultsInvalid, FaultSource.IoPageFaultsFailure, FaultSource.IoPageRequestsLost, FaultSource.SmmuEventsLost,
        FaultSource.GuestMinor, FaultSource.GuestMajor, FaultSource.VmmMinor, FaultSource.VmmMajor,
    ];

    /// <summary>The sources that a policy counts.</summary>
    public static IReadOnlyList<string> Of(StormPolicy policy) => policy.Source is { } source ? [source] : Default;
}

/// <summary>Reasons of the condition FaultStorm on which the control plane acts.</summary>
public static class StormReasons
{
    /// <summary>The condition is True; also the reason of what a policy did about it.</summary>
    public const string Storm = "FaultStorm";
    /// <summary>The condition is False, because the run is over; it was True until then.</summary>
    public const string EndedInStorm = "EndedInStorm";

    /// <summary>Whether a condition tells of a storm that is on, or was when the run ended.</summary>
    public static bool IsStorm(Condition condition) =>
        condition.Type == ConditionType.FaultStorm && (condition.Status == ConditionStatus.True || condition.Reason == EndedInStorm);
}

/// <summary>Storms for Prometheus. Pure; <c>docs/metrics.md</c> lists it.</summary>
public static class StormMetrics
{
    public static readonly Metric Storm = new("sandbox_fault_storm", MetricKind.Gauge,
        "1 while a sandbox is in a fault storm by its policy, 0 while it is not; absent where that is not known, and without a policy.");

    /// <summary>Storms of sandboxes whose latest sample is fresh. The origin is that of what the policy counts; of several, the one that is furthest from hardware.</summary>
    public static void Write(MetricText text, IEnumerable<(FaultSample Sample, StormPolicy? Policy, Condition? Condition)> sandboxes)
    {
        text.Begin(Storm);
        foreach (var (sample, policy, condition) in sandboxes)
            if (policy is not null && condition is { Status: not ConditionStatus.Unknown } && OriginOf(sample.Readings, policy) is { } origin)
                text.Add(condition.Status == ConditionStatus.True ? 1 : 0, ("sandbox", sample.SandboxId.ToString()), ("origin", origin.ToString().ToLowerInvariant()));
    }

    /// <summary>Null when nothing of it is observed.</summary>
    public static Origin? OriginOf(IEnumerable<SourceReading> readings, StormPolicy policy) =>
        readings.Where(r => r.Value is not null && StormSources.Of(policy).Contains(r.Source)).Max(r => (Origin?)r.Origin);
}
