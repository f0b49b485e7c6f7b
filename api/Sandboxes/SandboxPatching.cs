using System.Text.Json.Nodes;
using Api.Data;
using Api.Events;
using Api.Http;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Sandboxes;

/// <summary>What can be changed of a sandbox while it lives: labels, priority, restart policy. Guarantees and a crash: see <see cref="SandboxChange"/>.</summary>
public static class SandboxPatching
{
    private sealed record Changeable(Dictionary<string, string>? Labels, int Priority = 0, RestartRequest? Restart = null);

    public static async Task<IResult> Patch(Guid id, JsonObject? patch, HttpContext http, SandboxDb db, SandboxScheduler scheduler, TimeProvider time, CancellationToken ct)
    {
        if (patch is null) return ApiProblem.Of(400, "invalid_request", "A JSON object is expected.");
        var (project, match) = (http.User.ProjectId(), IfMatch.Of(http));
        var outcome = await SandboxChange.ApplyAsync(db, id, project, match, async (sandbox, now) =>
        {
            if (match.Missing is { } missing) return missing;
            var wanted = MergePatch.Apply(new Changeable(sandbox.Labels, sandbox.Priority, sandbox.Restart is { } r ? new(r.Policy, r.MaxRestarts, r.BackoffSeconds) : null), patch, http.JsonOptions());
            var (labels, priority) = (wanted.Labels ?? [], wanted.Priority);
            if (SandboxValidation.Check(labels) is { Count: > 0 } errors) return ApiProblem.Validation(errors);
            if (!SandboxValidation.IsPriority(priority)) return ApiProblem.Validation("priority", $"takes {SandboxValidation.MinPriority} to {SandboxValidation.MaxPriority}, not {priority}");
            if (SandboxValidation.Check(wanted.Restart) is { Count: > 0 } wrong) return ApiProblem.Validation(wrong);
            if (priority != sandbox.Priority && await SandboxPriorities.RefusalAsync(db, project, priority, ct) is { } refusal) return refusal;
            if (sandbox.Desired == DesiredState.Deleted) return ApiProblem.BeingDeleted();
            var by = http.User.Identity!.Name!;
            foreach (var told in new[] { Relabel(sandbox, labels, by, now), Move(sandbox, priority, by, now), Restart(sandbox, RestartDecision.Of(wanted.Restart), by, now) }.OfType<Event>())
            {
                sandbox.UpdatedAt = now;
                db.Events.Add(told);
            }
            return null;
        }, time, ct);
        if (outcome.Refusal is { } refused) return refused;
        if (outcome.Changed)
        {
            // Placed ones by whose labels others of the project are refused.
            if (outcome.Sandbox.Phase != Phase.Pending)
                await db.Sandboxes.Where(s => s.ProjectId == project && s.Phase == Phase.Pending && (s.RefusedReason == Placement.AffinityUnmet || s.RefusedReason == Placement.AntiAffinity))
                    .ExecuteUpdateAsync(u => u.SetProperty(s => s.RefusedReason, (string?)null), ct);
            await db.AfterCommitAsync(scheduler.Wake);
        }
        return await SandboxChange.AnswerAsync(db, outcome.Sandbox, 200, ct);
    }

    private static Event? Relabel(Sandbox sandbox, Dictionary<string, string> labels, string by, DateTimeOffset now)
    {
        if (Same(labels, sandbox.Labels)) return null;
        sandbox.Labels = labels;
        return Event.Of(sandbox, EventType.SandboxLabels, "LabelsChanged", $"{by} has changed the labels of {sandbox.Name}.", now);
    }

    private static Event? Move(Sandbox sandbox, int priority, string by, DateTimeOffset now)
    {
        if (priority == sandbox.Priority) return null;
        // As if it were new to the scheduler, which looks at those that it has refused only when the fleet changes.
        (sandbox.Priority, sandbox.RefusedReason) = (priority, null);
        return Event.Of(sandbox, EventType.SandboxPriority, "PriorityChanged", $"{by} has changed the priority of {sandbox.Name} to {priority}.", now);
    }

    /// <summary>From its next end on. A start that is due already stays due, unless nothing is to be started any more.</summary>
    private static Event? Restart(Sandbox sandbox, RestartPolicy? policy, string by, DateTimeOffset now)
    {
        if (policy == sandbox.Restart) return null;
        (sandbox.Restart, sandbox.RestartCount) = (policy, 0);
        if (policy is null or { Policy: RestartWhen.Never }) sandbox.RestartAt = null;
        return Event.Of(sandbox, EventType.SandboxRestart, policy is null ? "RestartPolicyRemoved" : "RestartPolicySet", policy is null
            ? $"{by} has removed the restart policy of {sandbox.Name}."
            : $"{by} has set the restart policy of {sandbox.Name}: {policy.Policy}, {(policy.MaxRestarts is { } most ? $"at most {most} times in a row" : "without end")}, the first after {policy.BackoffSeconds} s.", now);
    }

    private static bool Same(Dictionary<string, string> a, Dictionary<string, string> b) => a.Count == b.Count && a.All(l => b.TryGetValue(l.Key, out var value) && value == l.Value);
}
