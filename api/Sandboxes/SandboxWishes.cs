using Api.Data;
using Api.Events;
using Api.Http;
using Api.Nodes;
using Api.Projects;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Sandboxes;

/// <summary>Start, stop, restart, delete: what a user (or, without a project, an ended lease) wishes next is stored, and its node is told that its plan changed. Guarantees and a crash: see <see cref="SandboxChange"/>.</summary>
public sealed class SandboxWishes(SandboxDb db, NodePlans plans, SandboxScheduler scheduler, TimeProvider time)
{
    public Task<IResult> StartAsync(Guid id, Guid? project, IfMatch match, CancellationToken ct) => ChangeAsync(id, project, match, (s, now) =>
    {
        if (s.Desired == DesiredState.Deleted) return ApiProblem.BeingDeleted();
        if (s.Phase is not (Phase.Stopped or Phase.Failed)) return Wrong(s, "started");
        s.RestartCount = 0;
        PlaceAnew(s, now);
        return null;
    }, ct, adds: true);

    public Task<IResult> StopAsync(Guid id, Guid? project, IfMatch match, CancellationToken ct) => ChangeAsync(id, project, match, (s, now) =>
    {
        if (s.Desired == DesiredState.Deleted) return ApiProblem.BeingDeleted();
        if (s.Phase is Phase.Stopped or Phase.Failed && s.RestartAt is null) return Wrong(s, "stopped");
        Stop(s, now);
        return null;
    }, ct);

    public Task<IResult> RestartAsync(Guid id, Guid? project, IfMatch match, CancellationToken ct) => ChangeAsync(id, project, match, (s, now) =>
    {
        if (s.Desired == DesiredState.Deleted) return ApiProblem.BeingDeleted();
        if (s.Phase is Phase.Pending or Phase.Lost or Phase.Stopping) return Wrong(s, "restarted");
        s.RestartCount = 0;
        if (s.Phase is Phase.Stopped or Phase.Failed)
        {
            PlaceAnew(s, now);
            return null;
        }
        var placed = s.Conditions.Find(c => c.Type == ConditionType.Placed);
        s.ForgetGuest();
        if (placed is not null) s.Set(placed);
        s.Incarnation++;
        s.Desired = DesiredState.Running;
        s.Enter(Phase.Scheduled, now);
        return null;
    }, ct, adds: true);

    public Task<IResult> DeleteAsync(Guid id, Guid? project, IfMatch match, CancellationToken ct) => ChangeAsync(id, project, match, (s, now) =>
    {
        Delete(s, now);
        return null;
    }, ct);

    /// <summary>What the lease said for its end, if it still ends now: its user may have changed it meanwhile.</summary>
    public Task<IResult> EndLeaseAsync(Guid id, CancellationToken ct) => ChangeAsync(id, null, default, (s, now) =>
    {
        if (s.LeaseExpiresAt is null || s.LeaseExpiresAt > now || s.Desired == DesiredState.Deleted) return Results.NoContent();
        if (s.LeaseOnExpiry == LeaseEnd.Delete)
        {
            Delete(s, now);
            return null;
        }
        s.LeaseExpiresAt = null;
        if (s.LeaseIdleTimeoutSeconds is null) s.LeaseOnExpiry = null;
        if (s.Phase is Phase.Stopped or Phase.Failed) return null;
        Expire(s, "Its lease has ended.", now);
        return null;
    }, ct);

    /// <summary>As <see cref="EndLeaseAsync"/>, if it is idle for so long still.</summary>
    public Task<IResult> EndIdleLeaseAsync(Guid id, CancellationToken ct) => ChangeAsync(id, null, default, (s, now) =>
    {
        if (IdleLease.EndsAt(s) is not { } end || end > now || s.Desired != DesiredState.Running) return Results.NoContent();
        if (s.LeaseOnExpiry == LeaseEnd.Delete) Delete(s, now);
        else Expire(s, $"Nobody has used it for the {s.LeaseIdleTimeoutSeconds} s of its lease.", now);
        return null;
    }, ct);

