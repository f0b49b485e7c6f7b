using System.Runtime.CompilerServices;
using System.Security.Claims;
using Api.Data;
using Api.Events;
using Api.Faults;
using Api.Guests;
using Api.Http;
using Api.Nodes;
using Api.Sandboxes;
using Contracts;
using Microsoft.AspNetCore.SignalR;
using Microsoft.EntityFrameworkCore;

namespace Api.Dashboard;

/// <summary>What the page watches (Contracts/DashboardEvents.cs). Every stream can be resumed: events by number, consoles by offset.
/// Each method declares the role it takes (<see cref="HubAccess"/>); a connection ends with its key or session (<see cref="ConnectionWatch"/>).</summary>
public sealed class DashboardHub(IServiceScopeFactory scopes, EventSignal signal, FaultLive faults, ConsoleRelay consoles, NodePlans plans, HubFailures failures, OpenConnections connections, SandboxActivity activity, TimeProvider time) : Hub
{
    public const int MaxStreams = 32;
    private const int Batch = 200;
    private static readonly TimeSpan Recheck = TimeSpan.FromSeconds(10);

    private Guid Project => Context.User!.ProjectId();

    /// <summary>Events after a number, then each new one; -1 means from now.</summary>
    [Requires(Role.Viewer)]
    public IAsyncEnumerable<EventView> Events(long after, CancellationToken ct) => failures.Told(nameof(Events), EventsAsync(after, ct), ct);

    [Requires(Role.Viewer)]
    public IAsyncEnumerable<FaultSample> Faults(Guid sandboxId, CancellationToken ct) => failures.Told(nameof(Faults), FaultsAsync(sandboxId, ct), ct);

    [Requires(Role.Viewer)]
    public IAsyncEnumerable<ConsoleFrame> Console(Guid sandboxId, long fromOffset, CancellationToken ct) => failures.Told(nameof(Console), ConsoleAsync(sandboxId, fromOffset, ct), ct);

    private async IAsyncEnumerable<EventView> EventsAsync(long after, [EnumeratorCancellation] CancellationToken ct)
    {
        using var open = OpenStream();
        var project = Project;
        if (after < 0)
        {
            await using var scope = scopes.CreateAsyncScope();
            after = await EventReading.LastNumberAsync(scope.ServiceProvider.GetRequiredService<SandboxDb>(), project, ct);
        }
        while (!ct.IsCancellationRequested)
        {
            var next = signal.Next(project);
            EventReading.Reading reading;
            await using (var scope = scopes.CreateAsyncScope())
                reading = await EventReading.ReadAsync(scope.ServiceProvider.GetRequiredService<SandboxDb>(), project, after, null, null, Batch, ct);
            if (reading is not EventReading.Reading.Rows { Events: var rows }) throw new HubException("events_expired: begin from now and read the present state");
            foreach (var row in rows)
            {
                after = row.Number;
                yield return row.ToView();
            }
            if (rows.Count < Batch) await signal.WaitAsync(next, Recheck, ct);
        }
    }

    private async IAsyncEnumerable<FaultSample> FaultsAsync(Guid sandboxId, [EnumeratorCancellation] CancellationToken ct)
    {
        using var open = OpenStream();
        await NodeOfAsync(sandboxId, ct);
        await foreach (var sample in faults.WatchAsync(sandboxId, ct)) yield return sample;
    }

    private async IAsyncEnumerable<ConsoleFrame> ConsoleAsync(Guid sandboxId, long fromOffset, [EnumeratorCancellation] CancellationToken ct)
    {
        using var open = OpenStream();
        var node = await NodeOfAsync(sandboxId, ct);
        var frames = consoles.Watch(sandboxId, Context.ConnectionId, Context.User!.FindFirstValue(ClaimTypes.Name)!, fromOffset, out var first)
            ?? throw new HubException($"too_many_viewers: a console has at most {ConsoleRelay.MaxViewers}");
        try
        {
            if (first && node is { } watched) await plans.ChangedAsync(watched, ct);
            await foreach (var frame in frames.ReadAllAsync(ct)) yield return frame;
        }
        finally
        {
            consoles.Leave(sandboxId, Context.ConnectionId, frames);
        }
    }

    [Requires(Role.Operator)]
    public async Task<ConsoleWriter> ConsoleAcquire(Guid sandboxId, bool force)
    {
        await NodeOfAsync(sandboxId, Context.ConnectionAborted);
        return consoles.Acquire(sandboxId, Context.ConnectionId, force);
    }

    [Requires(Role.Operator)]
    public void ConsoleRelease(Guid sandboxId) => consoles.Release(sandboxId, Context.ConnectionId);

    [Requires(Role.Operator)]
    public async Task ConsoleWrite(Guid sandboxId, byte[] keys)
    {
        if (keys is null || keys.Length > DashboardHubContract.MaxConsoleWriteBytes) throw new HubException($"too_large: at most {DashboardHubContract.MaxConsoleWriteBytes} bytes at once");
        if (!consoles.MayWrite(sandboxId, Context.ConnectionId)) throw new HubException("not_the_writer: take the keyboard first");
        if (await NodeOfAsync(sandboxId, Context.ConnectionAborted) is not { } node) return;
        activity.Used(sandboxId);
        await plans.TypeAsync(node, new ConsoleKeys(sandboxId, keys), Context.ConnectionAborted);
    }

    public override Task OnConnectedAsync()
    {
        Context.Items[typeof(SemaphoreSlim)] = new SemaphoreSlim(MaxStreams);
        connections.Add(Context, time.GetUtcNow());
        return base.OnConnectedAsync();
    }

    public override Task OnDisconnectedAsync(Exception? exception)
    {
        connections.Remove(Context.ConnectionId);
        return base.OnDisconnectedAsync(exception);
    }

    /// <summary>One of the connection's streams, until disposed.</summary>
    private OpenedStream OpenStream()
    {
        var left = (SemaphoreSlim)Context.Items[typeof(SemaphoreSlim)]!;
        return left.Wait(0) ? new OpenedStream(left) : throw new HubException($"too_many_streams: a connection has at most {MaxStreams}");
    }

    private readonly struct OpenedStream(SemaphoreSlim left) : IDisposable
    {
        public void Dispose() => left.Release();
    }

    /// <summary>The node of a sandbox of the caller's project; another project's is not found.</summary>
    private async Task<Guid?> NodeOfAsync(Guid sandboxId, CancellationToken ct)
    {
        await using var scope = scopes.CreateAsyncScope();
        var db = scope.ServiceProvider.GetRequiredService<SandboxDb>();
        var project = Project;
        var found = await db.Sandboxes.AsNoTracking().Where(s => s.Id == sandboxId && s.ProjectId == project).Select(s => new { s.NodeId }).SingleOrDefaultAsync(ct);
        return found is null ? throw new HubException("sandbox_not_found") : found.NodeId;
    }
}
