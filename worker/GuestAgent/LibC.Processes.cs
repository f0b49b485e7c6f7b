using System.Runtime.InteropServices;

namespace GuestAgent;

/// <summary>Processes and files as the kernel has them: .NET tells neither by which signal a child ended nor what kind of file a path is.</summary>
internal static unsafe partial class LibC
{
    public const int SignalKill = 9, SignalPipe = 13, ENoEntry = 2, ENoSpace = 28;
    private const long OpenPidDescriptor = 434;
    private const int WorkingDirectory = -100, DoNotFollow = 0x100, EmptyPath = 0x1000, BasicStatus = 0x7ff, StatusBytes = 256, ParentDeathSignal = 1, Exited = 4, LeaveIt = 0x1000000;
    private const int UsageBytes = 144, MinorFaultsAt = 64, MajorFaultsAt = 72;
    public const int FileTypeMask = 0xf000, RegularFile = 0x8000, SymbolicLink = 0xa000, PermissionMask = 0xfff;

    [LibraryImport("libc", EntryPoint = "pipe2", SetLastError = true)]
    public static partial int Pipe(int* ends, int flags);

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    private static partial int FileControl(int descriptor, int command, int argument);

    [LibraryImport("libc", EntryPoint = "posix_spawn_file_actions_init")]
    private static partial int BeginActions(void* actions);

    [LibraryImport("libc", EntryPoint = "posix_spawn_file_actions_adddup2")]
    private static partial int AddDuplicate(void* actions, int from, int to);

    [LibraryImport("libc", EntryPoint = "posix_spawn_file_actions_destroy")]
    private static partial int EndActions(void* actions);

    [LibraryImport("libc", EntryPoint = "posix_spawn", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Spawn(int* process, string path, void* actions, void* attributes, byte** arguments, byte** environment);

    [LibraryImport("libc", EntryPoint = "wait4", SetLastError = true)]
    private static partial int Wait(int process, int* status, int options, void* usage);

    [LibraryImport("libc", EntryPoint = "waitid", SetLastError = true)]
    private static partial int WaitFor(int kind, int process, void* about, int options);

    [LibraryImport("libc", EntryPoint = "execvp", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Execute(string file, byte** arguments);

    [LibraryImport("libc", EntryPoint = "setsid", SetLastError = true)]
    public static partial int NewSession();

    [LibraryImport("libc", EntryPoint = "setgroups", SetLastError = true)]
    public static partial int SetGroups(nuint count, uint* groups);

    [LibraryImport("libc", EntryPoint = "setgid", SetLastError = true)]
    public static partial int SetGroup(uint group);

    [LibraryImport("libc", EntryPoint = "setuid", SetLastError = true)]
    public static partial int SetUser(uint user);

    [LibraryImport("libc", EntryPoint = "chdir", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int ChangeDirectory(string path);

    [LibraryImport("libc", EntryPoint = "signal")]
    public static partial nint SetSignal(int signal, nint handler);

    [LibraryImport("libc", EntryPoint = "prctl", SetLastError = true)]
    private static partial int ControlProcess(int option, nuint second, nuint third, nuint fourth, nuint fifth);

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Status(int directory, string path, int flags, uint mask, void* status);

    public static int PidDescriptor(int process) => (int)SystemCall(OpenPidDescriptor, process, 0, 0, 0, 0);

    /// <summary>The calling process is killed with the thread that has started it.</summary>
    public static void DieWithParent() => _ = ControlProcess(ParentDeathSignal, SignalKill, 0, 0, 0);

    public static void DoNotBlock(int descriptor) => _ = FileControl(descriptor, 4, NonBlock);

    /// <summary>Type and permissions of what is open; below 0 when the kernel does not say.</summary>
    public static int ModeOf(int descriptor)
    {
        var status = stackalloc byte[StatusBytes];
        return Status(descriptor, "", EmptyPath, BasicStatus, status) < 0 ? -1 : *(ushort*)(status + 28);
    }

    /// <summary>Of what has that name, a symbolic link itself; below 0 when there is nothing.</summary>
    public static int ModeOfPath(string path)
    {
        var status = stackalloc byte[StatusBytes];
        return Status(WorkingDirectory, path, DoNotFollow, BasicStatus, status) < 0 ? -1 : *(ushort*)(status + 28);
    }

    /// <summary>The pid, or the error as a number below 0. The three descriptors become 0, 1 and 2 of the new process, which keeps no other that closes on exec.</summary>
    public static int Start(string path, IReadOnlyList<string> arguments, IReadOnlyList<string> environment, int input, int output, int errors)
    {
        var actions = stackalloc byte[512];
        if (BeginActions(actions) is not 0 and var unready)
            return -unready;
        var (givenArguments, givenEnvironment) = ((nint)Strings(arguments), (nint)Strings(environment));
        int process = 0, problem;
        if ((problem = AddDuplicate(actions, input, 0)) == 0 && (problem = AddDuplicate(actions, output, 1)) == 0 && (problem = AddDuplicate(actions, errors, 2)) == 0)
            problem = Spawn(&process, path, actions, null, (byte**)givenArguments, (byte**)givenEnvironment);
        Free((byte**)givenArguments);
        Free((byte**)givenEnvironment);
        _ = EndActions(actions);
        return problem == 0 ? process : -problem;
    }

    /// <summary>Returns only when it failed.</summary>
    public static void Become(IReadOnlyList<string> command) => _ = Execute(command[0], Strings(command));

    /// <summary>Leaves it to be reaped.</summary>
    public static void WaitForEnd(int process)
    {
        var about = stackalloc byte[128];
        while (WaitFor(1, process, about, Exited | LeaveIt) < 0 && LastError == EIntr)
        {
        }
    }

    /// <summary>Of a process that has ended: how, and the page faults that the kernel adds to its parent's account of its children.</summary>
    public static (int Status, long MinorFaults, long MajorFaults) Reap(int process)
    {
        int status;
        var usage = stackalloc byte[UsageBytes];
        while (Wait(process, &status, 0, usage) < 0)
            if (LastError != EIntr)
                return (0, 0, 0);
        return (status, *(long*)(usage + MinorFaultsAt), *(long*)(usage + MajorFaultsAt));
    }

    private static byte** Strings(IReadOnlyList<string> texts)
    {
        var strings = (byte**)NativeMemory.Alloc((nuint)(texts.Count + 1), (nuint)sizeof(byte*));
        for (var i = 0; i < texts.Count; i++)
            strings[i] = (byte*)Marshal.StringToCoTaskMemUTF8(texts[i]);
        strings[texts.Count] = null;
        return strings;
    }

    private static void Free(byte** strings)
    {
        for (var at = strings; *at is not null; at++)
            Marshal.FreeCoTaskMem((nint)(*at));
        NativeMemory.Free(strings);
    }
}
