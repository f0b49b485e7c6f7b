using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Worker;

// The few system calls that .NET does not offer. Every function answers -1 and sets errno, as libc does.
internal static unsafe partial class LibC
{
    public const int SigKill = 9, SigTerm = 15;
    public const short PollIn = 1;
    private const long PidfdSendSignalNumber = 424;
    private const long PidfdOpenNumber = 434;
    private const int CloseOnExec = 0x80000;
    private static readonly int NoFollow = RuntimeInformation.OSArchitecture == Architecture.Arm64 ? 0x8000 : 0x20000;

    public enum FileKind { Pipe = 0x1000, CharacterDevice = 0x2000, Directory = 0x4000, Plain = 0x8000, Link = 0xA000, Socket = 0xC000 }

    public readonly record struct FileFacts(FileKind Kind, uint Owner, uint Group, UnixFileMode Mode);

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Status(int directory, string path, int flags, uint mask, byte* buffer);

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

    [LibraryImport("libc", EntryPoint = "read", SetLastError = true)]
    public static partial nint Read(int descriptor, byte* buffer, nuint bytes);

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

    /// <summary>Null when there is no such plain file: neither a link nor a pipe is opened in its place.</summary>
    public static SafeFileHandle? OpenWithoutFollowing(string path, bool write)
    {
        const int nonBlocking = 0x800;
        var descriptor = Open(path, (write ? 2 : 0) | NoFollow | CloseOnExec | nonBlocking);
        if (descriptor < 0)
            return null;
        var file = new SafeFileHandle(descriptor, ownsHandle: true);
        if (Describe(descriptor) is { Kind: FileKind.Plain })
            return file;
        file.Dispose();
        return null;
    }

    /// <summary>The file itself, not its content and not what a link leads to (O_PATH): -1 when there is none.</summary>
    public static int OpenPath(string path)
    {
        const int onlyAsPath = 0x200000;
        return Open(path, onlyAsPath | NoFollow | CloseOnExec);
    }

    /// <summary>What an open file is; null when it cannot be told.</summary>
    public static FileFacts? Describe(int descriptor)
    {
        const int emptyPath = 0x1000;
        return StatusOf(descriptor, "", emptyPath);
    }

    /// <summary>What a name stands for, links not followed; null when there is nothing.</summary>
    public static FileFacts? Describe(string path)
    {
        const int workingDirectory = -100, noFollow = 0x100;
        return StatusOf(workingDirectory, path, noFollow);
    }

    private static FileFacts? StatusOf(int directory, string path, int flags)
    {
        // struct statx is the same on every architecture: owner at 20, group at 24, mode at 28.
        const uint basicStatus = 0x7ff;
        const int bytes = 256, typeMask = 0xF000;
        var buffer = stackalloc byte[bytes];
        if (Status(directory, path, flags, basicStatus, buffer) != 0)
            return null;
        var mode = *(ushort*)(buffer + 28);
        return new FileFacts((FileKind)(mode & typeMask), *(uint*)(buffer + 20), *(uint*)(buffer + 24), (UnixFileMode)(mode & 0xFFF));
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
        var descriptor = Open(path, CloseOnExec);
        if (descriptor < 0)
            return;
        _ = Sync(descriptor);
        _ = Close(descriptor);
    }
}
