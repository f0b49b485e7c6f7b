using System.Globalization;

namespace GuestAgent;

/// <summary>Readers of the texts in /proc. A counter that is absent or malformed is null, never 0.</summary>
public static class ProcText
{
    /// <summary>The counter of this name in /proc/vmstat ("name value" a line).</summary>
    public static long? VmStat(ReadOnlySpan<char> text, string name)
    {
        foreach (var line in text.EnumerateLines())
        {
            if (line.Length > name.Length && line.StartsWith(name, StringComparison.Ordinal) && line[name.Length] == ' ')
                return Number(line[(name.Length + 1)..].Trim());
        }
        return null;
    }

    /// <summary>MemTotal of /proc/meminfo in kibibytes.</summary>
    public static long? MemTotalKib(ReadOnlySpan<char> text)
    {
        const string name = "MemTotal:";
        foreach (var line in text.EnumerateLines())
        {
            if (!line.StartsWith(name, StringComparison.Ordinal))
                continue;
            var value = line[name.Length..].Trim();
            return value.EndsWith(" kB", StringComparison.Ordinal) ? Number(value[..^3].TrimEnd()) : null;
        }
        return null;
    }

    /// <summary>The first field of /proc/uptime in milliseconds.</summary>
    public static long? UptimeMilliseconds(ReadOnlySpan<char> text)
    {
        var end = text.IndexOf(' ');
        return end > 0 && decimal.TryParse(text[..end], NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var seconds)
            && seconds < 1_000_000_000_000m
            ? (long)(seconds * 1000)
            : null;
    }

    private static long? Number(ReadOnlySpan<char> text) =>
        long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var value) ? value : null;
}
