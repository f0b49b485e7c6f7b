using System.Security.Claims;
using Api.Data;
using Api.Events;
using Api.Http;
using Api.Sandboxes;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Nodes;

/// <summary>What operators wish of a node: that it takes nothing new, that it is emptied, that its silence is expected. What the wishes do is <see cref="NodeDrains"/>'s and <see cref="NodeWatch"/>'s.
/// Guarantees: the wish outlives the node's silence; wish and event are one transaction. On a crash: what is stored holds.</summary>
public sealed class NodeCordons(SandboxDb db, SandboxScheduler scheduler, NodeDrains drains, TimeProvider time)
{
    public const int MaxDeadlineSeconds = 604_800, DefaultDeadlineSeconds = 3600, MaxReason = 500;

    public Task<IResult> SetAsync(Guid id, bool cordoned, ClaimsPrincipal user, CancellationToken ct) => ChangeAsync(id, (node, now) =>
    {
        // Whoever lets it take sandboxes again wants it emptied no more.
        if (node.IsCordoned == cordoned && (cordoned || node.Drain is null)) return (null, null);
        node.IsCordoned = cordoned;
        if (!cordoned && node.MaintenanceSince is null) node.Drain = null;
        return (null, Told(node, cordoned ? "CordonedByOperator" : "UncordonedByOperator",
            cordoned ? $"{user.Identity!.Name} has cordoned {node.Name}: it takes nothing new, and what runs there goes on." : $"{user.Identity!.Name} has uncordoned {node.Name}.", now));
    }, ct);

    public Task<IResult> DrainAsync(Guid id, NodeDrainRequest? asked, ClaimsPrincipal user, CancellationToken ct)
    {
        if (Problem(asked, "") is { } problem) return Task.FromResult(problem);
        return ChangeAsync(id, (node, now) =>
        {
            if (node.MaintenanceSince is not null) return (InMaintenance(node), null);
            return (null, Begin(node, asked, false, user, now));
        }, ct);
    }

    public Task<IResult> EndDrainAsync(Guid id, ClaimsPrincipal user, CancellationToken ct) => ChangeAsync(id, (node, now) =>
    {
        if (node.MaintenanceSince is not null) return (InMaintenance(node), null);
        if (node.Drain is null) return (null, null);
        node.Drain = null;
        return (null, Told(node, "DrainEnded", $"{user.Identity!.Name} has ended the drain of {node.Name}.", now));
    }, ct);

    public Task<IResult> BeginMaintenanceAsync(Guid id, NodeMaintenanceRequest? asked, ClaimsPrincipal user, CancellationToken ct)
    {
        if (asked?.Drain is { } drain && Problem(drain, "drain.") is { } problem) return Task.FromResult(problem);
        return ChangeAsync(id, async (node, now) =>
        {
            if (node.MaintenanceSince is not null) return (null, null);
            var occupied = await FleetReading.OnNodes(db).CountAsync(s => s.NodeId == id, ct);
            if (occupied > 0 && asked?.Drain is null)
                return (ApiProblem.Of(409, "node_not_empty", $"{occupied} sandbox(es) may run on {node.Name}; name a drain, which empties it first."), null);
            if (occupied > 0) return (null, Begin(node, asked!.Drain, true, user, now));
            // Drained for as long as it lasts: a placement that was decided before it is told and ended like any other.
            Begin(node, new(0, asked?.Drain?.Reason), true, user, now);
            node.Drain = node.Drain! with { DrainedAt = now };
            NodeMaintenances.Begin(db, node, now);
            return (null, null);
        }, ct);
    }

    public Task<IResult> EndMaintenanceAsync(Guid id, ClaimsPrincipal user, CancellationToken ct) => ChangeAsync(id, (node, now) =>
    {
        if (node.MaintenanceSince is null && node.Drain is not { ThenMaintenance: true }) return (null, null);
        (node.MaintenanceSince, node.Drain) = (null, null);
        // Its silence was expected until now: nothing is placed there before it reports.
        if (!(now - node.LastReportAt <= NodeWatch.Silence)) node.Phase = NodePhase.Unreachable;
        return (null, Told(node, "MaintenanceEnded", $"{user.Identity!.Name} has ended the maintenance of {node.Name}.", now));
    }, ct);

    private static Event Begin(Node node, NodeDrainRequest? asked, bool maintenance, ClaimsPrincipal user, DateTimeOffset now)
    {
        // A second wish changes the deadline of the same drain: nobody is told twice.
        var deadline = now.AddSeconds(asked?.DeadlineSeconds ?? DefaultDeadlineSeconds);
        var reason = string.IsNullOrWhiteSpace(asked?.Reason) ? null : asked.Reason.Trim();
        node.Drain = node.Drain is { } goesOn
            ? goesOn with { Deadline = deadline, Reason = reason ?? goesOn.Reason, ThenMaintenance = maintenance || goesOn.ThenMaintenance, DrainedAt = maintenance && !goesOn.ThenMaintenance ? null : goesOn.DrainedAt }
            : new NodeDrain(Guid.CreateVersion7(now), now, deadline, reason, maintenance, null);
        return Told(node, "DrainStarted", $"{user.Identity!.Name} drains {node.Name}: it takes nothing new, and what runs there is stopped at {deadline:O}.", now);
    }

    private static Event Told(Node node, string reason, string message, DateTimeOffset now) => Event.Infrastructure(EventType.NodePhase, node.Id, node.Name, reason, message, now);

    private static IResult InMaintenance(Node node) => ApiProblem.Of(409, "node_in_maintenance", $"{node.Name} is in maintenance; end that first: DELETE /v1/nodes/{{id}}/maintenance.");

    private static IResult? Problem(NodeDrainRequest? asked, string prefix)
    {
        var errors = new Dictionary<string, string[]>();
        if (asked?.DeadlineSeconds is { } seconds and (< 0 or > MaxDeadlineSeconds)) errors[$"{prefix}deadlineSeconds"] = [$"takes 0 to {MaxDeadlineSeconds}, not {seconds}"];
        if (asked?.Reason is { } reason && (reason.Length > MaxReason || reason.Any(char.IsControl))) errors[$"{prefix}reason"] = [$"takes at most {MaxReason} characters, none of them control characters"];
        return errors.Count > 0 ? ApiProblem.Validation(errors) : null;
    }

    private Task<IResult> ChangeAsync(Guid id, Func<Node, DateTimeOffset, (IResult?, Event?)> change, CancellationToken ct) =>
        ChangeAsync(id, (node, now) => Task.FromResult(change(node, now)), ct);

    private Task<IResult> ChangeAsync(Guid id, Func<Node, DateTimeOffset, Task<(IResult? Refusal, Event? Told)>> change, CancellationToken ct) => NodeChange.ApplyAsync(db, id, async node =>
    {
        var changed = await change(node, time.GetUtcNow());
        if (changed.Refusal is null && node.IsReporting) node.Phase = node.Standing;
        return changed;
    }, () =>
    {
        scheduler.Wake();
        drains.Wake();
        return Task.CompletedTask;
    }, ct);
}

/// <summary>What maintenance of a node is: nothing runs there, and that it does not report is no news.</summary>
public static class NodeMaintenances
{
    /// <summary>Of an empty node.</summary>
    public static void Begin(SandboxDb db, Node node, DateTimeOffset now)
    {
        (node.MaintenanceSince, node.Phase) = (now, NodePhase.Maintenance);
        db.Events.Add(Event.Infrastructure(EventType.NodePhase, node.Id, node.Name, "MaintenanceBegan", $"{node.Name} is in maintenance: nothing runs there, and that it does not report is no news.", now));
    }
}
