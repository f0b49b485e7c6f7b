using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Worker;

// What a console that lies in a file and a pipe needs besides.
internal static unsafe partial class LibC
{
    /// <summary>A write of at most this many bytes to a pipe is whole or none (pipe(7), PIPE_BUF).</summary>
    public const int WholePipeWrite = 4096;

    [LibraryImport("libc", EntryPoint = "write", SetLastError = true)]
    private static partial nint Write(int descriptor, byte* bytes, nuint count);

    /// <summary>A named pipe's writing end that never blocks. Null when there is no such pipe, or nobody reads it: neither a link nor a file is opened in its place.</summary>
    public static SafeFileHandle? OpenPipeForWriting(string path)
    {
        const int writeOnly = 1, nonBlocking = 0x800;
        var descriptor = Open(path, writeOnly | NoFollow | CloseOnExec | nonBlocking);
        if (descriptor < 0)
            return null;
        var pipe = new SafeFileHandle(descriptor, ownsHandle: true);
        if (Describe(descriptor) is { Kind: FileKind.Pipe })
            return pipe;
        pipe.Dispose();
        return null;
    }

    /// <summary>False when the pipe is full, or nobody reads it any more: then nothing has been written.</summary>
    public static bool WriteWhole(SafeFileHandle pipe, ReadOnlySpan<byte> bytes)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(bytes.Length, WholePipeWrite);
        fixed (byte* first = bytes)
            return Write((int)pipe.DangerousGetHandle(), first, (nuint)bytes.Length) == bytes.Length;
    }

    /// <summary>Tells a file from every other that had or will have its name: number and time of birth. Null when there is no such file.</summary>
    public static long? StampOf(string path)
    {
        const int workingDirectory = -100, noFollow = 0x100;
        return StampOf(workingDirectory, path, noFollow);
    }

    /// <summary>Whether an open file has no other name: somebody else's, linked to in place of the VM's own, has.</summary>
    public static bool HasOneName(SafeFileHandle file)
    {
        // struct statx: number of names at 16.
        const uint names = 0x4;
        const int emptyPath = 0x1000, bytes = 256;
        var buffer = stackalloc byte[bytes];
        return Status((int)file.DangerousGetHandle(), "", emptyPath, names, buffer) == 0 && *(uint*)(buffer + 16) == 1;
    }

    public static long? StampOf(SafeFileHandle file)
    {
        const int emptyPath = 0x1000;
        return StampOf((int)file.DangerousGetHandle(), "", emptyPath);
    }

    private static long? StampOf(int directory, string path, int flags)
    {
        // struct statx: number at 32, time of birth at 80 (seconds) and 88 (nanoseconds); zero where the file system keeps none.
        const uint numberAndBirth = 0x900;
        const int bytes = 256;
        var buffer = stackalloc byte[bytes];
        new Span<byte>(buffer, bytes).Clear();
        if (Status(directory, path, flags, numberAndBirth, buffer) != 0)
            return null;
        var stamp = unchecked((*(long*)(buffer + 32) * 0x2545F4914F6CDD1D) ^ (*(long*)(buffer + 80) * 1_000_000_000) ^ *(uint*)(buffer + 88));
        return stamp == 0 ? 1 : stamp;
    }
}
