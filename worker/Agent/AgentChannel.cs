using System.IO.Pipelines;
using System.Net.Sockets;
using System.Text.Json;
using System.Threading.Channels;
using Contracts;
using Microsoft.Extensions.Logging;
using Worker.Channels;

namespace Worker.Agent;

/// <summary>The latest statistics of a guest, and how long ago they arrived by a clock that nobody sets.</summary>
internal sealed record ToldStats(AgentStats Stats, TimeSpan Age);

// The worker's end of the guest agent's port. Connects, and connects again, until disposed; says Hello first on each connection,
// and again while it hears nothing: UEFI firmware reads a guest's ports before its system does, and with them the first Hello, and an agent
// that was started again in the guest waits to be greeted, on a connection that the worker saw no end of.
// The guest is not trusted: lines and rates are bounded; a line that is none of the protocol is counted and passed over (the first line after
// a reconnection may be the end of one); a guest that floods, sends an endless line or more than anyone takes is cut off for five seconds.
// Lines of sessions that are within their credit are no flood, but they too are read no faster than AgentRateLimit says.
// Statistics are not queued: only the latest is kept. Every other message is queued or, when nobody takes them, the connection is closed and logged.
public sealed class AgentChannel : IAsyncDisposable
{
    private const int MaxQueued = 64;
    private static readonly TimeSpan CutOffPause = TimeSpan.FromSeconds(5);
    /// <summary>Long enough that the answers to all those of a slow boot, which may come at once, fit into the queue.</summary>
    private static readonly TimeSpan HelloPeriod = TimeSpan.FromSeconds(4);
    private static readonly TimeSpan RetryDelay = TimeSpan.FromMilliseconds(50);
    private readonly string _socketPath;
    private readonly TimeProvider _time;
    private readonly ILogger _log;
    private readonly RareWarning _nonsense;
    private readonly CancellationTokenSource _end = new();
    private readonly Channel<AgentMessage> _messages = Channel.CreateBounded<AgentMessage>(MaxQueued);
    private readonly Task _running;
    private volatile WholeWrites? _writes;
    private volatile StampedStats? _latest;
    private volatile bool _heard;
    private volatile TaskCompletionSource _cut = new();
    private int _disposed;

    private sealed record StampedStats(AgentStats Stats, long At);

    public AgentChannel(string socketPath, TimeProvider time, ILogger log)
    {
        (_socketPath, _time, _log) = (socketPath, time, log);
        _nonsense = new RareWarning(time, log, socketPath, UntrustedPeer.Agent);
        Sessions = new AgentSessions(() => _cut.TrySetResult());
        _running = Task.Run(RunAsync);
    }

    public ChannelReader<AgentMessage> Messages => _messages.Reader;
    internal ToldStats? Latest => _latest is { } latest ? new ToldStats(latest.Stats, _time.GetElapsedTime(latest.At)) : null;
    /// <summary>What is done in the guest by request.</summary>
    public AgentSessions Sessions { get; }
    /// <summary>Lines that were none of the protocol.</summary>
    public long NonsenseLines => _nonsense.Count;

