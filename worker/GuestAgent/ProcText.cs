using System.Globalization;
using System.Text;

namespace GuestAgent;

/// <summary>Page faults of a process, or of its children.</summary>
public readonly record struct ProcessFaultCounts(long Minor, long Major)
{
    public ProcessFaultCounts Plus(ProcessFaultCounts other) => new(Minor + other.Minor, Major + other.Major);

    public ProcessFaultCounts AtLeast(ProcessFaultCounts other) => new(Math.Max(Minor, other.Minor), Math.Max(Major, other.Major));
}

/// <summary>What /proc/PID/stat tells: its own faults, those of the children that it has waited for, and when it began.</summary>
public readonly record struct ProcessStat(ProcessFaultCounts Own, ProcessFaultCounts OfChildren, long StartTicks);

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

    /// <summary>A process's name may hold anything, brackets too: the fields begin after the last one.</summary>
    public static ProcessStat? ProcessStat(string text)
    {
        const int minor = 7, minorOfChildren = 8, major = 9, majorOfChildren = 10, start = 19;
        var name = text.LastIndexOf(')');
        var fields = name < 0 ? [] : text[(name + 1)..].Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return fields.Length > start && Number(fields[minor]) is { } ownMinor && Number(fields[minorOfChildren]) is { } childMinor
            && Number(fields[major]) is { } ownMajor && Number(fields[majorOfChildren]) is { } childMajor && Number(fields[start]) is { } ticks
            ? new ProcessStat(new(ownMinor, ownMajor), new(childMinor, childMajor), ticks)
            : null;
    }

    /// <summary>Of a file whose length the kernel does not tell; empty when it cannot be read.</summary>
    public static string Read(string path)
    {
        try
        {
            return Encoding.UTF8.GetString(File.ReadAllBytes(path));
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            return "";
        }
    }

    private static long? Number(ReadOnlySpan<char> text) =>
        long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var value) ? value : null;
}
