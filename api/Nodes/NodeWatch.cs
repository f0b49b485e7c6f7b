using Api.Data;
using Api.Events;
using Api.Reconciliation;
using Api.Sandboxes;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Nodes;

/// <summary>Marks nodes that stopped reporting as Unreachable and their guests as Lost; those in maintenance are expected to be silent.
/// Guarantees: nothing is handed out again: an unreachable node keeps its devices and sandboxes until it reports.
/// Assumes: while the API itself was away no node could report, so it waits a full silence after its own start, and after a pass that the database did not answer. On a crash: idempotent.</summary>
public sealed class NodeWatch(IServiceScopeFactory scopes, TimeProvider time, ILogger<NodeWatch> log) : Reconciler(time, TimeSpan.FromSeconds(1), log)
{
    public static readonly TimeSpan Silence = TimeSpan.FromSeconds(10);
    private readonly TimeProvider clock = time;
    private readonly DateTimeOffset startedAt = time.GetUtcNow();

    protected override async Task PassAsync(CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        await using var scope = scopes.CreateAsyncScope();
        var db = scope.ServiceProvider.GetRequiredService<SandboxDb>();
        var silent = await db.Nodes.Where(n => n.LastReportAt < now - Silence && n.Phase != NodePhase.Unreachable && n.Phase != NodePhase.Joining && n.Phase != NodePhase.Maintenance).ToListAsync(ct);
        if (now - startedAt < Silence || HasFailedWithin(Silence)) return;
        foreach (var node in silent)
        {
            node.Phase = NodePhase.Unreachable;
            db.Events.Add(Event.Infrastructure(EventType.NodePhase, node.Id, node.Name, "NodeSilent", $"Node {node.Name} has not reported for {Silence.TotalSeconds:0} s.", now));
            foreach (var sandbox in await db.Sandboxes.Where(s => s.NodeId == node.Id).ToListAsync(ct))
                if (SandboxLifecycle.IsOnNode(sandbox.Phase) && sandbox.Enter(Phase.Lost, now))
                    db.Events.Add(Event.Of(sandbox, EventType.SandboxPhase, "NodeUnreachable", $"{sandbox.Name} cannot be seen: its node {node.Name} does not report. Its devices stay with it.", now));
            await db.SaveChangesAsync(ct);
        }
    }
}
