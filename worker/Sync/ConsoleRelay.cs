using Contracts;
using Microsoft.AspNetCore.SignalR;
using Microsoft.AspNetCore.SignalR.Client;
using Microsoft.Extensions.Logging;
using Worker.Console;
using Worker.Vms;

namespace Worker.Sync;

// Sends what watched serial consoles put out, over one connection. Guarantees: bytes in order, each chunk with its offset; a console that
// becomes watched, and every watched one after a reconnection, is sent from the beginning of its ring.
public sealed class ConsoleRelay(HubConnection connection, VmManager vms, ILogger log)
{
    private const int ChunkBytes = 16 * 1024;
    private static readonly TimeSpan LookPeriod = TimeSpan.FromMilliseconds(250);
    private readonly Dictionary<Guid, (CancellationTokenSource End, Task Run)> _relays = [];

    public async Task RunAsync(CancellationToken ct)
    {
        using var timer = new PeriodicTimer(LookPeriod);
        try
        {
            while (await timer.WaitForNextTickAsync(ct))
            {
                var watched = vms.WatchedConsoles;
                foreach (var id in _relays.Keys.Except(watched).ToList())
                    await EndAsync(id);
                foreach (var id in watched)
                    if ((!_relays.TryGetValue(id, out var relay) || relay.Run.IsCompleted) && vms.ConsoleOf(id) is { } console)
                        await BeginAsync(id, console, ct);
            }
        }
        finally
        {
            foreach (var id in _relays.Keys.ToList())
                await EndAsync(id);
        }
    }

    private async Task BeginAsync(Guid id, SerialConsole console, CancellationToken ct)
    {
        await EndAsync(id);
        var end = CancellationTokenSource.CreateLinkedTokenSource(ct);
        _relays[id] = (end, RelayAsync(id, console, end.Token));
    }

    private async Task EndAsync(Guid id)
    {
        if (!_relays.Remove(id, out var relay))
            return;
        await relay.End.CancelAsync();
        await relay.Run;
        relay.End.Dispose();
    }

    private async Task RelayAsync(Guid id, SerialConsole console, CancellationToken ct)
    {
        try
        {
            var next = 0L;
            while (!ct.IsCancellationRequested)
            {
                var (offset, data) = console.Read(next, ChunkBytes);
                if (data.Length == 0)
                {
                    await console.WaitForOutputAsync(next, ct);
                    continue;
                }
                await connection.InvokeAsync(NodeProtocol.ConsoleOutput, new ConsoleChunk(id, offset, data), ct);
                next = offset + data.Length;
            }
        }
        catch (ObjectDisposedException)
        {
            // The sandbox is gone.
        }
        catch (Exception problem) when (problem is OperationCanceledException or InvalidOperationException or IOException or HubException)
        {
            if (!ct.IsCancellationRequested)
                log.LogWarning("Sandbox {Sandbox}: its console is not relayed at the moment: {Problem}", id, problem.Message);
        }
    }
}
