using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Worker;

// The few system calls that .NET does not offer. Every function answers -1 and sets errno, as libc does.
internal static unsafe partial class LibC
{
    public const int SigKill = 9;
    public const short PollIn = 1;
    private const long PidfdSendSignalNumber = 424;
    private const long PidfdOpenNumber = 434;
    private const int DirectoryReadOnly = 0x80000; // O_RDONLY | O_CLOEXEC

    [StructLayout(LayoutKind.Sequential)]
    public struct PollItem
    {
        public int Descriptor;
        public short Wanted;
        public short Seen;
    }

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial long SystemCall(long number, long first, long second, long third, long fourth);

    [LibraryImport("libc", EntryPoint = "poll", SetLastError = true)]
    public static partial int Poll(PollItem* items, nuint count, int timeoutMilliseconds);

    [LibraryImport("libc", EntryPoint = "close", SetLastError = true)]
    public static partial int Close(int descriptor);

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    private static partial int Sync(int descriptor);

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    public static partial int Control(int descriptor, nuint request, nint argument);

    [LibraryImport("libc", EntryPoint = "lchown", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int ChangeOwner(string path, uint user, uint group);

    [LibraryImport("libc", EntryPoint = "fallocate", SetLastError = true)]
    private static partial int Allocate(int descriptor, int mode, long offset, long bytes);

    [LibraryImport("libc", EntryPoint = "klogctl", SetLastError = true)]
    public static partial int KernelLog(int type, byte* buffer, int length);

    [LibraryImport("libc", EntryPoint = "geteuid")]
    public static partial uint EffectiveUser();

    [LibraryImport("libc", EntryPoint = "kill", SetLastError = true)]
    public static partial int Kill(int process, int signal);

    public static int PidfdOpen(int process) => (int)SystemCall(PidfdOpenNumber, process, 0, 0, 0);

    public static int PidfdSendSignal(int descriptor, int signal) => (int)SystemCall(PidfdSendSignalNumber, descriptor, signal, 0, 0);

    /// <summary>Gives a file, never what a link points to, to a user.</summary>
    public static void Own(string path, uint user)
    {
        if (ChangeOwner(path, user, user) != 0)
            throw new IOException($"cannot give {Path.GetFileName(path)} to user {user}: errno {Marshal.GetLastPInvokeError()}");
    }

    /// <summary>Null when there is no such plain file.</summary>
    public static SafeFileHandle? OpenWithoutFollowing(string path, bool write)
    {
        var noFollow = RuntimeInformation.OSArchitecture == Architecture.Arm64 ? 0x8000 : 0x20000;
        const int closeOnExec = 0x80000, nonBlocking = 0x800;
        var descriptor = Open(path, (write ? 2 : 0) | noFollow | closeOnExec | nonBlocking);
        return descriptor < 0 ? null : new SafeFileHandle(descriptor, ownsHandle: true);
    }

    /// <summary>Gives the disk space of a file's beginning back; its length stays.</summary>
    public static void FreeRange(SafeFileHandle file, long bytes)
    {
        const int punchHoleKeepSize = 3;
        _ = Allocate((int)file.DangerousGetHandle(), punchHoleKeepSize, 0, bytes);
    }

    /// <summary>Makes renames within a directory durable.</summary>
    public static void SyncDirectory(string path)
    {
        var descriptor = Open(path, DirectoryReadOnly);
        if (descriptor < 0)
            return;
        _ = Sync(descriptor);
        _ = Close(descriptor);
    }
}
