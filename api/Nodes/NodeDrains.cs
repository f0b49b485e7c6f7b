using Api.Data;
using Api.Events;
using Api.Reconciliation;
using Api.Sandboxes;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Nodes;

/// <summary>Empties the nodes that operators drain: tells the owners of what runs there, stops what is left at the deadline, and tells when nothing is.
/// Guarantees: each owner is told once a drain, nothing is stopped before the deadline or twice, and what may be restarted waits for another node only once its node says that it has ended.
/// Assumes: several replicas may run it at once (the loser of a row changes nothing). On a crash each step is stored with its event or not at all; the next pass goes on.</summary>
public sealed class NodeDrains(IServiceScopeFactory scopes, NodePlans plans, TimeProvider time, ILogger<NodeDrains> log) : Reconciler(time, TimeSpan.FromSeconds(1), log)
{
    private readonly TimeProvider clock = time;

    protected override async Task PassAsync(CancellationToken ct)
    {
        await using var scope = scopes.CreateAsyncScope();
        var db = scope.ServiceProvider.GetRequiredService<SandboxDb>();
        foreach (var id in await db.Nodes.AsNoTracking().Where(n => n.Drain != null).OrderBy(n => n.Id).Select(n => n.Id).ToListAsync(ct))
        {
            db.ChangeTracker.Clear();
            try
            {
                await DrainAsync(db, id, ct);
            }
            catch (DbUpdateConcurrencyException)
            {
                log.LogDebug("Node {NodeId} or what runs there changed while it was drained; the next pass goes on", id);
            }
        }
    }

    private async Task DrainAsync(SandboxDb db, Guid id, CancellationToken ct)
    {
        if (await db.Nodes.SingleOrDefaultAsync(n => n.Id == id, ct) is not { Drain: { } drain } node) return;
        var (remaining, stopped) = (0, false);
        foreach (var sandbox in await db.Sandboxes.Where(s => s.NodeId == id).OrderBy(s => s.Id).ToListAsync(ct))
        {
            var now = clock.GetUtcNow();
            var step = DrainDecision.Of(drain, sandbox.Phase, sandbox.Desired, sandbox.ToldDrain, sandbox.Restart?.Policy ?? RestartWhen.Never, sandbox.WantedNode == node.Name, now);
            if (step.Remains) remaining++;
            if (!step.Tell && !step.Stop) continue;
            if (step.Tell)
            {
                sandbox.ToldDrain = drain.Id;
                db.Events.Add(Event.Of(sandbox, EventType.SandboxNodeDraining, "NodeDraining",
                    $"The node of {sandbox.Name} is being emptied{(drain.Reason is { } why ? $" ({why})" : "")}: if it still runs at {drain.Deadline:O}, it is stopped.", now));
            }
            if (step.Stop)
            {
                (sandbox.Desired, sandbox.Failure, sandbox.MovesAfterStop, sandbox.UpdatedAt) = (DesiredState.Stopped, NodeStops.Of(NodeStops.Drained, now), step.Moves, now);
                sandbox.Generation++;
                if (sandbox.Phase != Phase.Lost) sandbox.Enter(Phase.Stopping, now);
                db.Events.Add(Event.Of(sandbox, EventType.SandboxPhase, NodeStops.Drained, $"{sandbox.Name} shall be {sandbox.Desired}: {sandbox.Failure.Message}", now));
                stopped = true;
            }
            await SaveAsync(db, sandbox, ct);
        }
        if (stopped) await plans.ChangedAsync(id, ct);
        if (remaining > 0 || drain.DrainedAt is not null) return;
        Finish(db, node, drain, clock.GetUtcNow());
        await db.SaveChangesAsync(ct);
    }

    /// <summary>Whoever changes it meanwhile wins: the next pass sees what they made of it.</summary>
    private async Task SaveAsync(SandboxDb db, Sandbox sandbox, CancellationToken ct)
    {
        try
        {
            await db.SaveChangesAsync(ct);
        }
        catch (DbUpdateConcurrencyException)
        {
            log.LogDebug("Sandbox {SandboxId} changed while its node was drained", sandbox.Id);
            // It alone: those after it are still to be changed.
            db.Entry(sandbox).State = EntityState.Detached;
        }
    }

    public static void Finish(SandboxDb db, Node node, NodeDrain drain, DateTimeOffset now)
    {
        node.Drain = drain with { DrainedAt = now };
        db.Events.Add(Event.Infrastructure(EventType.NodeDrained, node.Id, node.Name, "Drained", $"Nothing runs on {node.Name} any more.", now));
        if (drain.ThenMaintenance) NodeMaintenances.Begin(db, node, now);
    }
}
