using System.Collections.Concurrent;
using Contracts;
using Microsoft.AspNetCore.SignalR;
using Microsoft.AspNetCore.SignalR.Client;

namespace Api.Tests.Replicas;

/// <summary>What no replica may ever bring about, as the nodes themselves see it.</summary>
public sealed class Watch
{
    private readonly ConcurrentDictionary<Guid, string> _running = new();
    private int _started;

    public ConcurrentQueue<string> Violations { get; } = new();
    /// <summary>Starts of guests on all nodes.</summary>
    public int Started => _started;

    public void Starts(Guid sandbox, string node)
    {
        Interlocked.Increment(ref _started);
        if (!_running.TryAdd(sandbox, node)) Violations.Enqueue($"{sandbox} is started on {node} while {_running.GetValueOrDefault(sandbox)} runs it");
    }

    public void Ended(Guid sandbox, string node) => _running.TryRemove(new(sandbox, node));
}

/// <summary>A node that does what its plan says, a step at a time, dials again whenever its connection is lost, and knows what it must never be told:
/// to run what another node runs, or to give a device that a guest of its has.</summary>
public sealed class WatchedNode(string name, Uri address, string token, Watch watch, int edu = 3) : IAsyncDisposable
{
    private static readonly TimeSpan _period = TimeSpan.FromMilliseconds(150), _patience = TimeSpan.FromSeconds(15);
    private readonly StandInNode _node = new(address, token, edu);
    private readonly CancellationTokenSource _ends = new();
    private Task _working = Task.CompletedTask;

    public StandInNode Node => _node;
    public int Dialled { get; private set; }
    /// <summary>Whether it does nothing: neither reports nor ends its guests.</summary>
    public bool IsAway { get; set; }

    public void Begin() => _working = WorkAsync();

    private async Task WorkAsync()
    {
        using var timer = new PeriodicTimer(_period);
        do
        {
            try
            {
                if (!IsAway) await ReportAsync();
            }
            catch (TimeoutException)
            {
                // No answer: it dials anew.
                await _node.Connection.StopAsync();
            }
            catch (Exception e) when (e is HubException or HttpRequestException or IOException or InvalidOperationException or System.Net.WebSockets.WebSocketException or OperationCanceledException)
            {
                // The replica was killed, or the database is away: the next report says it again.
            }
        }
        while (await timer.WaitForNextTickAsync(_ends.Token).AsTask().ContinueWith(t => t.IsCompletedSuccessfully, TaskScheduler.Default));
    }

    private async Task ReportAsync()
    {
        if (_node.Connection.State == HubConnectionState.Disconnected)
        {
            await _node.Connection.StartAsync(_ends.Token);
            Dialled++;
        }
        await _node.SyncAsync().WaitAsync(_patience, _ends.Token);
        Step();
    }

    private void Step()
    {
        foreach (var left in _node.Sandboxes.Keys.Except(_node.Plan.Sandboxes.Select(s => s.Id)).ToList())
        {
            End(left);
            _node.Sandboxes.Remove(left);
        }
        foreach (var planned in _node.Plan.Sandboxes)
        {
            var known = _node.Sandboxes.GetValueOrDefault(planned.Id);
            if (planned.Desired == DesiredState.Running) Run(planned, known);
            else
            {
                End(planned.Id);
                Say(planned, planned.Desired == DesiredState.Deleted ? VmState.Absent : VmState.Stopped);
            }
        }
    }

    private void Run(PlannedSandbox planned, ReportedSandbox? known)
    {
        if (known?.Incarnation == planned.Incarnation)
        {
            if (known.State is VmState.Preparing or VmState.Booting) Say(planned, known.State + 1);
            return;
        }
        if (known is not null) End(planned.Id);
        foreach (var device in planned.Spec.Devices)
        {
            if (_node.Held[device] is { } holder && holder != planned.Id) watch.Violations.Enqueue($"{name}: {device} is given to {planned.Id} while {holder} has it");
            _node.Held[device] = planned.Id;
        }
        watch.Starts(planned.Id, name);
        Say(planned, VmState.Preparing);
    }

    private void Say(PlannedSandbox planned, VmState state) =>
        _node.Sandboxes[planned.Id] = new ReportedSandbox(planned.Id, planned.Incarnation, state, [], null, null, 1, null, null, null, null, null);

    private void End(Guid sandbox)
    {
        foreach (var device in _node.Held.Where(h => h.Value == sandbox).Select(h => h.Key).ToList()) _node.Held[device] = null;
        watch.Ended(sandbox, name);
    }

    public async ValueTask DisposeAsync()
    {
        await _ends.CancelAsync();
        await _working;
        await _node.DisposeAsync();
        _ends.Dispose();
    }
}
