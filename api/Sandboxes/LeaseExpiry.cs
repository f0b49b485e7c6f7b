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
}
