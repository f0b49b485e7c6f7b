using Api.Data;
using Api.Reconciliation;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Sandboxes;

/// <summary>Stops or deletes sandboxes whose lease has ended, by the same line as a user's wish.
/// Guarantees: each lease ends once (an ended stop lease is cleared). On a crash the next pass finds what is left.</summary>
public sealed class LeaseExpiry(IServiceScopeFactory scopes, TimeProvider time, ILogger<LeaseExpiry> log) : Reconciler(time, TimeSpan.FromSeconds(1), log)
{
    private readonly TimeProvider clock = time;

    protected override async Task PassAsync(CancellationToken ct)
    {
        await using var scope = scopes.CreateAsyncScope();
        var db = scope.ServiceProvider.GetRequiredService<SandboxDb>();
        var now = clock.GetUtcNow();
        var ended = await db.Sandboxes.AsNoTracking().Where(s => s.LeaseExpiresAt <= now && s.Desired != DesiredState.Deleted)
            .OrderBy(s => s.LeaseExpiresAt).Take(100).Select(s => new { s.Id, s.LeaseOnExpiry, s.Phase, s.Desired }).ToListAsync(ct);
        foreach (var sandbox in ended)
        {
            var wishes = scope.ServiceProvider.GetRequiredService<SandboxWishes>();
            log.LogInformation("The lease of sandbox {SandboxId} has ended: {End}", sandbox.Id, sandbox.LeaseOnExpiry);
            if (sandbox.LeaseOnExpiry == LeaseEnd.Delete) await wishes.DeleteAsync(sandbox.Id, null, ct);
            else if (sandbox.Desired == DesiredState.Running && sandbox.Phase is not (Phase.Stopped or Phase.Failed)) await wishes.StopAsync(sandbox.Id, null, ct);
            if (sandbox.LeaseOnExpiry == LeaseEnd.Stop)
                await db.Sandboxes.Where(s => s.Id == sandbox.Id).ExecuteUpdateAsync(u => u.SetProperty(s => s.LeaseExpiresAt, (DateTimeOffset?)null).SetProperty(s => s.LeaseOnExpiry, (LeaseEnd?)null), ct);
            db.ChangeTracker.Clear();
        }
    }
}
