using System.Diagnostics;
using Contracts;

namespace GuestAgent.Sessions;

// Runs a program. Guarantees: its exit code or signal as the kernel tells it; all that it wrote before its end, each stream in order; a program that is timed out, closed
// or ended leaves nothing of its process group behind. Nothing is written, read or signalled after its pid was given back.
// Assumes: a process that leaves the group (setsid) means to live on, and its output is not waited for.
internal sealed unsafe class ExecSession(Guid id, ExecRequest request, Workload workload, Action<AgentMessage> tell) : Session(id, tell)
{
    private const int Wake = 0, Exit = 1, Input = 2, Streams = 3;
    private readonly byte[] _buffer = new byte[GuestSessions.MaxFrameBytes];
    private readonly int[] _streams = [-1, -1];
    private int _process, _input = -1;
    private byte[]? _pending;
    private int _written;

    protected override SessionEnded Run()
    {
        if (ExecCommand.Problem(request) is { } problem)
            return new(SessionReasons.InvalidRequest, Detail: problem);
        if (!Start(out var error))
            return new(SessionReasons.Failed, Detail: LibC.Describe(error));
        var exit = LibC.PidDescriptor(_process);
        Tell(new SessionOpened());
        var timedOut = !Follow(exit);
        LibC.Kill(-_process, LibC.SignalKill);
        LibC.Kill(_process, LibC.SignalKill);
        var status = workload.Reap(_process);
        LibC.Close(exit);
        CloseInput();
        for (var stream = 0; stream < _streams.Length; stream++)
            Drain(stream);
        var signal = status & 0x7f;
        return new(timedOut && !IsClosed ? SessionReasons.TimedOut : SessionReasons.Done, signal == 0 ? status >> 8 & 0xff : null, signal == 0 ? null : signal);
    }

    private bool Start(out int error)
    {
        var ends = stackalloc int[6];
        for (var i = 0; i < 3; i++)
            LibC.Pipe(ends + 2 * i, LibC.CloseOnExec);
        (_input, _streams[0], _streams[1]) = (ends[1], ends[2], ends[4]);
        var process = LibC.Start("/proc/self/exe", ExecCommand.Arguments(request), ExecCommand.Environment(request), ends[0], ends[3], ends[5]);
        error = -process;
        LibC.Close(ends[0]);
        LibC.Close(ends[3]);
        LibC.Close(ends[5]);
        foreach (var end in (int[])[_input, .. _streams])
            LibC.DoNotBlock(end);
        if (process > 0)
        {
            _process = process;
            return true;
        }
        CloseInput();
        CloseStream(0);
        CloseStream(1);
        return false;
    }

    /// <summary>Until the program has ended or nobody wants it any more; false when its time is over.</summary>
    private bool Follow(int exit)
    {
        var started = Stopwatch.GetTimestamp();
        var items = stackalloc LibC.PollItem[5];
        while (!IsClosed)
        {
            var left = request.TimeoutMilliseconds is { } limit ? limit - (long)Stopwatch.GetElapsedTime(started).TotalMilliseconds : long.MaxValue;
            if (left <= 0)
                return false;
            var mayTell = Credit > 0;
            items[Wake] = new() { Descriptor = WakeDescriptor, Wanted = LibC.PollIn };
            items[Exit] = new() { Descriptor = exit, Wanted = LibC.PollIn };
            items[Input] = new() { Descriptor = _pending is null ? -1 : _input, Wanted = LibC.PollOut };
            for (var stream = 0; stream < _streams.Length; stream++)
                items[Streams + stream] = new() { Descriptor = mayTell ? _streams[stream] : -1, Wanted = LibC.PollIn };
            LibC.Poll(items, 5, (int)Math.Min(left, int.MaxValue));
            if (items[Wake].Seen != 0)
                Heard();
            while (NextSignal() is { } signal)
                if (LibC.Kill(-_process, signal) < 0)
                    LibC.Kill(_process, signal);
            WriteInput();
            for (var stream = 0; stream < _streams.Length; stream++)
                if (items[Streams + stream].Seen != 0 && Credit > 0)
                    ReadStream(stream);
            if (items[Exit].Seen != 0)
                return true;
        }
        return true;
    }

    private void WriteInput()
    {
        while (true)
        {
            if (_pending is null)
            {
                if ((_pending = NextInput()) is null)
                    return;
                _written = 0;
                if (_pending.Length == 0)
                    CloseInput();
            }
            // What a program does not read any more is passed over.
            while (_input >= 0 && _written < _pending.Length)
            {
                nint count;
                fixed (byte* start = _pending)
                    count = LibC.Write(_input, start + _written, _pending.Length - _written);
                if (count < 0 && LibC.LastError == LibC.EAgain)
                    return;
                if (count < 0)
                    CloseInput();
                else
                    _written += (int)count;
            }
            _pending = null;
        }
    }

    /// <summary>False when there is nothing to read now, or ever.</summary>
    private bool ReadStream(int stream)
    {
        nint count;
        fixed (byte* start = _buffer)
            count = LibC.Read(_streams[stream], start, _buffer.Length);
        if (count > 0)
            TellOutput(stream + 1, _buffer.AsSpan(0, (int)count));
        else if (count == 0 || LibC.LastError != LibC.EAgain)
            CloseStream(stream);
        return count > 0;
    }

    /// <summary>What an ended program has written lies in the pipe, to its last byte.</summary>
    private void Drain(int stream)
    {
        while (_streams[stream] >= 0 && !IsClosed)
        {
            if (Credit == 0)
                WaitForStep();
            else if (!ReadStream(stream))
                break;
        }
        CloseStream(stream);
    }

    private void CloseInput()
    {
        if (_input >= 0)
            LibC.Close(_input);
        _input = -1;
    }

    private void CloseStream(int stream)
    {
        if (_streams[stream] >= 0)
            LibC.Close(_streams[stream]);
        _streams[stream] = -1;
    }
}
