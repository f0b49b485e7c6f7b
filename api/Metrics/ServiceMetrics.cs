using Contracts;

namespace Api.Metrics;

/// <summary>What the API tells of itself and of what it manages, all but the first for those who run the service; docs/metrics.md lists them.</summary>
public static class ServiceMetrics
{
    public static readonly Metric
        Sandboxes = new("sandbox_sandboxes", MetricKind.Gauge, "Sandboxes of the key's project, by phase."),
        Nodes = new("sandbox_nodes", MetricKind.Gauge, "Nodes, by phase."),
        Devices = new("sandbox_devices", MetricKind.Gauge, "Devices, by class, phase, SVA verdict and origin."),
        SamplesAccepted = new("sandbox_fault_samples_accepted_total", MetricKind.Counter, "Fault samples of nodes that this API has taken since it started."),
        SamplesRefused = new("sandbox_fault_samples_refused_total", MetricKind.Counter, "Fault samples that were not well formed or not of the node's own sandboxes."),
        SamplesDropped = new("sandbox_fault_samples_dropped_total", MetricKind.Counter, "Fault samples that were taken and that the database will never take."),
        SamplesTurnedBack = new("sandbox_fault_samples_turned_back_total", MetricKind.Counter, "Fault samples that were told while the queue was full: their node keeps them and tells them again.");

    public static readonly IReadOnlyList<Metric> All = [Sandboxes, Nodes, Devices, SamplesAccepted, SamplesRefused, SamplesDropped, SamplesTurnedBack, StormMetrics.Storm];
}
