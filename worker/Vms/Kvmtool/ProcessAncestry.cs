using System.Globalization;

namespace Worker.Vms.Kvmtool;

/// <summary>Whether a process was started by another, or by one that it started.</summary>
internal static class ProcessAncestry
{
    /// <summary>lkvm is the launcher's grandchild: more generations are not looked at.</summary>
    private const int Generations = 4;

    public static bool Descends(int pid, int ancestor)
    {
        for (var generation = 0; generation < Generations && pid > 1; generation++)
        {
            if (pid == ancestor)
                return true;
            pid = ParentOf(pid) ?? 0;
        }
        return pid == ancestor;
    }

    private static int? ParentOf(int pid)
    {
        try
        {
            return ProcessIdentity.ParseStat(File.ReadAllText($"/proc/{pid}/stat")) is { } fields ? int.Parse(fields[1], CultureInfo.InvariantCulture) : null;
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
