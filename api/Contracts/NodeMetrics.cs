namespace Contracts;

/// <summary>What a worker tells of itself, beside the faults of its guests; docs/metrics.md lists it.</summary>
public static class NodeMetrics
{
    public static readonly Metric
        SamplesLost = new("sandbox_fault_samples_lost_total", MetricKind.Counter, "Fault samples that this worker has given up since it started: the API had taken none for too long."),
        RefusedInput = new("sandbox_refused_input_total", MetricKind.Counter, "Lines of guests' agents, VMMs, traces and simulations that this worker has refused since it started, for they were none of their protocol.");

    public static readonly IReadOnlyList<Metric> All = [SamplesLost, RefusedInput];
}
