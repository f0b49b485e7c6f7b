using System.Collections.Concurrent;
using System.IO.Pipelines;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Threading.Channels;
using Microsoft.Extensions.Logging;
using Worker.Channels;

namespace Worker.Vms.Qemu;

public sealed record QmpEvent(string Name, JsonElement Data, DateTimeOffset At);

/// <summary>The VMM's refusal of a command.</summary>
public sealed class QmpException(string errorClass, string description) : Exception($"{errorClass}: {description}")
{
    public string ErrorClass { get; } = errorClass;
}

// QEMU's control protocol: one JSON object a line, answers matched to commands by their id, events in between.
// Guarantees: every command ends with its answer, a refusal, its token, or an IOException when the connection ends; lines are bounded.
// The VMM may have been taken over by its guest: what is no answer and no event is counted, logged now and then, and passed over.
// On a crash of either side: the socket closes, Closed completes, and events that were received can still be read.
public sealed class QmpClient : IAsyncDisposable
{
    private const int MaxLineBytes = 1 << 20;
    private const int MaxQueuedEvents = 256;
    private static readonly TimeSpan RetryDelay = TimeSpan.FromMilliseconds(20);
    private readonly NetworkStream _stream;
    private readonly TimeProvider _time;
    private readonly ILogger _log;
    private readonly ConcurrentDictionary<long, TaskCompletionSource<JsonElement>> _waiting = new();
    private readonly WholeWrites _writes;
    private readonly RareWarning _nonsense;
    private readonly CancellationTokenSource _end = new();
    private readonly TaskCompletionSource _greeted = new(TaskCreationOptions.RunContinuationsAsynchronously);
    // The oldest is dropped: the state that events lead to can be asked for, and the last ones tell of the end.
    private readonly Channel<QmpEvent> _events = Channel.CreateBounded<QmpEvent>(
        new BoundedChannelOptions(MaxQueuedEvents) { FullMode = BoundedChannelFullMode.DropOldest });
    private readonly Task _reading;
    private long _lastId;
    private int _disposed;

    private QmpClient(Socket socket, string socketPath, TimeProvider time, ILogger log)
    {
        _stream = new NetworkStream(socket, ownsSocket: true);
        (_time, _log) = (time, log);
        _writes = new WholeWrites(_stream);
        _nonsense = new RareWarning(time, log, socketPath, UntrustedPeer.Vmm);
        _reading = Task.Run(ReadAsync);
    }

    public ChannelReader<QmpEvent> Events => _events.Reader;

    public Task Closed => _reading;

    /// <summary>Tries until the socket answers or the token ends.</summary>
    public static async Task<QmpClient> ConnectAsync(string socketPath, TimeProvider time, ILogger log, CancellationToken ct)
    {
        while (true)
        {
            var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            QmpClient? client = null;
            try
            {
                await SocketFile.ConnectAsync(socket, socketPath, ct);
                client = new QmpClient(socket, socketPath, time, log);
                await client._greeted.Task.WaitAsync(ct);
                await client.ExecuteAsync("qmp_capabilities", null, ct);
                return client;
            }
            catch (Exception problem) when (problem is SocketException or IOException)
            {
                await DropAsync(socket, client);
                await Task.Delay(RetryDelay, time, ct);
            }
            catch (Exception problem) when (problem is OperationCanceledException or QmpException)
            {
                await DropAsync(socket, client);
                throw;
            }
        }
    }

    public async Task<JsonElement> ExecuteAsync(string command, JsonObject? arguments, CancellationToken ct)
    {
        var id = Interlocked.Increment(ref _lastId);
        var answer = new TaskCompletionSource<JsonElement>(TaskCreationOptions.RunContinuationsAsynchronously);
        _waiting[id] = answer;
        try
        {
            var request = new JsonObject { ["execute"] = command, ["id"] = id };
            if (arguments is not null)
                request["arguments"] = arguments;
            var line = Encoding.UTF8.GetBytes(request.ToJsonString() + "\n");
            await _writes.WriteAsync(line, ct);
            // The reader may have ended before this command was registered.
            if (_reading.IsCompleted)
                answer.TrySetException(new IOException("the VMM closed its control connection"));
            return await answer.Task.WaitAsync(ct);
        }
        finally
        {
            _waiting.TryRemove(id, out _);
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        await _end.CancelAsync();
        await _stream.DisposeAsync();
        await _reading;
        _end.Dispose();
    }

    private static async ValueTask DropAsync(Socket socket, QmpClient? client)
    {
        if (client is not null)
            await client.DisposeAsync();
        socket.Dispose();
    }

    private async Task ReadAsync()
    {
        var reader = PipeReader.Create(_stream, new StreamPipeReaderOptions(leaveOpen: true));
        try
        {
            await foreach (var line in Lines.ReadAsync(reader, MaxLineBytes, _end.Token))
                Take(line);
        }
        catch (Exception problem) when (problem is IOException or OperationCanceledException or ObjectDisposedException)
        {
        }
        catch (InvalidDataException problem)
        {
            _log.LogWarning("The VMM's control connection is closed: {Problem}", problem.Message);
        }
        finally
        {
            await reader.CompleteAsync();
            _events.Writer.TryComplete();
            var closed = new IOException("the VMM closed its control connection");
            _greeted.TrySetException(closed);
            _ = _greeted.Task.Exception;
            foreach (var waiting in _waiting.Values)
                waiting.TrySetException(closed);
        }
    }

    private void Take(ReadOnlyMemory<byte> line)
    {
        using var document = JsonLine.Parse(line);
        if (document is null)
            _nonsense.Add("the VMM sent a line that is not JSON");
        else if (document.RootElement.ValueKind != JsonValueKind.Object || !Understand(document.RootElement))
            _nonsense.Add("the VMM sent a line that is no answer and no event");
    }

    private bool Understand(JsonElement root)
    {
        if (root.TryGetProperty("QMP", out _))
            return _greeted.TrySetResult();
        if (root.TryGetProperty("event", out var name))
            return name.ValueKind == JsonValueKind.String && _events.Writer.TryWrite(
                new QmpEvent(name.GetString()!, root.TryGetProperty("data", out var data) ? data.Clone() : default, _time.GetUtcNow()));
        if (!root.TryGetProperty("id", out var id) || id.ValueKind != JsonValueKind.Number || !id.TryGetInt64(out var number))
            return false;
        // The answer to a command that nobody waits for any longer is none of the VMM's faults.
        if (!_waiting.TryGetValue(number, out var waiting))
            return number > 0 && number <= Volatile.Read(ref _lastId);
        if (root.TryGetProperty("error", out var error))
            waiting.TrySetException(new QmpException(Text(error, "class"), Text(error, "desc")));
        else
            waiting.TrySetResult(root.TryGetProperty("return", out var result) ? result.Clone() : default);
        return true;
    }

    private static string Text(JsonElement element, string name) =>
        element.ValueKind == JsonValueKind.Object && element.TryGetProperty(name, out var text) && text.ValueKind == JsonValueKind.String ? text.GetString()! : "";
}
