using Contracts;

namespace Worker.Vms.Simulated;

// Recoverable I/O page faults of the whole machine: groups of page requests, or stalled transactions. Guarantees: Raised = Success + Invalid + Failure +
// AutoAnswered + Cancelled + those that wait.
internal sealed class PageFaultCounters
{
    private readonly long[] _latencies = new long[LatencyHistogram.Buckets];
    private long _nanoseconds;

    public long Raised { get; private set; }
    public long Success { get; private set; }
    public long Invalid { get; private set; }
    public long Failure { get; private set; }
    /// <summary>Groups that the SMMU answered itself, because its queue was full.</summary>
    public long AutoAnswered { get; private set; }
    /// <summary>Waiting at the reset of their device.</summary>
    public long Cancelled { get; private set; }

    public long Waiting => Raised - Success - Invalid - Failure - AutoAnswered - Cancelled;
    public LatencyHistogram Latency => new([.. _latencies], _nanoseconds);

    public void Raise() => Raised++;

    public void Cancel() => Cancelled++;

    public void AutoAnswer() => AutoAnswered++;

    public void Answer(Iommu.PageResponse response, long nanoseconds)
    {
        _ = response switch { Iommu.PageResponse.Success => Success++, Iommu.PageResponse.Invalid => Invalid++, _ => Failure++ };
        _latencies[LatencyHistogram.BucketOf(nanoseconds)]++;
        _nanoseconds += nanoseconds;
    }
}
