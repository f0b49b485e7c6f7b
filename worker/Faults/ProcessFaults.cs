using System.Globalization;
using System.Text;
using Worker.Vms;

namespace Worker.Faults;

// Page faults of one process, from /proc/<pid>/stat. Guarantees: a process that got the number later is never taken for it, because the start
// time is compared in the same reading; a zombie counts as gone.
internal sealed class ProcessFaults(int pid)
{
    // Counted from the state, the third field of the file, which ParseStat answers first.
    private const int State = 0, MinorFaults = 7, MajorFaults = 9, StartTicks = 19;
    private readonly ulong? _startTicks = ProcessIdentity.Of(pid)?.StartTicks;
    private readonly byte[] _buffer = new byte[1024];

    public int Pid => pid;

    /// <summary>Null when the process is gone.</summary>
    public (long Minor, long Major)? Read()
    {
        try
        {
            using var file = File.OpenHandle($"/proc/{pid}/stat");
            var length = RandomAccess.Read(file, _buffer, 0);
            return Parse(Encoding.UTF8.GetString(_buffer, 0, length), _startTicks);
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    internal static (long Minor, long Major)? Parse(string text, ulong? startTicks)
    {
        if (startTicks is null || ProcessIdentity.ParseStat(text) is not { } fields || fields[State] is "Z" or "X" or "x"
            || !ulong.TryParse(fields[StartTicks], NumberStyles.None, CultureInfo.InvariantCulture, out var start) || start != startTicks
            || !long.TryParse(fields[MinorFaults], NumberStyles.None, CultureInfo.InvariantCulture, out var minor)
            || !long.TryParse(fields[MajorFaults], NumberStyles.None, CultureInfo.InvariantCulture, out var major))
            return null;
        return (minor, major);
    }
}
