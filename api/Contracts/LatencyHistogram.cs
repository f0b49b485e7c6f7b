using System.Numerics;
using System.Text.Json.Serialization;

namespace Contracts;

/// <summary>How long something took, counted by powers of two: bucket 0 up to 1 µs, bucket i above 2^(i-1) and up to 2^i µs, the last above 2^20 µs (1.05 s).
/// Counters, like the reading that they belong to: they only grow within an incarnation. Histograms add up, over time and over sandboxes.</summary>
/// <param name="Counts"><see cref="Buckets"/> counts, none below 0.</param>
/// <param name="SumNanoseconds">All of them together.</param>
public sealed record LatencyHistogram(IReadOnlyList<long> Counts, long SumNanoseconds)
{
    public const int Buckets = 22;
    public const long MostCounts = 1L << 53, MostNanoseconds = 1L << 60;

    public static readonly LatencyHistogram Empty = new(new long[Buckets], 0);

    /// <summary>In seconds; the last bucket has none.</summary>
    public static double? UpperBoundSeconds(int bucket) => bucket < Buckets - 1 ? (1L << bucket) / 1e6 : null;

    public static int BucketOf(long nanoseconds) => nanoseconds <= 1000 ? 0 : Math.Min(Buckets - 1, BitOperations.Log2((ulong)(nanoseconds - 1) / 1000) + 1);

    [JsonIgnore]
    public bool IsWellFormed => Counts is { Count: Buckets } && SumNanoseconds is >= 0 and <= MostNanoseconds && Counts.All(count => count is >= 0 and <= MostCounts);

    [JsonIgnore]
    public long Total
    {
        get
        {
            var total = 0L;
            for (var bucket = 0; bucket < Counts.Count; bucket++)
                total += Counts[bucket];
            return total;
        }
    }

    public LatencyHistogram Plus(LatencyHistogram other) => new([.. Counts.Zip(other.Counts, (a, b) => a + b)], SumNanoseconds + other.SumNanoseconds);

    /// <summary>What was added after <paramref name="earlier"/>; null when a count went back, as after a reset.</summary>
    public LatencyHistogram? Since(LatencyHistogram earlier)
    {
        var added = new long[Buckets];
        for (var bucket = 0; bucket < Buckets; bucket++)
            if ((added[bucket] = Counts[bucket] - earlier.Counts[bucket]) < 0)
                return null;
        return SumNanoseconds < earlier.SumNanoseconds ? null : new LatencyHistogram(added, SumNanoseconds - earlier.SumNanoseconds);
    }

    /// <summary>The bucket that holds the quantile; null of nothing.</summary>
    /// <param name="fraction">Above 0, up to 1.</param>
    public LatencyQuantile? Quantile(double fraction)
    {
        var wanted = Math.Max(1, (long)Math.Ceiling(fraction * Total));
        var seen = 0L;
        for (var bucket = 0; bucket < Buckets; bucket++)
            if ((seen += Counts[bucket]) >= wanted)
                return new LatencyQuantile(bucket == 0 ? 0 : UpperBoundSeconds(bucket - 1)!.Value, UpperBoundSeconds(bucket));
        return null;
    }

    public bool Equals(LatencyHistogram? other) => other is not null && SumNanoseconds == other.SumNanoseconds && Counts.SequenceEqual(other.Counts);

    public override int GetHashCode() => HashCode.Combine(SumNanoseconds, Total);
}

/// <summary>A quantile is somewhere above <c>AboveSeconds</c> and not above <c>UpToSeconds</c>, which is null in the last bucket.</summary>
public sealed record LatencyQuantile(double AboveSeconds, double? UpToSeconds);
