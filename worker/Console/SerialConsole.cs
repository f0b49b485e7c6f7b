using System.Net.Sockets;
using Microsoft.Extensions.Logging;
using Worker.Channels;

namespace Worker.Console;

// A guest's serial console: its last 256 KiB in a ring file, live output, and keys; a source (a socket, or a file and a pipe) feeds it.
// Guarantees: offsets count every byte put out since the sandbox's first start, over all incarnations and workers; nothing of the ring
// is lost when the worker is killed, for it lies in a file. Memory does not grow with what a guest prints.
public sealed class SerialConsole : IAsyncDisposable
{
    private static readonly TimeSpan RetryDelay = TimeSpan.FromMilliseconds(50);
    private static readonly TimeSpan TroubleDelay = TimeSpan.FromSeconds(5);
    private readonly IConsoleSource _source;
    private readonly TimeProvider _time;
    private readonly RareWarning _trouble;
    private readonly ConsoleRing _ring;
    private readonly Lock _lock = new();
    private readonly CancellationTokenSource _end = new();
    private readonly Task _running;
    private TaskCompletionSource _more = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private volatile Func<ReadOnlyMemory<byte>, CancellationToken, Task>? _keys;

    public SerialConsole(string socketPath, string ringPath, TimeProvider time, ILogger log) : this(new SocketConsole(socketPath, time), ringPath, time, log)
    {
    }

    internal SerialConsole(IConsoleSource source, string ringPath, TimeProvider time, ILogger log)
    {
        (_source, _time) = (source, time);
        _trouble = new RareWarning(time, log, source.Name);
        _ring = new ConsoleRing(ringPath);
        _running = Task.Run(RunAsync);
    }

    /// <summary>Bytes put out since the sandbox's first start.</summary>
    public long End
    {
        get
        {
            lock (_lock)
                return _ring.End;
        }
    }

    /// <summary>What the ring still has from an offset on; empty once the console is closed.</summary>
    public (long Offset, byte[] Data) Read(long fromOffset, int maxBytes)
    {
        lock (_lock)
            return _end.IsCancellationRequested ? (fromOffset, []) : _ring.Read(fromOffset, maxBytes);
    }

    /// <summary>Returns once more than <paramref name="beyond"/> bytes have been put out.</summary>
    public async Task WaitForOutputAsync(long beyond, CancellationToken ct)
    {
        while (true)
        {
            Task more;
            lock (_lock)
            {
                ObjectDisposedException.ThrowIf(_end.IsCancellationRequested, this);
                if (_ring.End > beyond)
                    return;
                more = _more.Task;
            }
            await more.WaitAsync(ct);
        }
    }

    /// <summary>An IOException when the guest is not running or reads no keys.</summary>
    public async Task WriteAsync(ReadOnlyMemory<byte> keys, CancellationToken ct)
    {
        var write = _keys ?? throw new IOException("the serial console is not connected");
        await write(keys.ToArray(), ct);
    }

    public async ValueTask DisposeAsync()
    {
        TaskCompletionSource more;
        lock (_lock)
        {
            if (_end.IsCancellationRequested)
                return;
            _end.Cancel();
            more = _more;
        }
        more.TrySetResult();
        await _running;
        // The token source is not disposed: waiters that wake up late still ask it.
        lock (_lock)
            _ring.Dispose();
    }

    private async Task RunAsync()
    {
        try
        {
            while (true)
                await Task.Delay(await ServeAsync(_end.Token), _time, _end.Token);
        }
        catch (OperationCanceledException)
        {
        }
    }

    /// <summary>For the source: what takes keys while it serves a guest. The bytes are not changed afterwards.</summary>
    internal Func<ReadOnlyMemory<byte>, CancellationToken, Task>? Keys
    {
        set => _keys = value;
    }

    /// <summary>For the source: who was listened to last.</summary>
    internal ConsoleListening? Listening
    {
        get
        {
            lock (_lock)
                return _ring.Listening;
        }
    }

    internal void Note(ConsoleListening listening)
    {
        lock (_lock)
            _ring.NoteListening(listening);
    }

    /// <summary>For the source: from where in a file to read on, which is its beginning when it is a new one.</summary>
    internal long Resume(long stamp)
    {
        lock (_lock)
            return _ring.Following is { } known && known.Stamp == stamp && known.Base <= _ring.End ? _ring.End - known.Base : Follow(stamp, 0);
    }

    /// <summary>For the source: what comes next is that of the file from an offset on, which is answered.</summary>
    internal long Rebase(long stamp, long offset)
    {
        lock (_lock)
            return Follow(stamp, offset);
    }

    private long Follow(long stamp, long offset)
    {
        _ring.NoteFollowing(new ConsoleFollowing(stamp, _ring.End - offset));
        return offset;
    }

    internal void Append(ReadOnlySpan<byte> data)
    {
        TaskCompletionSource more;
        lock (_lock)
        {
            _ring.Append(data);
            more = _more;
            _more = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }
        more.TrySetResult();
    }

    /// <summary>One guest's console; how long to wait before the next.</summary>
    private async Task<TimeSpan> ServeAsync(CancellationToken ct)
    {
        try
        {
            await _source.ServeAsync(this, ct);
            return RetryDelay;
        }
        catch (SocketException)
        {
            return RetryDelay;
        }
        catch (IOException problem)
        {
            _trouble.Add($"the console's ring cannot be written: {problem.Message}");
            return TroubleDelay;
        }
        finally
        {
            _keys = null;
        }
    }
}
