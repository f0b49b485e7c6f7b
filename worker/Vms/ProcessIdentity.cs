using System.Globalization;

namespace Worker.Vms;

// Guarantees: a process is never taken for another that got its number later, for start time and number are compared together,
// and signals go through a descriptor of the process. A zombie counts as dead.

/// <summary>A process by number and start time (field 22 of /proc/pid/stat, in clock ticks since boot).</summary>
public sealed record ProcessIdentity(int Pid, ulong StartTicks)
{
    /// <summary>Null when no such process lives.</summary>
    public static ProcessIdentity? Of(int pid) =>
        ReadStat(pid) is { } stat && stat.State is not ('Z' or 'X') ? new ProcessIdentity(pid, stat.StartTicks) : null;

    public bool IsAlive => Of(Pid) == this;

    private static (char State, ulong StartTicks)? ReadStat(int pid) => ReadFields(pid) is { } fields
        ? (fields[0][0], ulong.Parse(fields[19], CultureInfo.InvariantCulture))
        : null;

    private static string[]? ReadFields(int pid)
    {
        try
        {
            return ParseStat(File.ReadAllText($"/proc/{pid}/stat"));
        }
        catch (IOException)
        {
            return null;
        }
        catch (UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>The fields from the third on (state). The command name may hold spaces and brackets: they are counted from its last bracket.</summary>
    internal static string[]? ParseStat(string text)
    {
        var end = text.LastIndexOf(')');
        if (end < 0)
            return null;
        var fields = text[(end + 1)..].Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return fields.Length > 19 ? fields : null;
    }
}

/// <summary>A descriptor of one process, which stays that process's even after its number is used again.</summary>
public sealed class ProcessHandle : IDisposable
{
    private readonly ProcessIdentity _identity;
    private int _descriptor;

    private ProcessHandle(ProcessIdentity identity, int descriptor) => (_identity, _descriptor) = (identity, descriptor);

    public ProcessIdentity Identity => _identity;

    /// <summary>Null when the process is gone.</summary>
    public static ProcessHandle? Open(ProcessIdentity identity)
    {
        // The identity is compared after the descriptor is open: before that the number could change hands.
        var descriptor = LibC.PidfdOpen(identity.Pid);
        if (identity.IsAlive)
            return new ProcessHandle(identity, descriptor);
        if (descriptor >= 0)
            _ = LibC.Close(descriptor);
        return null;
    }

    public unsafe bool HasExited
    {
        get
        {
            var descriptor = _descriptor;
            if (descriptor < 0)
                return !_identity.IsAlive;
            var item = new LibC.PollItem { Descriptor = descriptor, Wanted = LibC.PollIn };
            return LibC.Poll(&item, 1, 0) > 0 && (item.Seen & LibC.PollIn) != 0;
        }
    }

    public void Kill() => Signal(LibC.SigKill);

    /// <summary>Asks it to end.</summary>
    public void Terminate() => Signal(LibC.SigTerm);

    private void Signal(int signal)
    {
        var descriptor = _descriptor;
        if (descriptor >= 0)
            _ = LibC.PidfdSendSignal(descriptor, signal);
        else if (_identity.IsAlive)
            _ = LibC.Kill(_identity.Pid, signal);
    }

    public void Dispose()
    {
        var descriptor = Interlocked.Exchange(ref _descriptor, -1);
        if (descriptor >= 0)
            _ = LibC.Close(descriptor);
    }
}
