using System.Text.Json.Nodes;
using Api.Data;
using Api.Events;
using Api.Http;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Sandboxes;

/// <summary>What can be changed of a sandbox while it lives.</summary>
public static class SandboxPatching
{
    private const int Attempts = 5;

    private sealed record Changeable(Dictionary<string, string>? Labels, int Priority = 0);

    public static async Task<IResult> Patch(Guid id, JsonObject? patch, HttpContext http, SandboxDb db, SandboxScheduler scheduler, TimeProvider time, CancellationToken ct)
    {
        if (patch is null) return ApiProblem.Of(400, "invalid_request", "A JSON object is expected.");
        var (project, match) = (http.User.ProjectId(), IfMatch.Of(http));
        for (var attempt = 1; ; attempt++)
        {
            if (await db.Sandboxes.SingleOrDefaultAsync(s => s.Id == id && s.ProjectId == project, ct) is not { } sandbox) return ApiProblem.SandboxNotFound();
            if ((match.Missing ?? match.Problem(sandbox.Version)) is { } failed) return failed;
            var wanted = MergePatch.Apply(new Changeable(sandbox.Labels, sandbox.Priority), patch, http.JsonOptions());
            var (labels, priority) = (wanted.Labels ?? [], wanted.Priority);
            if (SandboxValidation.Check(labels) is { Count: > 0 } errors) return ApiProblem.Validation(errors);
            if (!SandboxValidation.IsPriority(priority)) return ApiProblem.Validation("priority", $"takes {SandboxValidation.MinPriority} to {SandboxValidation.MaxPriority}, not {priority}");
            if (priority != sandbox.Priority && await SandboxPriorities.RefusalAsync(db, project, priority, ct) is { } refusal) return refusal;
            if (sandbox.Desired == DesiredState.Deleted) return ApiProblem.Of(409, "being_deleted", "It is being deleted.");
            if (Change(db, sandbox, labels, priority, http.User.Identity!.Name, time.GetUtcNow()))
            {
                try
                {
                    await db.SaveChangesAsync(ct);
                }
                // Its node reported meanwhile: whoever named a version is told, whoever takes any is not.
                catch (DbUpdateConcurrencyException) when (attempt < Attempts)
                {
                    db.ChangeTracker.Clear();
                    continue;
                }
                // Placed ones by whose labels others of the project are refused.
                if (sandbox.Phase != Phase.Pending)
                    await db.Sandboxes.Where(s => s.ProjectId == project && s.Phase == Phase.Pending && (s.RefusedReason == Placement.AffinityUnmet || s.RefusedReason == Placement.AntiAffinity))
                        .ExecuteUpdateAsync(u => u.SetProperty(s => s.RefusedReason, (string?)null), ct);
                await db.AfterCommitAsync(() => { scheduler.Wake(); return Task.CompletedTask; });
            }
            return Results.Ok((await SandboxViews.OfAsync(db, [sandbox], ct))[0]).Tagged(sandbox.Version);
        }
    }

    private static bool Change(SandboxDb db, Sandbox sandbox, Dictionary<string, string> labels, int priority, string? by, DateTimeOffset now)
    {
        var (other, moved) = (!Same(labels, sandbox.Labels), priority != sandbox.Priority);
        if (!other && !moved) return false;
        (sandbox.Labels, sandbox.Priority, sandbox.UpdatedAt) = (labels, priority, now);
        if (other) db.Events.Add(Event.Of(sandbox, EventType.SandboxLabels, "LabelsChanged", $"{by} has changed the labels of {sandbox.Name}.", now));
        if (!moved) return true;
        // As if it were new to the scheduler, which looks at those that it has refused only when the fleet changes.
        sandbox.RefusedReason = null;
        db.Events.Add(Event.Of(sandbox, EventType.SandboxPriority, "PriorityChanged", $"{by} has changed the priority of {sandbox.Name} to {priority}.", now));
        return true;
    }

    private static bool Same(Dictionary<string, string> a, Dictionary<string, string> b) => a.Count == b.Count && a.All(l => b.TryGetValue(l.Key, out var value) && value == l.Value);
}
