using System.Security.Claims;
using Api.Events;
using Api.Http;
using Contracts;

namespace Api.Sandboxes;

/// <summary>Gives a sandbox another lease, or none. Its end is <see cref="LeaseExpiry"/>'s. Guarantees and a crash: see <see cref="SandboxSettings"/>.</summary>
public sealed class SandboxLeases(SandboxSettings settings)
{
    public async Task<IResult> SetAsync(Guid id, LeaseRequest? lease, ClaimsPrincipal user, IfMatch match, CancellationToken ct)
    {
        if (lease is null) return ApiProblem.Of(400, "invalid_request", "A JSON object is expected.");
        if (SandboxValidation.Check(lease) is { Count: > 0 } errors) return ApiProblem.Validation(errors);
        return await settings.ChangeAsync(id, user, match, (sandbox, now) =>
        {
            (sandbox.LeaseExpiresAt, sandbox.LeaseOnExpiry, sandbox.LeaseWarned) = (now.AddSeconds(lease.TtlSeconds!.Value), lease.OnExpiry ?? sandbox.LeaseOnExpiry ?? LeaseEnd.Delete, false);
            return Event.Of(sandbox, EventType.SandboxDesired, "LeaseSet", $"{user.Identity!.Name} has set the lease of {sandbox.Name}: it is {Word(sandbox.LeaseOnExpiry.Value)} at {sandbox.LeaseExpiresAt:O}.", now);
        }, null, ct);
    }

    public Task<IResult> RemoveAsync(Guid id, ClaimsPrincipal user, IfMatch match, CancellationToken ct) => settings.ChangeAsync(id, user, match, (sandbox, now) =>
    {
        if (sandbox.LeaseExpiresAt is null) return null;
        (sandbox.LeaseExpiresAt, sandbox.LeaseOnExpiry, sandbox.LeaseWarned) = (null, null, false);
        return Event.Of(sandbox, EventType.SandboxDesired, "LeaseRemoved", $"{user.Identity!.Name} has removed the lease of {sandbox.Name}.", now);
    }, null, ct);

    public static string Word(LeaseEnd end) => end == LeaseEnd.Delete ? "deleted" : "stopped";
}
