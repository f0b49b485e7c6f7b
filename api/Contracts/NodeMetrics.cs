namespace Contracts;

/// <summary>What a worker tells of itself, beside the faults of its guests; docs/metrics.md lists it.</summary>
public static class NodeMetrics
{
    public static readonly Metric
        SamplesLost = new("sandbox_fault_samples_lost_total", MetricKind.Counter, "Fault samples that this worker has given up since it started: the API had taken none for too long."),
        RefusedInput = new("sandbox_refused_input_total", MetricKind.Counter, "Lines of guests' agents, VMMs, traces and simulations that this worker has refused since it started, for they were none of their protocol."),
        ImageCacheBytes = new("sandbox_image_cache_bytes", MetricKind.Gauge, "Bytes of registered images, and of those that are being fetched, on this node."),
        ImageFetches = new("sandbox_image_fetches_total", MetricKind.Counter, "Attempts to fetch a file of a registered image since this worker started, by result."),
        ImageEvictions = new("sandbox_image_evictions_total", MetricKind.Counter, "Files of registered images that were removed for others since this worker started.");

    public static readonly IReadOnlyList<Metric> All = [SamplesLost, RefusedInput, ImageCacheBytes, ImageFetches, ImageEvictions];
}
