using System.Security.Claims;
using Api.Data;
using Api.Events;
using Api.Http;
using Api.Sandboxes;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Nodes;

/// <summary>An operator lets a node take nothing new, or lets it again. What runs on it goes on.
/// Guarantees: the wish outlives the node's silence; wish and event are one transaction. On a crash: what is stored holds.</summary>
public sealed class NodeCordons(SandboxDb db, SandboxScheduler scheduler, TimeProvider time)
{
    private const int Attempts = 10;

    public async Task<IResult> SetAsync(Guid id, bool cordoned, ClaimsPrincipal user, CancellationToken ct)
    {
        for (var attempt = 1; ; attempt++)
        {
            if (await db.Nodes.SingleOrDefaultAsync(n => n.Id == id, ct) is not { } node) return NodeEndpoints.NotFound();
            if (node.IsCordoned != cordoned)
            {
                node.IsCordoned = cordoned;
                if (node.Phase is NodePhase.Ready or NodePhase.Cordoned) node.Phase = cordoned ? NodePhase.Cordoned : NodePhase.Ready;
                db.Events.Add(Event.Infrastructure(EventType.NodePhase, node.Id, node.Name, cordoned ? "CordonedByOperator" : "UncordonedByOperator",
                    cordoned ? $"{user.Identity!.Name} has cordoned {node.Name}: it takes nothing new, and what runs there goes on." : $"{user.Identity!.Name} has uncordoned {node.Name}.", time.GetUtcNow()));
                try
                {
                    await db.SaveChangesAsync(ct);
                }
                catch (DbUpdateConcurrencyException) when (attempt < Attempts)
                {
                    db.ChangeTracker.Clear();
                    continue;
                }
                await db.AfterCommitAsync(() =>
                {
                    scheduler.Wake();
                    return Task.CompletedTask;
                });
            }
            return await NodeEndpoints.Get(id, db, ct);
        }
    }
}
