using System.Security.Claims;
using Api.Data;
using Api.Events;
using Api.Http;
using Api.Sandboxes;
using Contracts;
using Microsoft.EntityFrameworkCore;
using Npgsql;
using Sandbox = Api.Sandboxes.Sandbox;

namespace Api.Nodes;

/// <summary>Takes a node out of service for good: it, its devices and images are no more, its token is refused with a code that says why, its history stays (events, faults and the audit log name it).
/// Guarantees: one transaction; nothing that may run is forgotten: a node that has sandboxes goes only by force, and only when it is silent, by an operator who thereby says that the machine is off.
/// Assumes that this is so: what it ran has failed and may be started elsewhere. On a crash: all of it or nothing.</summary>
public sealed class NodeDecommissions(SandboxDb db, SandboxScheduler scheduler, TimeProvider time)
{
    private const int Attempts = 10;

    public async Task<IResult> RemoveAsync(Guid id, bool force, ClaimsPrincipal user, CancellationToken ct)
    {
        for (var attempt = 1; ; attempt++)
        {
            try
            {
                await using var transaction = await db.BeginAsync(ct);
                // Whoever places something there waits, and then finds no such node.
                if (await db.Nodes.FromSql($"SELECT *, xmin FROM nodes WHERE id = {id} FOR UPDATE").SingleOrDefaultAsync(ct) is not { } node) return NodeEndpoints.NotFound();
                if (await RefusalAsync(node, force, ct) is { } refusal) return refusal;
                await RemoveAsync(node, user, time.GetUtcNow(), ct);
                await db.SaveChangesAsync(ct);
                await transaction.CommitAsync(ct);
            }
            // A sandbox or a device changed meanwhile, or was placed there.
            catch (DbUpdateException e) when (attempt < Attempts && e is DbUpdateConcurrencyException or { InnerException: PostgresException { SqlState: PostgresErrorCodes.ForeignKeyViolation } })
            {
                db.ChangeTracker.Clear();
                continue;
            }
            await db.AfterCommitAsync(scheduler.Wake);
            return Results.NoContent();
        }
    }

    private async Task<IResult?> RefusalAsync(Node node, bool force, CancellationToken ct)
    {
        var left = await FleetReading.OnNodes(db).CountAsync(s => s.NodeId == node.Id, ct);
        if (left == 0) return null;
        if (!force) return ApiProblem.Of(409, "node_not_empty", $"{left} sandbox(es) may run on {node.Name}; drain it first. If the machine is gone for good: ?force=true, once the node is Unreachable.");
        return node.Phase == NodePhase.Unreachable || node.Phase == NodePhase.Maintenance && !(time.GetUtcNow() - node.LastReportAt <= NodeWatch.Silence)
            ? null
            : ApiProblem.Of(409, "node_reports", $"{node.Name} reports, and {left} sandbox(es) may run there; drain it, or stop its worker and switch the machine off first.");
    }

    private async Task RemoveAsync(Node node, ClaimsPrincipal user, DateTimeOffset now, CancellationToken ct)
    {
        foreach (var device in await db.Devices.Where(d => d.NodeId == node.Id).ToListAsync(ct)) db.Devices.Remove(device);
        foreach (var image in await db.NodeImages.Where(i => i.NodeId == node.Id).ToListAsync(ct)) db.NodeImages.Remove(image);
        if (await db.NodeInventories.SingleOrDefaultAsync(i => i.NodeId == node.Id, ct) is { } inventory) db.NodeInventories.Remove(inventory);
        foreach (var sandbox in await db.Sandboxes.Where(s => s.NodeId == node.Id).OrderBy(s => s.Id).ToListAsync(ct)) Release(sandbox, now);
        db.RetiredNodeTokens.Add(NodeCredentials.Retire(node, NodeCredentials.Decommissioned, now));
        if (node.NextTokenSha256 is { } next) db.RetiredNodeTokens.Add(new() { TokenSha256 = next, NodeId = node.Id, NodeName = node.Name, Code = NodeCredentials.Decommissioned, At = now });
        db.Nodes.Remove(node);
        db.Events.Add(Event.Infrastructure(EventType.NodeDecommissioned, node.Id, node.Name, "DecommissionedByOperator", $"{user.Identity!.Name} has taken {node.Name} out of service.", now));
    }

    /// <summary>What waits or has ended stays as it is, without the files of its last run.</summary>
    private void Release(Sandbox sandbox, DateTimeOffset now)
    {
        if (sandbox.Desired == DesiredState.Deleted)
        {
            db.Sandboxes.Remove(sandbox);
            db.Events.Add(Event.Of(sandbox, EventType.SandboxDeleted, NodeStops.Decommissioned, $"{sandbox.Name} is gone with its node.", now));
            return;
        }
        if (DrainDecision.Occupies(sandbox.Phase))
        {
            sandbox.Failure = NodeStops.Of(NodeStops.Decommissioned, now);
            sandbox.Enter(Phase.Failed, now);
            db.Events.Add(Event.Of(sandbox, EventType.SandboxPhase, NodeStops.Decommissioned, sandbox.Failure.Message, now));
            SandboxRestarts.AfterEnd(db, sandbox, NodeStops.Decommissioned, now);
        }
        sandbox.NodeId = null;
        sandbox.UpdatedAt = now;
    }
}
