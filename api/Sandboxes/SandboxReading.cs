using Api.Data;
using Api.Http;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Sandboxes;

/// <summary>One sandbox, now or as soon as it is what the caller waits for. Whoever waits asks the database again only when that sandbox has changed.</summary>
public static class SandboxReading
{
    public const int MaxTimeoutSeconds = 60;
    private const string Deleted = "Deleted";

    public static async Task<IResult> Get(Guid id, HttpContext http, SandboxDb db, SandboxSignal signal, TimeProvider time, CancellationToken ct, string? waitFor = null, int timeoutSeconds = 30)
    {
        if (timeoutSeconds is < 1 or > MaxTimeoutSeconds)
            return ApiProblem.Validation("timeoutSeconds", $"takes 1 to {MaxTimeoutSeconds}");
        if (waitFor is { } asked && (waitFor = Target(asked)) is null)
            return ApiProblem.Validation("waitFor", $"takes a phase ({string.Join(", ", Enum.GetNames<Phase>())}), a condition ({string.Join(", ", Enum.GetNames<ConditionType>())}) or {Deleted}");
        var project = http.User.ProjectId();
        var until = time.GetUtcNow().AddSeconds(timeoutSeconds);
        using var watch = waitFor is null ? null : signal.Watch(id);
        while (true)
        {
            var next = watch?.Next;
            var row = await db.Sandboxes.AsNoTracking().SingleOrDefaultAsync(s => s.Id == id && s.ProjectId == project, ct);
            if (row is null) return waitFor == Deleted ? Results.NoContent() : ApiProblem.SandboxNotFound();
            var left = until - time.GetUtcNow();
            if (waitFor is null || Reached(row, waitFor) || left <= TimeSpan.Zero)
                return Results.Ok((await SandboxViews.OfAsync(db, [row], ct))[0]).Tagged(row.Version);
            await SandboxSignal.WaitAsync(next!, left, time, ct);
        }
    }

    /// <summary>As it is written here; null: not a target.</summary>
    private static string? Target(string asked) =>
        Enum.GetNames<Phase>().Concat(Enum.GetNames<ConditionType>()).Append(Deleted).FirstOrDefault(t => t.Equals(asked, StringComparison.OrdinalIgnoreCase));

    /// <summary>Waiting also ends where the target cannot be reached any more without another wish of the user.</summary>
    private static bool Reached(Sandbox s, string target)
    {
        if (s.Phase.ToString() == target) return true;
        if (s.Phase == Phase.Failed && target != Deleted) return true;
        return Enum.TryParse<ConditionType>(target, out var type) && s.Conditions.Exists(c => c.Type == type && c.Status == ConditionStatus.True);
    }
}
