using System.Globalization;
using Contracts;
using Worker.Faults.Tracing;

namespace GuestAgent.Tracing;

// Pure: the texts of the kernel's histograms to what is told of page faults. A text that is not understood makes its counts null, never 0.
internal static class PageFaultCounts
{
    public static AgentPageFaults Of(string raised, string answered, string took, string profile, TracedFunctions functions)
    {
        var answers = Whole(answered, "code");
        return new AgentPageFaults(
            Whole(raised, "flags") is { } asked ? asked.Rows.Sum(row => row.Count) + asked.Dropped : null,
            With(answers, "0"), With(answers, "1"), With(answers, "2"), Latency(Whole(took, "us.log2", "us")), HasMissed(profile, functions), null);
    }

    /// <summary>Whether no beginning or end of a fault can have found its table full. One that is not understood may have.</summary>
    public static bool IsWhole(string timing) => HistogramText.Parse(timing, TracedFunctions.TimingKeys, null) is { Dropped: 0 };

    private static HistogramRead? Whole(string text, string key, string? value = null) => HistogramText.Parse(text, [key], value) is { Refused: 0 } read ? read : null;

    /// <summary>Answers with this code of enum iommu_page_response_code. A code of the table that is none of them is nobody's.</summary>
    private static long? With(HistogramRead? answers, string code) => answers is null ? null : answers.Rows.FirstOrDefault(row => row.Keys[0] == code)?.Count ?? 0;

    private static LatencyHistogram? Latency(HistogramRead? took)
    {
        if (took is null)
            return null;
        var counts = new long[LatencyHistogram.Buckets];
        var nanoseconds = 0L;
        foreach (var row in took.Rows)
        {
            if (!int.TryParse(row.Keys[0], NumberStyles.None, CultureInfo.InvariantCulture, out var power) || row.Sum > long.MaxValue / 2000)
                return null;
            // Both have the same bounds: above 2^(k-1) and up to 2^k microseconds.
            counts[Math.Min(power, counts.Length - 1)] += row.Count;
            nanoseconds += row.Sum * 1000;
        }
        var latency = new LatencyHistogram(counts, nanoseconds);
        return latency.IsWellFormed ? latency : null;
    }

    /// <summary>"  raised   20   0": hits and misses of each kprobe, the latter when one was hit inside of another.</summary>
    private static bool HasMissed(string profile, TracedFunctions functions)
    {
        foreach (var line in profile.AsSpan().EnumerateLines())
        {
            var fields = line.ToString().Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (fields is [var probe, _, var missed] && functions.IsCounted(probe) && long.TryParse(missed, NumberStyles.None, CultureInfo.InvariantCulture, out var count) && count > 0)
                return true;
        }
        return false;
    }
}
