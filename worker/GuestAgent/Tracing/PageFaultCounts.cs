using System.Globalization;
using Contracts;
using Worker.Faults.Tracing;

namespace GuestAgent.Tracing;

// Pure: the texts of the kernel's histograms to what is told of page faults. A text that is not understood makes its counts null, never 0.
internal static class PageFaultCounts
{
    public static AgentPageFaults Of(string raised, string answered, string took, string profile, TracedFunctions functions)
    {
        var answers = One(answered);
        return new AgentPageFaults(All(One(raised)), With(answers, "0"), With(answers, "1"), With(answers, "2"), Latency(One(took)), HasMissed(profile, functions), null);
    }

    private static HistTable? One(string text) => HistText.Parse(text) is [var table] ? table : null;

    private static long? All(HistTable? table) => table is null ? null : table.Hits + table.Dropped;

    /// <summary>Answers with this code of enum iommu_page_response_code. A code of the table that is none of them is nobody's.</summary>
    private static long? With(HistTable? table, string code)
    {
        if (table is null)
            return null;
        var row = table.Rows.FirstOrDefault(row => row.Keys.GetValueOrDefault("code") == code);
        return row is null ? 0 : row.Values.TryGetValue("hitcount", out var hits) ? hits : null;
    }

    private static LatencyHistogram? Latency(HistTable? table)
    {
        if (table is null)
            return null;
        var counts = new long[LatencyHistogram.Buckets];
        var nanoseconds = 0L;
        foreach (var row in table.Rows)
        {
            if (row.PowerOfTwo("us") is not { } power || !row.Values.TryGetValue("hitcount", out var hits) || !row.Values.TryGetValue("us", out var sum) || sum > long.MaxValue / 2000)
                return null;
            // Both have the same bounds: above 2^(k-1) and up to 2^k microseconds.
            counts[Math.Min(power, counts.Length - 1)] += hits;
            nanoseconds += sum * 1000;
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
