using System.Globalization;

namespace Worker.Faults.Tracing;

/// <summary>One row: its keys as the kernel writes them, and its sums, <c>hitcount</c> the first.</summary>
internal sealed record HistRow(IReadOnlyDictionary<string, string> Keys, IReadOnlyDictionary<string, long> Values)
{
    /// <summary>k of a key that the kernel counts by powers of two, "~ 2^k": above 2^(k-1) and up to 2^k, and 0 and 1 for k = 0.</summary>
    public int? PowerOfTwo(string key) =>
        Keys.TryGetValue(key, out var text) && text.StartsWith("~ 2^", StringComparison.Ordinal) && int.TryParse(text.AsSpan(4), NumberStyles.None, CultureInfo.InvariantCulture, out var power) ? power : null;
}

/// <summary>One histogram. <c>Dropped</c>: hits of keys for which its table had no more room.</summary>
internal sealed record HistTable(IReadOnlyList<HistRow> Rows, long Hits, long Dropped);

// The text of a "hist" file of tracefs (Linux trace/histogram.rst). Pure; the host's worker and the guest's agent are both built with it.
internal static class HistText
{
    /// <summary>The file's histograms in their order, as many as its event has hist triggers. Null when it is not such a text, or only a part of one.</summary>
    public static IReadOnlyList<HistTable>? Parse(ReadOnlySpan<char> text)
    {
        var tables = new List<HistTable>();
        List<HistRow>? rows = null;
        long? hits = null;
        foreach (var line in text.EnumerateLines())
        {
            if (line.StartsWith("# event histogram", StringComparison.Ordinal))
            {
                if (rows is not null)
                    return null;
                (rows, hits) = ([], null);
            }
            else if (line.StartsWith('{'))
            {
                if (rows is null || Row(line) is not { } row)
                    return null;
                rows.Add(row);
            }
            else if (Total(line, "Hits:") is { } all)
                hits = all;
            else if (Total(line, "Dropped:") is { } dropped)
            {
                if (rows is null || hits is null)
                    return null;
                tables.Add(new HistTable(rows, hits.Value, dropped));
                rows = null;
            }
        }
        return rows is null && tables.Count > 0 ? tables : null;
    }

    /// <summary>"{ dev: 18446462598867122176, grp:          3 } hitcount:          1  us:         33"</summary>
    private static HistRow? Row(ReadOnlySpan<char> line)
    {
        var end = line.IndexOf("} hitcount:", StringComparison.Ordinal);
        if (end < 0)
            return null;
        var keys = new Dictionary<string, string>(StringComparer.Ordinal);
        var inside = line[1..end];
        foreach (var part in inside.Split(", "))
        {
            var key = inside[part];
            var colon = key.IndexOf(':');
            if (colon < 0 || !keys.TryAdd(key[..colon].Trim().ToString(), key[(colon + 1)..].Trim().ToString()))
                return null;
        }
        var values = new Dictionary<string, long>(StringComparer.Ordinal);
        var rest = line[(end + 1)..].Trim();
        while (rest.Length > 0)
        {
            var colon = rest.IndexOf(':');
            if (colon < 1)
                return null;
            var name = rest[..colon].Trim().ToString();
            rest = rest[(colon + 1)..].TrimStart();
            var length = rest.IndexOf(' ') is >= 0 and var space ? space : rest.Length;
            if (Number(rest[..length]) is not { } value || !values.TryAdd(name, value))
                return null;
            rest = rest[length..].TrimStart();
        }
        return new HistRow(keys, values);
    }

    private static long? Total(ReadOnlySpan<char> line, string name)
    {
        var text = line.Trim();
        return text.StartsWith(name, StringComparison.Ordinal) ? Number(text[name.Length..].Trim()) : null;
    }

    private static long? Number(ReadOnlySpan<char> text) => long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var value) ? value : null;
}
