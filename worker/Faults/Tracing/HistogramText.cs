using System.Globalization;

namespace Worker.Faults.Tracing;

/// <summary>A row of a histogram: its keys, how often, and the sum of its value where it has one.</summary>
internal sealed record TraceRow(IReadOnlyList<string> Keys, long Count, long Sum);

/// <summary>A histogram as it was read. <c>Dropped</c>: events that found it full. <c>Refused</c>: lines that are no row of it.</summary>
internal sealed record HistogramRead(IReadOnlyList<TraceRow> Rows, long Dropped, long Refused);

// Pure: the text of a hist file (Linux trace/histogram.rst) to rows; the host's worker and the guest's agent are both built with it. An event may have several histograms, which stand one after another in its one file.
// Keys may hold what somebody else chose, a task's name among them: a line that is not exactly a row is refused and counted, and the others stand.
internal static class HistogramText
{
    public const int MaxKeyLength = 64;
    private const string Begin = "# event histogram", Info = "# trigger info: hist:", Total = "Totals:", Dropped = "Dropped: ", Power = "~ 2^";

    /// <summary>As a trigger names them.</summary>
    public static string KeysOf(IReadOnlyList<string> keys) => $"keys={string.Join(',', keys)}";

    /// <summary>The histogram of these keys, with its value's name where it has one; null when the text has none, or not its end.</summary>
    public static HistogramRead? Parse(string text, IReadOnlyList<string> keys, string? value)
    {
        var wanted = Info + KeysOf(keys) + ":";
        foreach (var part in text.Split(Begin + "\n"))
            if (part.Split('\n') is var lines && lines.Any(line => line.StartsWith(wanted, StringComparison.Ordinal)))
                return Of(lines, keys, value);
        return null;
    }

    private static HistogramRead? Of(string[] lines, IReadOnlyList<string> keys, string? value)
    {
        // The kernel writes the totals last: a row that looks like them comes before.
        var end = Array.LastIndexOf(lines, Total);
        if (end < 0 || lines[end..].Select(line => line.Trim()).FirstOrDefault(line => line.StartsWith(Dropped, StringComparison.Ordinal)) is not { } told || Number(told[Dropped.Length..]) is not { } dropped)
            return null;
        var rows = new Dictionary<string, TraceRow>(StringComparer.Ordinal);
        var refused = 0L;
        foreach (var line in lines[..end])
            if (line.Length > 0 && line[0] != '#' && (Row(line, keys, value) is not { } row || !rows.TryAdd(string.Join('|', row.Keys), row)))
                refused++;
        return new HistogramRead([.. rows.Values], dropped, refused);
    }

    /// <summary><c>{ label: 0000:01:00.0 , microseconds: ~ 2^8  } hitcount:          1  microseconds:        135</c></summary>
    internal static TraceRow? Row(string line, IReadOnlyList<string> keys, string? value)
    {
        var close = line.IndexOf('}');
        if (!line.StartsWith("{ ", StringComparison.Ordinal) || close < 2)
            return null;
        var parts = line[2..close].Split(',');
        var values = line[(close + 1)..].Split(' ', StringSplitOptions.RemoveEmptyEntries);
        if (parts.Length != keys.Count || values.Length != (value is null ? 2 : 4) || values[0] != "hitcount:" || Number(values[1]) is not { } count)
            return null;
        var sum = 0L;
        if (value is not null)
        {
            if (values[2] != value + ":" || Number(values[3]) is not { } known)
                return null;
            sum = known;
        }
        var found = new string[keys.Count];
        for (var at = 0; at < found.Length; at++)
        {
            if (KeyOf(parts[at], keys[at]) is not { } key)
                return null;
            found[at] = key;
        }
        return new TraceRow(found, count, sum);
    }

    /// <summary>k where the key is counted by powers of two (.log2), which the kernel writes as "~ 2^k".</summary>
    private static string? KeyOf(string part, string key)
    {
        var text = part.Trim();
        var name = key.Split('.')[0] + ":";
        if (!text.StartsWith(name, StringComparison.Ordinal))
            return null;
        text = text[name.Length..].Trim();
        if (key.EndsWith(".log2", StringComparison.Ordinal))
        {
            if (!text.StartsWith(Power, StringComparison.Ordinal))
                return null;
            text = text[Power.Length..];
        }
        return text.Length <= MaxKeyLength && text.All(c => char.IsAsciiLetterOrDigit(c) || c is '_' or '.' or ':' or '-' or '/' or '(' or ')' or ' ') ? text : null;
    }

    private static long? Number(string text) => long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : null;
}
