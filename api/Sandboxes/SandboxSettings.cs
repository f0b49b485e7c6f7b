using System.Security.Claims;
using Api.Data;
using Api.Events;
using Api.Http;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Sandboxes;

/// <summary>Changes what is told of a sandbox while its guest goes on: its storm policy, its lease.
/// Guarantees: the change and its event are one transaction, and nobody's change is overwritten (xmin). On a crash: what is stored holds.</summary>
public sealed class SandboxSettings(SandboxDb db, TimeProvider time)
{
    private const int Attempts = 5;

    /// <summary><paramref name="change"/>: the event that tells it; null when it is so already. <paramref name="afterwards"/>: once it is stored.</summary>
    public async Task<IResult> ChangeAsync(Guid id, ClaimsPrincipal user, IfMatch match, Func<Sandbox, DateTimeOffset, Event?> change, Func<Sandbox, Task>? afterwards, CancellationToken ct)
    {
        var project = user.ProjectId();
        for (var attempt = 1; ; attempt++)
        {
            if (await db.Sandboxes.SingleOrDefaultAsync(s => s.Id == id && s.ProjectId == project, ct) is not { } sandbox) return ApiProblem.SandboxNotFound();
            if (match.Problem(sandbox.Version) is { } failed) return failed;
            if (sandbox.Desired == DesiredState.Deleted) return ApiProblem.BeingDeleted();
            var now = time.GetUtcNow();
            if (change(sandbox, now) is { } told)
            {
                sandbox.UpdatedAt = now;
                db.Events.Add(told);
                try
                {
                    await db.SaveChangesAsync(ct);
                }
                catch (DbUpdateConcurrencyException) when (attempt < Attempts)
                {
                    db.ChangeTracker.Clear();
                    continue;
                }
                if (afterwards is not null) await db.AfterCommitAsync(() => afterwards(sandbox));
            }
            return Results.Ok((await SandboxViews.OfAsync(db, [sandbox], ct))[0]).Tagged(sandbox.Version);
        }
    }
}
