using Api.Data;
using Api.Http;
using Microsoft.EntityFrameworkCore;

namespace Api.Sandboxes;

/// <summary>The one way in which a user's wish changes a stored sandbox: it is read, the change is decided by what it is, and both that and what tells of it are stored in one transaction.
/// Guarantees: nobody's change is overwritten (xmin). Whoever named a version by If-Match is told when it is another; for whoever takes any, the change is decided again. On a crash: what is stored holds.</summary>
public static class SandboxChange
{
    // Of writers that go on at once one is stored in each round.
    private const int Attempts = 25;

    /// <summary><c>Refusal</c>: why not; then nothing is stored. <c>Changed</c>: false when it was so already.</summary>
    public readonly record struct Outcome(IResult? Refusal, Sandbox Sandbox, bool Changed);

    /// <param name="db">Of the request.</param>
    /// <param name="id">Of the sandbox.</param>
    /// <param name="project">Whose it must be; null: anybody's.</param>
    /// <param name="match">Of the request.</param>
    /// <param name="change">Changes the row and adds its events, or says why not; changes nothing where it is so already. Asked once more when somebody else has stored meanwhile.</param>
    /// <param name="time">The service's.</param>
    /// <param name="ct">Of the request.</param>
    /// <param name="within">Committed with it, where the change must be one with what was locked before.</param>
    public static async Task<Outcome> ApplyAsync(
        SandboxDb db, Guid id, Guid? project, IfMatch match, Func<Sandbox, DateTimeOffset, Task<IResult?>> change, TimeProvider time, CancellationToken ct, UseCase? within = null)
    {
        for (var attempt = 1; ; attempt++)
        {
            if (await db.Sandboxes.SingleOrDefaultAsync(s => s.Id == id && (project == null || s.ProjectId == project), ct) is not { } sandbox) return new(ApiProblem.SandboxNotFound(), null!, false);
            if (match.Problem(sandbox.Version) is { } failed) return new(failed, sandbox, false);
            if (await change(sandbox, time.GetUtcNow()) is { } refusal) return new(refusal, sandbox, false);
            if (!db.ChangeTracker.HasChanges()) return new(null, sandbox, false);
            try
            {
                await db.SaveChangesAsync(ct);
                if (within is not null) await within.CommitAsync(ct);
                return new(null, sandbox, true);
            }
            catch (DbUpdateConcurrencyException) when (attempt < Attempts)
            {
                db.ChangeTracker.Clear();
            }
        }
    }

    public static async Task<IResult> AnswerAsync(SandboxDb db, Sandbox sandbox, int status, CancellationToken ct) =>
        Results.Json((await SandboxViews.OfAsync(db, [sandbox], ct))[0], statusCode: status).Tagged(sandbox.Version);
}
