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

    private sealed record Changeable(Dictionary<string, string>? Labels);

    public static async Task<IResult> Patch(Guid id, JsonObject? patch, HttpContext http, SandboxDb db, TimeProvider time, CancellationToken ct)
    {
        if (patch is null) return ApiProblem.Of(400, "invalid_request", "A JSON object is expected.");
        var (project, match) = (http.User.ProjectId(), IfMatch.Of(http));
        for (var attempt = 1; ; attempt++)
        {
            if (await db.Sandboxes.SingleOrDefaultAsync(s => s.Id == id && s.ProjectId == project, ct) is not { } sandbox) return ApiProblem.SandboxNotFound();
            if ((match.Missing ?? match.Problem(sandbox.Version)) is { } failed) return failed;
            var labels = MergePatch.Apply(new Changeable(sandbox.Labels), patch, http.JsonOptions()).Labels ?? [];
            if (SandboxValidation.Check(labels) is { Count: > 0 } errors) return ApiProblem.Validation(errors);
            if (sandbox.Desired == DesiredState.Deleted) return ApiProblem.Of(409, "being_deleted", "It is being deleted.");
            if (!Same(labels, sandbox.Labels))
            {
                var now = time.GetUtcNow();
                (sandbox.Labels, sandbox.UpdatedAt) = (labels, now);
                db.Events.Add(Event.Of(sandbox, EventType.SandboxLabels, "LabelsChanged", $"{http.User.Identity!.Name} has changed the labels of {sandbox.Name}.", now));
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
            }
            return Results.Ok((await SandboxViews.OfAsync(db, [sandbox], ct))[0]).Tagged(sandbox.Version);
        }
    }

    private static bool Same(Dictionary<string, string> a, Dictionary<string, string> b) => a.Count == b.Count && a.All(l => b.TryGetValue(l.Key, out var value) && value == l.Value);
}
