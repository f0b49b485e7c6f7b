using System.Security.Claims;
using Api.Data;
using Api.Events;
using Api.Http;
using Contracts;

namespace Api.Sandboxes;

/// <summary>Changes what is told of a sandbox while its guest goes on: its storm policy, its lease. Guarantees and a crash: see <see cref="SandboxChange"/>.</summary>
public sealed class SandboxSettings(SandboxDb db, TimeProvider time)
{
    /// <summary><paramref name="change"/>: the event that tells it; null when it is so already. <paramref name="afterwards"/>: once it is stored.</summary>
    public async Task<IResult> ChangeAsync(Guid id, ClaimsPrincipal user, IfMatch match, Func<Sandbox, DateTimeOffset, Event?> change, Func<Sandbox, Task>? afterwards, CancellationToken ct)
    {
        var outcome = await SandboxChange.ApplyAsync(db, id, user.ProjectId(), match, (sandbox, now) =>
        {
            if (sandbox.Desired == DesiredState.Deleted) return Task.FromResult<IResult?>(ApiProblem.BeingDeleted());
            if (change(sandbox, now) is { } told)
            {
                sandbox.UpdatedAt = now;
                db.Events.Add(told);
            }
            return Task.FromResult<IResult?>(null);
        }, time, ct);
        if (outcome.Refusal is { } refusal) return refusal;
        if (outcome.Changed && afterwards is not null) await db.AfterCommitAsync(() => afterwards(outcome.Sandbox));
        return await SandboxChange.AnswerAsync(db, outcome.Sandbox, 200, ct);
    }
}