    private static void Expire(Sandbox s, string why, DateTimeOffset now)
    {
        Stop(s, now);
        s.Failure = new Failure(SandboxLeases.Expired, why, "Start it again: POST /v1/sandboxes/{id}/start. PUT /v1/sandboxes/{id}/lease gives it another lease.", now);
    }

    private static void Stop(Sandbox s, DateTimeOffset now)
    {
        s.Desired = DesiredState.Stopped;
        (s.RestartAt, s.MovesAfterStop) = (null, false);
        if (s.Phase is Phase.Stopped or Phase.Failed) return;
        if (s.Phase == Phase.Pending) s.Enter(Phase.Stopped, now);
        else if (s.Phase != Phase.Lost) s.Enter(Phase.Stopping, now);
    }

    private void Delete(Sandbox s, DateTimeOffset now)
    {
        s.Desired = DesiredState.Deleted;
        (s.RestartAt, s.MovesAfterStop) = (null, false);
        if (s.NodeId is null) db.Sandboxes.Remove(s);
        else s.Enter(Phase.Deleting, now);
    }

    public static void PlaceAnew(Sandbox s, DateTimeOffset now)
    {
        s.Desired = DesiredState.Running;
        (s.RestartAt, s.MovesAfterStop) = (null, false);
        s.ForgetGuest();
        (s.PreemptAt, s.PreemptedFor) = (null, null);
        s.Enter(Phase.Pending, now);
    }

    /// <summary><paramref name="adds"/>: what it starts again counts against the project's quota from now on.</summary>
    private async Task<IResult> ChangeAsync(Guid id, Guid? project, IfMatch match, Func<Sandbox, DateTimeOffset, IResult?> change, CancellationToken ct, bool adds = false)
    {
        await using var transaction = adds ? await db.BeginAsync(ct) : null;
        var tenant = adds ? await Quotas.LockAsync(db, project!.Value, ct) : null;
        var removed = false;
        var outcome = await SandboxChange.ApplyAsync(db, id, project, match, async (sandbox, now) =>
        {
            var phase = sandbox.Phase;
            if (change(sandbox, now) is { } refusal) return refusal;
            if (tenant is not null && phase is (Phase.Stopped or Phase.Failed)
                && await Quotas.ProblemAsync(db, tenant, new(0, sandbox.Vcpus, sandbox.MemoryMib, sandbox.Accelerators), ct) is { } over)
                return ApiProblem.QuotaExceeded(over);
            removed = db.Entry(sandbox).State == EntityState.Deleted;
            sandbox.Generation++;
            sandbox.UpdatedAt = now;
            db.Events.Add(removed
                ? Event.Of(sandbox, EventType.SandboxDeleted, "Removed", $"{sandbox.Name} is gone; it never had a node.", now)
                : Event.Of(sandbox, sandbox.Phase != phase ? EventType.SandboxPhase : EventType.SandboxDesired, project is null ? SandboxLeases.Expired : $"Desired{sandbox.Desired}",
                    $"{(project is null ? "Its lease has ended: " : "")}{sandbox.Name} shall be {sandbox.Desired}.", now));
            return null;
        }, time, ct, transaction);
        if (outcome.Refusal is { } refused) return refused;
        if (removed) return Results.NoContent();
        if (outcome.Sandbox.NodeId is { } node) await db.AfterCommitAsync(() => plans.ChangedAsync(node, ct));
        if (outcome.Sandbox.Phase == Phase.Pending) await db.AfterCommitAsync(scheduler.Wake);
        return await SandboxChange.AnswerAsync(db, outcome.Sandbox, 202, ct);
    }

    private static IResult Wrong(Sandbox s, string verb) => ApiProblem.Of(409, "wrong_phase", $"A sandbox that is {s.Phase} cannot be {verb}.");
}
