using System.Security.Claims;
using Api.Data;
using Api.Events;
using Api.Http;
using Api.Nodes;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Sandboxes;

/// <summary>Sets, changes and removes a sandbox's storm policy while its guest goes on.
/// Guarantees: policy and event are one transaction, and nobody's change is overwritten (xmin); what is already so makes no event.
/// On a crash: what is stored holds, and the node gets it with its next report.</summary>
public sealed class StormPolicies(SandboxDb db, NodePlans plans, TimeProvider time)
{
    public const int DefaultWindowSeconds = 30;
    private const int Attempts = 5;

    /// <summary>The policy that a valid request asks for.</summary>
    public static StormPolicy? Of(StormPolicyRequest? request) =>
        request is null ? null : new StormPolicy(request.PerSecond!.Value, request.WindowSeconds ?? DefaultWindowSeconds, request.Action ?? StormAction.None, request.Source);

    /// <summary>A quarantine takes a device from everybody.</summary>
    public static IResult? Refusal(StormPolicyRequest? request, ClaimsPrincipal user) => request?.Action != StormAction.Quarantine || user.Operates()
        ? null
        : ApiProblem.Of(403, "forbidden", "Only a key of the project that runs the service may have devices quarantined by a storm: take action stop.");

    public async Task<IResult> SetAsync(Guid id, StormPolicyRequest? request, ClaimsPrincipal user, IfMatch match, CancellationToken ct)
    {
        if (request is null) return ApiProblem.Of(400, "invalid_request", "A JSON object is expected.");
        var errors = SandboxValidation.Check(request);
        return errors.Count > 0 ? ApiProblem.Validation(errors) : Refusal(request, user) ?? await ChangeAsync(id, Of(request), user, match, ct);
    }

    public Task<IResult> RemoveAsync(Guid id, ClaimsPrincipal user, IfMatch match, CancellationToken ct) => ChangeAsync(id, null, user, match, ct);

    private async Task<IResult> ChangeAsync(Guid id, StormPolicy? policy, ClaimsPrincipal user, IfMatch match, CancellationToken ct)
    {
        var project = user.ProjectId();
        for (var attempt = 1; ; attempt++)
        {
            if (await db.Sandboxes.SingleOrDefaultAsync(s => s.Id == id && s.ProjectId == project, ct) is not { } sandbox) return ApiProblem.SandboxNotFound();
            if (match.Problem(sandbox.Version) is { } failed) return failed;
            if (sandbox.Desired == DesiredState.Deleted) return ApiProblem.BeingDeleted();
            var changes = sandbox.FaultStorm != policy;
            if (changes) Change(sandbox, policy, user.Identity!.Name!, time.GetUtcNow());
            try
            {
                await db.SaveChangesAsync(ct);
            }
            catch (DbUpdateConcurrencyException) when (attempt < Attempts)
            {
                db.ChangeTracker.Clear();
                continue;
            }
            if (changes && sandbox.NodeId is { } node) await db.AfterCommitAsync(() => plans.ChangedAsync(node, ct));
            return Results.Ok((await SandboxViews.OfAsync(db, [sandbox], ct))[0]).Tagged(sandbox.Version);
        }
    }

    private void Change(Sandbox sandbox, StormPolicy? policy, string by, DateTimeOffset now)
    {
        sandbox.FaultStorm = policy;
        sandbox.Generation++;
        sandbox.UpdatedAt = now;
        // With another policy the condition stays until the node has judged by that one.
        if (policy is null) sandbox.Conditions = [.. sandbox.Conditions.Where(c => c.Type != ConditionType.FaultStorm)];
        db.Events.Add(Event.Of(sandbox, EventType.SandboxDesired, policy is null ? "StormPolicyRemoved" : "StormPolicySet", policy is null
            ? $"{by} has removed the storm policy of {sandbox.Name}: its faults are judged no more."
            : string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{by} has set the storm policy of {sandbox.Name}: {policy.PerSecond:0.######} a second over {policy.WindowSeconds} s, action {policy.Action}, of {policy.Source ?? "what its devices do"}."), now));
    }
}
