using System.Runtime.InteropServices;

namespace GuestAgent;

/// <summary>The few calls of the C library that .NET does not offer: raw descriptors, poll, mmap and ioctl. Constants are Linux on arm64.</summary>
internal static unsafe partial class LibC
{
    public const int ReadOnly = 0, WriteOnly = 1, ReadWrite = 2, Append = 0x400, NonBlock = 0x800, CloseOnExec = 0x80000, Direct = 0x10000;
    public const int EAgain = 11, EIntr = 4, EExist = 17, EBusy = 16, EPipe = 32;
    public const short PollIn = 1, PollOut = 4, PollHangUp = 0x10;
    public const int ProtectRead = 1, ProtectWrite = 2, MapShared = 1, MapPrivate = 2, MapAnonymous = 0x20;
    public const int PowerOff = 0x4321FEDC;
    /// <summary>SIGUSR2, by which BusyBox init powers off.</summary>
    public const int SignalPowerOff = 12;
    private const long FinitModule = 273, OpenFileSystem = 430, ConfigureFileSystem = 431, MountFileSystem = 432;
    private const nint CloseOnExecFlag = 1, CreateSuperblock = 6;

    [StructLayout(LayoutKind.Sequential)]
    public struct PollItem
    {
        public int Descriptor;
        public short Wanted;
        public short Seen;
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "mkdir", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int MakeDirectory(string path, uint mode);

    [LibraryImport("libc", EntryPoint = "rmdir", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int RemoveDirectory(string path);

    [LibraryImport("libc", EntryPoint = "close", SetLastError = true)]
    public static partial int Close(int descriptor);

    [LibraryImport("libc", EntryPoint = "read", SetLastError = true)]
    public static partial nint Read(int descriptor, void* buffer, nint count);

    [LibraryImport("libc", EntryPoint = "write", SetLastError = true)]
    public static partial nint Write(int descriptor, void* buffer, nint count);

    [LibraryImport("libc", EntryPoint = "pread", SetLastError = true)]
    public static partial nint ReadAt(int descriptor, void* buffer, nint count, long offset);

    [LibraryImport("libc", EntryPoint = "pwrite", SetLastError = true)]
    public static partial nint WriteAt(int descriptor, void* buffer, nint count, long offset);

    [LibraryImport("libc", EntryPoint = "poll", SetLastError = true)]
    public static partial int Poll(PollItem* items, nuint count, int timeoutMilliseconds);

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    public static partial int Control(int descriptor, nuint request, nuint argument);

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    public static partial nint Map(nint address, nuint length, int protection, int flags, int descriptor, long offset);

    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    public static partial int Unmap(nint address, nuint length);

    [LibraryImport("libc", EntryPoint = "sync")]
    public static partial void Sync();

    [LibraryImport("libc", EntryPoint = "kill", SetLastError = true)]
    public static partial int Kill(int process, int signal);

    [LibraryImport("libc", EntryPoint = "reboot", SetLastError = true)]
    public static partial int Reboot(int command);

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial long LoadModule(long number, int descriptor, string parameters, int flags);

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial long SystemCall(long number, string first, nint second);

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial long SystemCall(long number, nint first, nint second, nint third, nint fourth, nint fifth);

    [LibraryImport("libc", EntryPoint = "usleep")]
    public static partial int Sleep(uint microseconds);

    [LibraryImport("libc", EntryPoint = "eventfd", SetLastError = true)]
    public static partial int EventDescriptor(uint initial, int flags);

    public static long LoadModule(int descriptor) => LoadModule(FinitModule, descriptor, "", 0);

    /// <summary>A mount of this file system that has no place in the tree and ends with its descriptor; below 0 when the kernel gives none.</summary>
    public static int MountApart(string fileSystem)
    {
        var context = (int)SystemCall(OpenFileSystem, fileSystem, CloseOnExecFlag);
        if (context < 0)
            return -1;
        var mount = SystemCall(ConfigureFileSystem, context, CreateSuperblock, 0, 0, 0) < 0 ? -1 : SystemCall(MountFileSystem, context, CloseOnExecFlag, 0, 0, 0);
        Close(context);
        return (int)mount;
    }

    public static int LastError => Marshal.GetLastPInvokeError();

    /// <summary>Waits without a busy loop; used where the kernel offers nothing to wait on.</summary>
    public static void Pause(int milliseconds) => Poll(null, 0, milliseconds);

    public static string Describe(int error) => $"errno {error} ({Marshal.GetPInvokeErrorMessage(error)})";
}
