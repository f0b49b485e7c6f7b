using System.Security.Claims;
using Api.Events;
using Api.Http;
using Api.Nodes;
using Contracts;

namespace Api.Sandboxes;

/// <summary>Sets, changes and removes a sandbox's storm policy while its guest goes on.
/// Guarantees: see <see cref="SandboxSettings"/>; what is already so makes no event. On a crash: what is stored holds, and the node gets it with its next report.</summary>
public sealed class StormPolicies(SandboxSettings settings, NodePlans plans)
{
    public const int DefaultWindowSeconds = 30;

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

    private Task<IResult> ChangeAsync(Guid id, StormPolicy? policy, ClaimsPrincipal user, IfMatch match, CancellationToken ct) => settings.ChangeAsync(
        id, user, match, (sandbox, now) => sandbox.FaultStorm == policy ? null : Change(sandbox, policy, user.Identity!.Name!, now),
        sandbox => sandbox.NodeId is { } node ? plans.ChangedAsync(node, ct) : Task.CompletedTask, ct);

    private static Event Change(Sandbox sandbox, StormPolicy? policy, string by, DateTimeOffset now)
    {
        sandbox.FaultStorm = policy;
        sandbox.Generation++;
        // With another policy the condition stays until the node has judged by that one.
        if (policy is null) sandbox.Conditions = [.. sandbox.Conditions.Where(c => c.Type != ConditionType.FaultStorm)];
        return Event.Of(sandbox, EventType.SandboxDesired, policy is null ? "StormPolicyRemoved" : "StormPolicySet", policy is null
            ? $"{by} has removed the storm policy of {sandbox.Name}: its faults are judged no more."
            : string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{by} has set the storm policy of {sandbox.Name}: {policy.PerSecond:0.######} a second over {policy.WindowSeconds} s, action {policy.Action}, of {policy.Source ?? "what its devices do"}."), now);
    }
}