    /// <summary>An IOException when the agent's port is not connected.</summary>
    public Task SendAsync(AgentCommand command, CancellationToken ct) =>
        SendAsync(_writes ?? throw new IOException("the agent's port is not connected"), command, ct);

    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        await _end.CancelAsync();
        await _running;
        _end.Dispose();
    }

    private static async Task SendAsync(WholeWrites writes, AgentCommand command, CancellationToken ct)
    {
        var line = JsonSerializer.SerializeToUtf8Bytes(command, AgentJson.Default.AgentCommand);
        await writes.WriteAsync((byte[])[.. line, (byte)'\n'], ct);
    }

    private async Task RunAsync()
    {
        try
        {
            while (true)
                await Task.Delay(await ServeAsync(_end.Token) ? RetryDelay : CutOffPause, _time, _end.Token);
        }
        catch (OperationCanceledException)
        {
        }
        finally
        {
            _messages.Writer.TryComplete();
        }
    }

    /// <summary>One connection. False when the guest was cut off.</summary>
    private async Task<bool> ServeAsync(CancellationToken ct)
    {
        // Before the VMM has made its socket: looking for a file is cheaper than a refused connection.
        if (!File.Exists(_socketPath))
            return true;
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await SocketFile.ConnectAsync(socket, _socketPath, ct);
            await using var stream = new NetworkStream(socket, ownsSocket: false);
            var writes = new WholeWrites(stream);
            using var connected = CancellationTokenSource.CreateLinkedTokenSource(ct);
            var greeting = GreetAsync(writes, connected.Token);
            var passing = PassOnAsync(writes, connected.Token);
            _writes = writes;
            var cut = _cut = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            string? problem;
            try
            {
                var reading = ReadAsync(stream, connected.Token);
                if (await Task.WhenAny(reading, cut.Task) == cut.Task)
                {
                    await connected.CancelAsync();
                    await ((Task)reading).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                    problem = "nothing, and takes nothing";
                }
                else
                    problem = await reading;
            }
            finally
            {
                await connected.CancelAsync();
                await greeting;
                await passing;
            }
            if (problem is null)
                return true;
            _log.LogWarning("{Socket}: the guest's agent sent {Problem}; cut off", _socketPath, problem);
            return false;
        }
        catch (Exception problem) when (problem is SocketException or IOException)
        {
            return true;
        }
        finally
        {
            _writes = null;
            Sessions.Lost();
        }
    }

    /// <summary>Steps of sessions, one after the other: a guest that reads nothing keeps only its own waiting.</summary>
    private async Task PassOnAsync(WholeWrites writes, CancellationToken ct)
    {
        try
        {
            await foreach (var command in Sessions.Commands.ReadAllAsync(ct))
                await SendAsync(writes, command, ct);
        }
        catch (Exception problem) when (problem is IOException or OperationCanceledException)
        {
            // The connection has ended, and with it every session.
        }
    }

    private async Task GreetAsync(WholeWrites writes, CancellationToken ct)
    {
        try
        {
            while (true)
            {
                _heard = false;
                await SendAsync(writes, new AgentHello(AgentProtocol.Version), ct);
                do
                    await Task.Delay(HelloPeriod, _time, ct);
                while (Interlocked.Exchange(ref _heard, false));
            }
        }
        catch (OperationCanceledException) when (ct.IsCancellationRequested)
        {
        }
    }

    /// <summary>Reads until the connection ends; what the guest did when it must be cut off.</summary>
    private async Task<string?> ReadAsync(NetworkStream stream, CancellationToken ct)
    {
        var reader = PipeReader.Create(stream, new StreamPipeReaderOptions(leaveOpen: true));
        var start = _time.GetTimestamp();
        var limit = new AgentRateLimit();
        try
        {
            await foreach (var line in Lines.ReadAsync(reader, AgentProtocol.MaxLineBytes, ct))
            {
                var message = Parse(line.Span);
                var isOfSession = message is AgentOfSession;
                var isWithinCredit = message is AgentOfSession said && Sessions.Take(said);
                var verdict = limit.Add(_time.GetElapsedTime(start), isWithinCredit);
                if (verdict == AgentVerdict.CutOff)
                    return $"more than {AgentRateLimit.MaxPerSecond} messages a second for {AgentRateLimit.MaxBusySeconds} seconds";
                if (message is null || isOfSession && !isWithinCredit)
                    _nonsense.Add("the guest's agent sent a line that is none of its protocol");
                else if (!isOfSession && !Take(message))
                    return $"{MaxQueued} messages that nobody takes";
                if (verdict == AgentVerdict.TakeThenPause)
                    await Task.Delay(AgentRateLimit.UntilNextSecond(_time.GetElapsedTime(start)), _time, ct);
            }
            return null;
        }
        catch (InvalidDataException problem)
        {
            return problem.Message;
        }
        finally
        {
            await reader.CompleteAsync();
        }
    }

    private AgentMessage? Parse(ReadOnlySpan<byte> line)
    {
        AgentMessage? message;
        try
        {
            message = JsonSerializer.Deserialize(line, AgentJson.Default.AgentMessage);
        }
        catch (Exception problem) when (problem is JsonException or NotSupportedException)
        {
            message = null;
        }
        _heard |= message is not null;
        return message;
    }

    /// <summary>False when the queue is full.</summary>
    private bool Take(AgentMessage message)
    {
        if (message is AgentReady ready)
            Sessions.Greeted(ready);
        if (message is not AgentStats stats)
            return _messages.Writer.TryWrite(message);
        _latest = new StampedStats(stats, _time.GetTimestamp());
        return true;
    }
}
