using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Worker;

// What counting by perf events needs besides.
internal static unsafe partial class LibC
{
    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial long SystemCall(long number, void* first, long second, long third, long fourth, long fifth);

    /// <summary>A counter of everything on one CPU (perf_event_open(2)) that counts from now on, until it is closed. Null with the error's number when the kernel opens none.
    /// What is read of it is its count, and for how many nanoseconds it was wanted and could count.</summary>
    public static SafeFileHandle? OpenPerfCounter(uint type, ulong config, ulong config1, int cpu, out int error)
    {
        // struct perf_event_attr, second version: type at 0, size at 4, config at 8, read_format at 32, config1 at 56. The flags at 40 stay 0: SMMU monitors refuse to exclude anything.
        const int bytes = 72;
        const ulong timeEnabled = 1, timeRunning = 2;
        const long everyProcess = -1, noGroup = -1, closeOnExec = 8;
        var attributes = stackalloc byte[bytes];
        new Span<byte>(attributes, bytes).Clear();
        (*(uint*)attributes, *(uint*)(attributes + 4), *(ulong*)(attributes + 8)) = (type, bytes, config);
        (*(ulong*)(attributes + 32), *(ulong*)(attributes + 56)) = (timeEnabled | timeRunning, config1);
        var descriptor = SystemCall(RuntimeInformation.OSArchitecture == Architecture.Arm64 ? 241 : 298, attributes, everyProcess, cpu, noGroup, closeOnExec);
        error = descriptor < 0 ? Marshal.GetLastPInvokeError() : 0;
        return descriptor < 0 ? null : new SafeFileHandle((nint)descriptor, ownsHandle: true);
    }
}
