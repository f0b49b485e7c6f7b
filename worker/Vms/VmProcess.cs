using System.Diagnostics;
using System.Globalization;
using System.Text;

namespace Worker.Vms;

// Starts VMMs. Guarantees: the process is in its cgroup, its own directory and session and without privileges before the VMM's first instruction,
// and outlives the worker. A worker that dies right after the start finds it by the cgroup or by the number written beside the records.
public static class VmProcess
{
    // $0: cgroup.procs or empty; $1: file for the process number; $2: file for what the VMM prints; $3: KiB that it may pin, or empty;
    // $4: a file to open as descriptor 3, or empty. exec keeps the number through all of them.
    private const string Launcher = """
        umask 077
        exec >"$2" 2>&1 </dev/null
        if [ -n "$0" ]; then echo $$ >"$0" || exit 125; fi
        echo $$ >"$1" || exit 125
        if [ -n "$3" ]; then ulimit -l "$3" || exit 125; fi
        if [ -n "$4" ]; then exec 3<>"$4" || exit 125; fi
        shift 4
        exec "$@"
        """;
    private const int MaxLogBytes = 2048;

    public static string PidFile(RuntimeDirectory directory) => Path.Combine(directory.FullPath, "pid");

    public static ProcessHandle Start(RuntimeDirectory directory, VmCgroup? cgroup, VmConfinement confinement, string program, IReadOnlyList<string> arguments)
    {
        var start = new ProcessStartInfo("/bin/sh") { WorkingDirectory = directory.VmmDirectory, UseShellExecute = false };
        start.Environment.Clear();
        start.Environment["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        foreach (var (name, value) in confinement.Environment)
            start.Environment[name] = value;
        string[] launch =
        [
            "-c", Launcher, cgroup?.ProcsFile ?? "", PidFile(directory), directory.VmmLog, confinement.MemlockKib?.ToString(CultureInfo.InvariantCulture) ?? "",
            confinement.OpenFile ?? "", "setsid",
        ];
        foreach (var argument in (IEnumerable<string>)[.. launch, .. confinement.Wrappers().Select(Located), program, .. arguments])
            start.ArgumentList.Add(argument);
        using var process = Process.Start(start) ?? throw new IOException("the shell could not be started");
        var identity = ProcessIdentity.Of(process.Id);
        return identity is not null && ProcessHandle.Open(identity) is { } handle
            ? handle
            : throw new VmStartException(StartReasons.VmmStartFailed, $"It ended at once and said: {ReadLog(directory)}");
    }

    /// <summary>By its whole path: a busybox would run its own setpriv, which knows no users.</summary>
    private static string Located(string word) => word is "setpriv" or "taskset" ? Checks.QemuProbe.Locate(word) ?? word : word;

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
