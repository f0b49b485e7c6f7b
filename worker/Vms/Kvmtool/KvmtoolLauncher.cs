using System.Text;

namespace Worker.Vms.Kvmtool;

// What stands between VmProcess and lkvm: a shell that keeps lkvm's exit status, and script(1), which gives it a terminal.
// lkvm reads keys only where both its standard input and output are terminals (term.c, term_init), and its console must outlive the worker,
// so the terminal's other end is held by script, fed by a named pipe that never ends and emptied into a file.
// Guarantees: when any of the three is killed, those that it started die with it. lkvm's own words (standard error) go to the VMM's log,
// apart from the guest's. HOME, where lkvm puts its socket, is the VM's own directory.
internal static class KvmtoolLauncher
{
    /// <summary>A socket's address holds 107 bytes (unix(7)); lkvm cuts a longer one off without a word (kvm-ipc.c, strlcpy).</summary>
    public const int MaxSocketPath = 107;

    // $0: file for the exit status, and what this process is known by (VmProcess.Find); $1: command for script's shell.
    private const string Script = """
        mkfifo console.in || exit 125
        HOME=$(pwd -P); export HOME
        exec 3>&2 0<>console.in 1>>console.out
        setpriv --pdeathsig KILL script --quiet --return --echo never --command "$1" /dev/null
        echo $? >"$0"
        """;

    public const string Program = "/bin/sh";
    public static readonly IReadOnlyList<string> NeededPrograms = ["script", "setpriv", "stty", "mkfifo"];

    public static string ConsoleOutput(RuntimeDirectory directory) => Path.Combine(directory.VmmDirectory, "console.out");
    public static string ConsoleKeys(RuntimeDirectory directory) => Path.Combine(directory.VmmDirectory, "console.in");
    public static string ExitStatus(RuntimeDirectory directory) => Path.Combine(directory.VmmDirectory, "exit");
    public static string Socket(RuntimeDirectory directory) => Path.Combine(directory.VmmDirectory, ".lkvm", KvmtoolCommandLine.Name + ".sock");

    public static IReadOnlyList<string> Arguments(RuntimeDirectory directory, string lkvm, IReadOnlyList<string> arguments) =>
        ["-c", Script, ExitStatus(directory), Command([lkvm, .. arguments])];

    /// <summary>script takes one line for a shell and no list: every word is quoted.</summary>
    internal static string Command(IReadOnlyList<string> words) => $"stty raw -echo; exec 2>&3 3>&-; exec setpriv --pdeathsig KILL {string.Join(' ', words.Select(Quote))}";

    private static string Quote(string word) => $"'{word.Replace("'", "'\\''", StringComparison.Ordinal)}'";

    // realVmmDirectory: With every link resolved, as lkvm does itself (kvm.c, realpath).
    public static VmStartException? PathProblem(string realVmmDirectory)
    {
        // lkvm writes two slashes before the name.
        var needed = Encoding.UTF8.GetByteCount(realVmmDirectory) + "/.lkvm//".Length + KvmtoolCommandLine.Name.Length + ".sock".Length;
        return needed <= MaxSocketPath
            ? null
            : new VmStartException(StartReasons.StateDirectoryTooDeep, $"It would need {needed} bytes, and {MaxSocketPath} fit: {needed - MaxSocketPath} are too many.");
    }

    /// <summary>A directory's path without links.</summary>
    public static string RealPath(string directory)
    {
        var descriptor = LibC.OpenPath(directory);
        if (descriptor < 0)
            throw new IOException($"{directory} cannot be opened");
        try
        {
            return new FileInfo($"/proc/self/fd/{descriptor}").LinkTarget ?? directory;
        }
        finally
        {
            _ = LibC.Close(descriptor);
        }
    }
}
