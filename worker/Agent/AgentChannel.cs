using System.IO.Pipelines;
using System.Net.Sockets;
using System.Text.Json;
using System.Threading.Channels;
using Contracts;
using Microsoft.Extensions.Logging;

namespace Worker.Agent;

// The worker's end of the guest agent's port. Connects, and connects again, until disposed; says Hello on each connection.
// The guest is not trusted: lines are bounded, a guest that talks too fast is read more slowly, one that breaks the protocol is cut off for a while.
// Statistics are not queued: only the latest is kept. Every other message is queued or, when nobody takes them, the connection is closed and logged.
public sealed class AgentChannel : IAsyncDisposable
{
    private const int MaxQueued = 64;
    private const int MaxLinesPerSecond = 50;
    private static readonly TimeSpan Second = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan RetryDelay = TimeSpan.FromMilliseconds(50);
    private readonly string _socketPath;
    private readonly TimeProvider _time;
    private readonly ILogger _log;
    private readonly CancellationTokenSource _end = new();
    private readonly SemaphoreSlim _writing = new(1, 1);
    private readonly Channel<AgentMessage> _messages = Channel.CreateBounded<AgentMessage>(MaxQueued);
    private readonly Task _running;
    private volatile NetworkStream? _stream;
    private volatile StampedStats? _latest;

    private sealed record StampedStats(AgentStats Stats, DateTimeOffset At);

    public AgentChannel(string socketPath, TimeProvider time, ILogger log)
    {
        (_socketPath, _time, _log) = (socketPath, time, log);
        _running = Task.Run(RunAsync);
    }

    public ChannelReader<AgentMessage> Messages => _messages.Reader;
    public AgentStats? LatestStats => _latest?.Stats;
    public DateTimeOffset? LatestStatsAt => _latest?.At;

    /// <summary>An IOException when the agent's port is not connected.</summary>
    public async Task SendAsync(AgentCommand command, CancellationToken ct)
    {
        var stream = _stream ?? throw new IOException("the agent's port is not connected");
        var line = JsonSerializer.SerializeToUtf8Bytes(command, AgentJson.Default.AgentCommand);
        await _writing.WaitAsync(ct);
        try
        {
            await stream.WriteAsync((byte[])[.. line, (byte)'\n'], ct);
        }
        catch (ObjectDisposedException)
        {
            throw new IOException("the agent's port was closed");
        }
        finally
        {
            _writing.Release();
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _end.CancelAsync();
        await _running;
        _writing.Dispose();
        _end.Dispose();
    }

    private async Task RunAsync()
    {
        try
        {
            while (true)
            {
                var pause = await ServeAsync(_end.Token) ? RetryDelay : Second;
                await Task.Delay(pause, _time, _end.Token);
            }
        }
        catch (OperationCanceledException)
        {
        }
        finally
        {
            _messages.Writer.TryComplete();
        }
    }

    /// <summary>One connection. False when the guest broke the protocol.</summary>
    private async Task<bool> ServeAsync(CancellationToken ct)
    {
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(_socketPath), ct);
            await using var stream = new NetworkStream(socket, ownsSocket: false);
            _stream = stream;
            await SendAsync(new AgentHello(AgentProtocol.Version), ct);
            var reader = PipeReader.Create(stream, new StreamPipeReaderOptions(leaveOpen: true));
            var from = _time.GetTimestamp();
            var count = 0;
            await foreach (var line in Lines.ReadAsync(reader, AgentProtocol.MaxLineBytes, ct))
            {
                if (!Take(line.Span))
                    return false;
                if (++count < MaxLinesPerSecond)
                    continue;
                var elapsed = _time.GetElapsedTime(from);
                if (elapsed < Second)
                    await Task.Delay(Second - elapsed, _time, ct);
                (from, count) = (_time.GetTimestamp(), 0);
            }
            return true;
        }
        catch (Exception problem) when (problem is SocketException or IOException)
        {
            return true;
        }
        catch (InvalidDataException problem)
        {
            _log.LogWarning("{Socket}: the guest's agent sent {Problem}; cut off", _socketPath, problem.Message);
            return false;
        }
        finally
        {
            _stream = null;
        }
    }

    private bool Take(ReadOnlySpan<byte> line)
    {
        AgentMessage? message;
        try
        {
            message = JsonSerializer.Deserialize(line, AgentJson.Default.AgentMessage);
        }
        catch (Exception problem) when (problem is JsonException or NotSupportedException)
        {
            _log.LogWarning("{Socket}: the guest's agent sent a line that is none of its protocol; cut off", _socketPath);
            return false;
        }
        if (message is AgentStats stats)
            _latest = new StampedStats(stats, _time.GetUtcNow());
        else if (message is not null && !_messages.Writer.TryWrite(message))
        {
            _log.LogWarning("{Socket}: {Count} messages of the guest's agent wait to be taken; cut off", _socketPath, MaxQueued);
            return false;
        }
        return true;
    }
}
