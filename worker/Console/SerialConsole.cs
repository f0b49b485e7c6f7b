using System.Buffers.Binary;
using System.Net.Sockets;
using Microsoft.Extensions.Logging;

namespace Worker.Console;

// A guest's serial console: its last 256 KiB in a ring file, live output, and keys.
// Guarantees: offsets count every byte put out since the sandbox's first start, over all incarnations and workers; nothing of the ring
// is lost when the worker is killed, for it lies in a file. Memory does not grow with what a guest prints.
// Bytes printed while no worker is connected are dropped by the VMM and not counted.
public sealed class SerialConsole : IAsyncDisposable
{
    public const int RingBytes = 256 * 1024;
    private const int HeaderBytes = 16;
    private const ulong Magic = 0x31474e4952584253;
    private static readonly TimeSpan RetryDelay = TimeSpan.FromMilliseconds(50);
    private readonly string _socketPath;
    private readonly TimeProvider _time;
    private readonly ILogger _log;
    private readonly Microsoft.Win32.SafeHandles.SafeFileHandle _ring;
    private readonly Lock _lock = new();
    private readonly CancellationTokenSource _end = new();
    private readonly SemaphoreSlim _writing = new(1, 1);
    private readonly Task _running;
    private TaskCompletionSource _more = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private volatile NetworkStream? _stream;
    private long _written;

    public SerialConsole(string socketPath, string ringPath, TimeProvider time, ILogger log)
    {
        (_socketPath, _time, _log) = (socketPath, time, log);
        _ring = File.OpenHandle(ringPath, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.ReadWrite);
        File.SetUnixFileMode(_ring, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        _written = ReadEnd();
        _running = Task.Run(RunAsync);
    }

    /// <summary>Bytes put out since the sandbox's first start.</summary>
    public long End => Volatile.Read(ref _written);

    /// <summary>What the ring still has from an offset on.</summary>
    public (long Offset, byte[] Data) Read(long fromOffset, int maxBytes)
    {
        lock (_lock)
        {
            var from = Math.Clamp(fromOffset, Math.Max(0, _written - RingBytes), _written);
            var data = new byte[Math.Min(Math.Max(0, maxBytes), _written - from)];
            var first = (int)Math.Min(data.Length, RingBytes - from % RingBytes);
            var read = RandomAccess.Read(_ring, data.AsSpan(0, first), HeaderBytes + from % RingBytes);
            read += RandomAccess.Read(_ring, data.AsSpan(first), HeaderBytes);
            return (from, read == data.Length ? data : data[..read]);
        }
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
                if (_written > beyond)
                    return;
                more = _more.Task;
            }
            await more.WaitAsync(ct);
        }
    }

    /// <summary>An IOException when the guest is not running.</summary>
    public async Task WriteAsync(ReadOnlyMemory<byte> keys, CancellationToken ct)
    {
        var stream = _stream ?? throw new IOException("the serial console is not connected");
        await _writing.WaitAsync(ct);
        try
        {
            await stream.WriteAsync(keys, ct);
        }
        catch (ObjectDisposedException)
        {
            throw new IOException("the serial console was closed");
        }
        finally
        {
            _writing.Release();
        }
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
        _writing.Dispose();
    }

    private async Task RunAsync()
    {
        var buffer = new byte[4096];
        try
        {
            while (true)
            {
                await ServeAsync(buffer, _end.Token);
                await Task.Delay(RetryDelay, _time, _end.Token);
            }
        }
        catch (OperationCanceledException)
        {
        }
        catch (IOException problem)
        {
            _log.LogError("{Socket}: the console's ring cannot be written: {Problem}", _socketPath, problem.Message);
        }
    }

    private async Task ServeAsync(byte[] buffer, CancellationToken ct)
    {
        // Without a guest there is no socket: looking for a file is cheaper than a refused connection.
        if (!File.Exists(_socketPath))
            return;
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(_socketPath), ct);
            await using var stream = new NetworkStream(socket, ownsSocket: false);
            _stream = stream;
            while (true)
            {
                int read;
                try
                {
                    read = await stream.ReadAsync(buffer, ct);
                }
                catch (IOException)
                {
                    return;
                }
                if (read == 0)
                    return;
                Append(buffer.AsSpan(0, read));
            }
        }
        catch (SocketException)
        {
        }
        finally
        {
            _stream = null;
        }
    }

    private void Append(ReadOnlySpan<byte> data)
    {
        TaskCompletionSource more;
        lock (_lock)
        {
            var at = _written % RingBytes;
            var first = (int)Math.Min(data.Length, RingBytes - at);
            RandomAccess.Write(_ring, data[..first], HeaderBytes + at);
            RandomAccess.Write(_ring, data[first..], HeaderBytes);
            // The count last: a worker killed between the two loses these bytes and shows none twice.
            WriteEnd(_written + data.Length);
            Volatile.Write(ref _written, _written + data.Length);
            more = _more;
            _more = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }
        more.TrySetResult();
    }

    private long ReadEnd()
    {
        Span<byte> header = stackalloc byte[HeaderBytes];
        if (RandomAccess.Read(_ring, header, 0) == HeaderBytes && BinaryPrimitives.ReadUInt64LittleEndian(header) == Magic
            && BinaryPrimitives.ReadInt64LittleEndian(header[8..]) is >= 0 and var end)
            return end;
        WriteEnd(0);
        return 0;
    }

    private void WriteEnd(long end)
    {
        Span<byte> header = stackalloc byte[HeaderBytes];
        BinaryPrimitives.WriteUInt64LittleEndian(header, Magic);
        BinaryPrimitives.WriteInt64LittleEndian(header[8..], end);
        RandomAccess.Write(_ring, header, 0);
    }
}
