using Microsoft.Win32.SafeHandles;

namespace Worker.Faults;

/// <summary>A counter at one moment. <c>EnabledNanoseconds</c>: how long it was wanted; <c>RunningNanoseconds</c>: how much of that it counted.</summary>
internal readonly record struct PerfReading(long Count, long EnabledNanoseconds, long RunningNanoseconds)
{
    /// <summary>It was wanted and could not count at all: others have the hardware.</summary>
    public bool IsTaken => EnabledNanoseconds > 0 && RunningNanoseconds == 0;

    /// <summary>It had to share: what passed meanwhile is not in the count, and is not guessed by scaling.</summary>
    public bool IsShared => RunningNanoseconds < EnabledNanoseconds;
}

/// <summary>Why a counter is not opened, by the error of perf_event_open(2).</summary>
internal enum PerfRefusal { None, NotPermitted, Taken, NoSuchEvent, NoSuchMonitor, Other }

// One perf counter of one CPU, counting since it was opened. Guarantees: closed over an exec of the worker's, and at its disposal; a reading is whole or null.
// Assumes: nothing is shared with other counters. On a crash: the kernel closes it, and its count is gone.
internal sealed class PerfCounter : IDisposable
{
    private const int NotOwner = 1, NoEntry = 2, Access = 13, Busy = 16, NoDevice = 19, Invalid = 22, NoSpace = 28, NotSupported = 95;
    private readonly Func<PerfReading?> _read;
    private readonly SafeFileHandle? _descriptor;

    private PerfCounter(SafeFileHandle descriptor) => (_descriptor, _read) = (descriptor, () => Read(descriptor));

    /// <summary>One that a test answers for.</summary>
    internal PerfCounter(Func<PerfReading?> read) => _read = read;

    public static PerfCounter? Open(uint type, ulong config, ulong config1, int cpu, out PerfRefusal refusal, out int error)
    {
        var descriptor = LibC.OpenPerfCounter(type, config, config1, cpu, out error);
        refusal = descriptor is not null ? PerfRefusal.None : Of(error);
        return descriptor is null ? null : new PerfCounter(descriptor);
    }

    internal static PerfRefusal Of(int error) => error switch
    {
        NotOwner or Access => PerfRefusal.NotPermitted,
        Busy or NoSpace => PerfRefusal.Taken,
        // Of a lone event the SMMU's monitor says so where it has no such one; a stream filter that another has taken shows in the time that the counter ran.
        Invalid => PerfRefusal.NoSuchEvent,
        NoEntry or NoDevice or NotSupported => PerfRefusal.NoSuchMonitor,
        _ => PerfRefusal.Other,
    };

    /// <summary>Null when the kernel does not answer as it should.</summary>
    public PerfReading? Read() => _read();

    public void Dispose() => _descriptor?.Dispose();

    private static unsafe PerfReading? Read(SafeFileHandle descriptor)
    {
        const int bytes = 24;
        var buffer = stackalloc byte[bytes];
        var read = LibC.Read((int)descriptor.DangerousGetHandle(), buffer, bytes);
        return Parse(new ReadOnlySpan<byte>(buffer, (int)Math.Max(0, read)));
    }

    internal static PerfReading? Parse(ReadOnlySpan<byte> answer)
    {
        if (answer.Length != 24)
            return null;
        var reading = new PerfReading(BitConverter.ToInt64(answer), BitConverter.ToInt64(answer[8..]), BitConverter.ToInt64(answer[16..]));
        return reading is { Count: >= 0, EnabledNanoseconds: >= 0, RunningNanoseconds: >= 0 } && reading.RunningNanoseconds <= reading.EnabledNanoseconds ? reading : null;
    }
}
