using Api.Data;
using Api.Events;
using Api.Reconciliation;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Sandboxes;

/// <summary>Stops or deletes sandboxes whose lease has ended, by the same line as a user's wish, and tells five minutes before that it will.
/// A lease with an idle timeout ends a running sandbox that nobody has used for so long, and tells before, too.
/// Guarantees: each lease ends once (an ended stop lease is cleared; an idle timeout goes on with the next start) and is told of once, by an event; idleness once after each use. On a crash the next pass finds what is left.</summary>
public sealed class LeaseExpiry(IServiceScopeFactory scopes, TimeProvider time, ILogger<LeaseExpiry> log) : Reconciler(time, TimeSpan.FromSeconds(1), log)
{
    public static readonly TimeSpan Warning = TimeSpan.FromMinutes(5);
    private const int Batch = 100;
    private readonly TimeProvider clock = time;

    protected override async Task PassAsync(CancellationToken ct)
    {
        await using var scope = scopes.CreateAsyncScope();
        var db = scope.ServiceProvider.GetRequiredService<SandboxDb>();
        var now = clock.GetUtcNow();
        await WarnAsync(db, now, ct);
        await WarnIdleAsync(db, now, ct);
        var ended = await db.Sandboxes.AsNoTracking().Where(s => s.LeaseExpiresAt <= now && s.Desired != DesiredState.Deleted)
            .OrderBy(s => s.LeaseExpiresAt).Take(Batch).Select(s => s.Id).ToListAsync(ct);
        db.ChangeTracker.Clear();
        var wishes = scope.ServiceProvider.GetRequiredService<SandboxWishes>();
        await EndAsync(db, ended, wishes.EndLeaseAsync, ct);
        var idle = await Idle(db).Where(s => s.LastActivityAt!.Value.AddSeconds(s.LeaseIdleTimeoutSeconds!.Value) <= now)
            .OrderBy(s => s.LastActivityAt).Take(Batch).Select(s => s.Id).ToListAsync(ct);
        await EndAsync(db, idle, wishes.EndIdleLeaseAsync, ct);
    }

    private static IQueryable<Sandbox> Idle(SandboxDb db) =>
        db.Sandboxes.Where(s => s.LeaseIdleTimeoutSeconds != null && s.LastActivityAt != null && s.Phase == Phase.Running && s.Desired == DesiredState.Running);

    private async Task EndAsync(SandboxDb db, List<Guid> ended, Func<Guid, CancellationToken, Task<IResult>> end, CancellationToken ct)
    {
        foreach (var id in ended)
        {
            try
            {
                await end(id, ct);
                log.LogInformation("The lease of sandbox {SandboxId} has ended", id);
            }
            catch (Exception e) when (e is not OperationCanceledException || !ct.IsCancellationRequested)
            {
                log.LogError(e, "The lease of sandbox {SandboxId} could not be ended; the next pass tries again", id);
            }
            db.ChangeTracker.Clear();
        }
    }

    /// <summary>Whoever changes it meanwhile wins: then the next pass sees what they made of it.</summary>
    private async Task WarnAsync(SandboxDb db, DateTimeOffset now, CancellationToken ct)
    {
        var soon = now + Warning;
        foreach (var sandbox in await db.Sandboxes.Where(s => s.LeaseExpiresAt <= soon && s.LeaseExpiresAt > now && !s.LeaseWarned && s.Desired != DesiredState.Deleted).OrderBy(s => s.LeaseExpiresAt).Take(Batch).ToListAsync(ct))
        {
            sandbox.LeaseWarned = true;
            db.Events.Add(Event.Of(sandbox, EventType.SandboxLeaseExpiring, "LeaseExpiring",
                $"The lease of {sandbox.Name} ends at {sandbox.LeaseExpiresAt:O}: it is {SandboxLeases.Word(sandbox.LeaseOnExpiry!.Value)} then. PUT /v1/sandboxes/{{id}}/lease gives it another.", now));
            await SaveAsync(db, sandbox, ct);
        }
    }

    /// <summary>As long before as for a lease's end, but not before half of the time has passed.</summary>
    private async Task WarnIdleAsync(SandboxDb db, DateTimeOffset now, CancellationToken ct)
    {
        var most = (int)Warning.TotalSeconds;
        foreach (var sandbox in await Idle(db).Where(s => (s.IdleWarnedFor == null || s.IdleWarnedFor != s.LastActivityAt)
            && s.LastActivityAt!.Value.AddSeconds(s.LeaseIdleTimeoutSeconds!.Value - Math.Min(most, s.LeaseIdleTimeoutSeconds.Value / 2)) <= now).OrderBy(s => s.LastActivityAt).Take(Batch).ToListAsync(ct))
        {
            sandbox.IdleWarnedFor = sandbox.LastActivityAt;
            db.Events.Add(Event.Of(sandbox, EventType.SandboxLeaseExpiring, "IdleLeaseExpiring",
                $"Nobody has used {sandbox.Name} since {sandbox.LastActivityAt:O}: if nobody does until {IdleLease.EndsAt(sandbox):O}, it is {SandboxLeases.Word(sandbox.LeaseOnExpiry!.Value)} then. Type into its console, or set its lease again.", now));
            await SaveAsync(db, sandbox, ct);
        }
    }

    private async Task SaveAsync(SandboxDb db, Sandbox sandbox, CancellationToken ct)
    {
        try
        {
            await db.SaveChangesAsync(ct);
        }
        catch (DbUpdateConcurrencyException)
        {
            log.LogDebug("Sandbox {SandboxId} changed while its lease was to be told of", sandbox.Id);
            // It alone: those after it are still to be changed.
            db.Entry(sandbox).State = EntityState.Detached;
        }
    }
}
