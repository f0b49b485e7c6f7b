using System.Net.Sockets;
using Microsoft.Extensions.Logging;
using Worker.Channels;

namespace Worker.Console;

// A guest's serial console: its last 256 KiB in a ring file, live output, and keys.
// Guarantees: offsets count every byte put out since the sandbox's first start, over all incarnations and workers; nothing of the ring
// is lost when the worker is killed, for it lies in a file. Memory does not grow with what a guest prints.
// Bytes printed while no worker is connected are dropped by the VMM and not counted; a line in the console says when that may have happened.
public sealed class SerialConsole : IAsyncDisposable
{
    private static readonly TimeSpan RetryDelay = TimeSpan.FromMilliseconds(50);
    private static readonly TimeSpan TroubleDelay = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan NotePeriod = TimeSpan.FromSeconds(1);
    private readonly string _socketPath;
    private readonly TimeProvider _time;
    private readonly RareWarning _trouble;
    private readonly ConsoleRing _ring;
    private readonly Lock _lock = new();
    private readonly CancellationTokenSource _end = new();
    private readonly Task _running;
    private TaskCompletionSource _more = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private volatile WholeWrites? _writes;

    public SerialConsole(string socketPath, string ringPath, TimeProvider time, ILogger log)
    {
        (_socketPath, _time) = (socketPath, time);
        _trouble = new RareWarning(time, log, socketPath);
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
        var writes = _writes ?? throw new IOException("the serial console is not connected");
        await writes.WriteAsync(keys.ToArray(), ct);
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

    /// <summary>One connection; how long to wait before the next.</summary>
    private async Task<TimeSpan> ServeAsync(CancellationToken ct)
    {
        // Without a guest there is no socket: looking for a file is cheaper than a refused connection.
        if (!File.Exists(_socketPath))
            return RetryDelay;
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            // A socket's file is never written to: its time is when this very VMM made it.
            var madeAt = File.GetLastWriteTimeUtc(_socketPath);
            await SocketFile.ConnectAsync(socket, _socketPath, ct);
            await using var stream = new NetworkStream(socket, ownsSocket: false);
            Begin(madeAt);
            _writes = new WholeWrites(stream);
            await ListenAsync(stream, madeAt.Ticks, ct);
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
            _writes = null;
        }
    }

    private async Task ListenAsync(NetworkStream stream, long stamp, CancellationToken ct)
    {
        var buffer = new byte[ConsoleRing.Slack];
        await using var noting = _time.CreateTimer(_ => NoteListening(stamp), null, NotePeriod, NotePeriod);
        try
        {
            while (await ReadAsync(stream, buffer, ct) is > 0 and var read)
                Append(buffer.AsSpan(0, read));
        }
        finally
        {
            NoteListening(stamp);
        }
    }

    /// <summary>0 at the end of the connection, whichever way it ended.</summary>
    private static async ValueTask<int> ReadAsync(NetworkStream stream, byte[] buffer, CancellationToken ct)
    {
        try
        {
            return await stream.ReadAsync(buffer, ct);
        }
        catch (IOException)
        {
            return 0;
        }
    }

    private void Begin(DateTime madeAt)
    {
        var now = _time.GetUtcNow();
        ConsoleListening? before;
        lock (_lock)
            before = _ring.Listening;
        if (ConsoleGap.Marker(before, madeAt.Ticks, madeAt, now) is { } marker)
            Append(marker);
        lock (_lock)
            _ring.NoteListening(new ConsoleListening(madeAt.Ticks, now));
    }

    /// <summary>So that a gap can be told even when this worker is killed. Called by a timer: nothing may escape.</summary>
    private void NoteListening(long stamp)
    {
        try
        {
            lock (_lock)
                _ring.NoteListening(new ConsoleListening(stamp, _time.GetUtcNow()));
        }
        catch (Exception problem) when (problem is IOException or ObjectDisposedException)
        {
            // The next append meets the same trouble and tells of it; a disposed ring needs no note.
        }
    }

    private void Append(ReadOnlySpan<byte> data)
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
}
