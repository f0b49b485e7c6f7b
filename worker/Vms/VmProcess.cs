using System.Diagnostics;
using System.Globalization;
using System.Text;

namespace Worker.Vms;

// Starts VMMs. Guarantees: the process is in its cgroup, its own directory and session and without privileges before the VMM's first instruction,
// and outlives the worker. A worker that dies right after the start finds it by the cgroup or by the number written beside the records.
public static class VmProcess
{
    // $0: cgroup.procs or empty; $1: file for the process number; $2: file for what the VMM prints. exec keeps the number through all of them.
    private const string Launcher = """
        umask 077
        exec >"$2" 2>&1 </dev/null
        if [ -n "$0" ]; then echo $$ >"$0" || exit 125; fi
        echo $$ >"$1" || exit 125
        shift 2
        exec "$@"
        """;
    private const int MaxLogBytes = 2048;

    public static string PidFile(RuntimeDirectory directory) => Path.Combine(directory.FullPath, "pid");

    /// <summary>What makes a VMM its own user's without any privilege. <c>group</c>: the only one it has besides its own, for a device that the host keeps for it.</summary>
    internal static IReadOnlyList<string> Confinement(uint user, uint? group)
    {
        string Number(uint id) => id.ToString(CultureInfo.InvariantCulture);
        return [
            "setpriv", "--reuid", Number(user), "--regid", Number(user), .. group is { } one ? (string[])["--groups", Number(one)] : ["--clear-groups"],
            "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", "--"];
    }

    public static ProcessHandle Start(RuntimeDirectory directory, VmCgroup? cgroup, uint? user, uint? group, string program, IReadOnlyList<string> arguments)
    {
        var start = new ProcessStartInfo("/bin/sh") { WorkingDirectory = directory.VmmDirectory, UseShellExecute = false };
        start.Environment.Clear();
        start.Environment["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        foreach (var argument in (string[])["-c", Launcher, cgroup?.ProcsFile ?? "", PidFile(directory), directory.VmmLog, "setsid"])
            start.ArgumentList.Add(argument);
        foreach (var argument in user is { } id ? Confinement(id, group) : [])
            start.ArgumentList.Add(argument);
        start.ArgumentList.Add(program);
        foreach (var argument in arguments)
            start.ArgumentList.Add(argument);
        using var process = Process.Start(start) ?? throw new IOException("the shell could not be started");
        var identity = ProcessIdentity.Of(process.Id);
        return identity is not null && ProcessHandle.Open(identity) is { } handle
            ? handle
            : throw new VmStartException("VmmStartFailed", $"The VMM ended at once. It said: {ReadLog(directory)}", "Run the worker's check on the node.");
    }

    /// <summary>The VMM of a sandbox whose number was, or was not, recorded; null when none lives.</summary>
    public static ProcessHandle? Find(RuntimeDirectory directory, VmCgroup? cgroup, ProcessIdentity? known)
    {
        if (known is not null)
            return ProcessHandle.Open(known);
        var candidates = cgroup?.Processes() ?? [];
        if (candidates.Count == 0 && ReadPidFile(directory) is { } pid)
            candidates = [pid];
        // A number alone proves nothing: only a VMM of this sandbox has this directory on its command line.
        return candidates.Where(candidate => CommandLineNames(candidate, directory.VmmDirectory))
            .Select(ProcessIdentity.Of).OfType<ProcessIdentity>().Select(ProcessHandle.Open).FirstOrDefault(handle => handle is not null);
    }

    /// <summary>The end of what the VMM printed, on one line.</summary>
    public static string ReadLog(RuntimeDirectory directory)
    {
        try
        {
            return string.Concat(Encoding.UTF8.GetString(VmFiles.ReadEnd(directory.VmmLog, MaxLogBytes) ?? []).Trim().Select(c => char.IsControl(c) ? ' ' : c));
        }
        catch (IOException)
        {
            return "";
        }
    }

    private static int? ReadPidFile(RuntimeDirectory directory) =>
        File.Exists(PidFile(directory)) && int.TryParse(File.ReadAllText(PidFile(directory)).Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out var pid)
            ? pid
            : null;

    private static bool CommandLineNames(int pid, string path)
    {
        try
        {
            return File.ReadAllText($"/proc/{pid}/cmdline").Contains(path + "/", StringComparison.Ordinal);
        }
        catch (IOException)
        {
            return false;
        }
    }
}
