using System.Globalization;
using Contracts;

namespace GuestAgent;

// Page faults of the user data script: while it runs those of its process in /proc, after its end the exact ones of the kernel's account of it.
// Guarantees: what is told never goes back while one agent lives; another process by the script's number is never taken for it.
// Assumes: the script and the programs of sessions (Reap) are the only children that an agent ever has. The kernel adds a child's faults, and those of the children that it has waited for,
//   to its parent's cminflt and cmajflt when it is reaped: the same numbers as wait4's ru_minflt and ru_majflt, which .NET's Process keeps to itself.
// On a crash: which process it is and how it ended lie in the boot's own memory, and the next agent goes on from there. A script that ends while its agent
//   is not there leaves no final account: the last that an agent saw is told, as a lower bound, and nothing when the new one has seen none.
internal sealed class Workload(string folder)
{
    private readonly string _process = Path.Combine(folder, "user-data.process"), _faults = Path.Combine(folder, "user-data.faults");
    private readonly object _gate = new();
    private ProcessFaultCounts? _last;
    private long _otherMinor, _otherMajor;

    /// <summary>Told once the script runs.</summary>
    public void Begin(int pid)
    {
        // A script that has ended already has no start time any more, and no need of one.
        if (ProcText.ProcessStat(ProcText.Read($"/proc/{pid}/stat")) is { } stat)
            Write(_process, $"{pid} {stat.StartTicks}");
    }

    /// <summary>Told once the script has been reaped.</summary>
    public void End()
    {
        lock (_gate)
            if (ProcText.ProcessStat(ProcText.Read("/proc/self/stat")) is { } self)
                Write(_faults, $"{self.OfChildren.Minor - _otherMinor} {self.OfChildren.Major - _otherMajor}");
    }

    /// <summary>Waits for another child than the script, which is ending: its faults are not the script's. How it ended, as wait4 has it.</summary>
    public int Reap(int process)
    {
        LibC.WaitForEnd(process);
        lock (_gate)
        {
            var (status, minor, major) = LibC.Reap(process);
            _otherMinor += minor;
            _otherMajor += major;
            return status;
        }
    }

    public AgentWorkload Read()
    {
        if (Numbers(_faults) is { } final)
            return new(final.First, final.Second, false, null);
        if (Numbers(_process) is not { } process)
            return new(null, null, false, AgentReasons.NoWorkload);
        var living = ProcText.ProcessStat(ProcText.Read($"/proc/{process.First}/stat"));
        var seen = living is { } stat && stat.StartTicks == process.Second ? stat.Own.Plus(stat.OfChildren) : (ProcessFaultCounts?)null;
        if (seen is { } now)
            _last = _last is { } before ? now.AtLeast(before) : now;
        return new(_last?.Minor, _last?.Major, seen is null && _last is not null, null);
    }

    private static void Write(string path, string text)
    {
        try
        {
            File.WriteAllText(path + ".new", text);
            File.Move(path + ".new", path, overwrite: true);
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            // The script matters more than its count, which is then none.
            Console.Error.WriteLine($"sandbox-agent: {path} could not be stored: {problem.Message}");
        }
    }

    private static (long First, long Second)? Numbers(string path)
    {
        var parts = ProcText.Read(path).Split(' ');
        return parts.Length == 2 && long.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out var first)
            && long.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out var second)
            ? (first, second)
            : null;
    }
}
