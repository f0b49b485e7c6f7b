using Api.Data;
using Api.Events;
using Api.Reconciliation;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Sandboxes;

/// <summary>Stops or deletes sandboxes whose lease has ended, by the same line as a user's wish, and tells five minutes before that it will.
/// Guarantees: each lease ends once (an ended stop lease is cleared) and is told of once, by an event. On a crash the next pass finds what is left.</summary>
public sealed class LeaseExpiry(IServiceScopeFactory scopes, TimeProvider time, ILogger<LeaseExpiry> log) : Reconciler(time, TimeSpan.FromSeconds(1), log)
{
    public static readonly TimeSpan Warning = TimeSpan.FromMinutes(5);
    private readonly TimeProvider clock = time;

    protected override async Task PassAsync(CancellationToken ct)
    {
        await using var scope = scopes.CreateAsyncScope();
        var db = scope.ServiceProvider.GetRequiredService<SandboxDb>();
        var now = clock.GetUtcNow();
        await WarnAsync(db, now, ct);
        var ended = await db.Sandboxes.AsNoTracking().Where(s => s.LeaseExpiresAt <= now && s.Desired != DesiredState.Deleted)
            .OrderBy(s => s.LeaseExpiresAt).Take(100).Select(s => s.Id).ToListAsync(ct);
        var wishes = scope.ServiceProvider.GetRequiredService<SandboxWishes>();
        foreach (var id in ended)
        {
            try
            {
                await wishes.EndLeaseAsync(id, ct);
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
        foreach (var sandbox in await db.Sandboxes.Where(s => s.LeaseExpiresAt <= soon && s.LeaseExpiresAt > now && !s.LeaseWarned && s.Desired != DesiredState.Deleted).OrderBy(s => s.LeaseExpiresAt).Take(100).ToListAsync(ct))
        {
            sandbox.LeaseWarned = true;
            db.Events.Add(Event.Of(sandbox, EventType.SandboxLeaseExpiring, "LeaseExpiring",
                $"The lease of {sandbox.Name} ends at {sandbox.LeaseExpiresAt:O}: it is {SandboxLeases.Word(sandbox.LeaseOnExpiry!.Value)} then. PUT /v1/sandboxes/{{id}}/lease gives it another.", now));
            try
            {
                await db.SaveChangesAsync(ct);
            }
            catch (DbUpdateConcurrencyException)
            {
                log.LogDebug("Sandbox {SandboxId} changed while its lease was to be told of", sandbox.Id);
            }
            db.ChangeTracker.Clear();
        }
    }
}
