using System.Security.Claims;
using Api.Events;
using Api.Http;
using Contracts;

namespace Api.Sandboxes;

/// <summary>Gives a sandbox another lease, or none. Its end is <see cref="LeaseExpiry"/>'s. Guarantees and a crash: see <see cref="SandboxSettings"/>.</summary>
public sealed class SandboxLeases(SandboxSettings settings)
{
    /// <summary>Why a sandbox ended, where its lease did that.</summary>
    public const string Expired = "LeaseExpired";

    public async Task<IResult> SetAsync(Guid id, LeaseRequest? lease, ClaimsPrincipal user, IfMatch match, CancellationToken ct)
    {
        if (lease is null) return ApiProblem.Of(400, "invalid_request", "A JSON object is expected.");
        if (SandboxValidation.Check(lease) is { Count: > 0 } errors) return ApiProblem.Validation(errors);
        return await settings.ChangeAsync(id, user, match, (sandbox, now) =>
        {
            var end = lease.OnExpiry ?? sandbox.LeaseOnExpiry ?? LeaseEnd.Delete;
            (sandbox.LeaseExpiresAt, sandbox.LeaseOnExpiry, sandbox.LeaseWarned) = (lease.TtlSeconds is { } ttl ? now.AddSeconds(ttl) : null, end, false);
            // Whoever sets it uses it.
            (sandbox.LeaseIdleTimeoutSeconds, sandbox.IdleWarnedFor) = (lease.IdleTimeoutSeconds, null);
            if (lease.IdleTimeoutSeconds is not null && sandbox.LastActivityAt is not null) sandbox.LastActivityAt = now;
            return Event.Of(sandbox, EventType.SandboxDesired, "LeaseSet", $"{user.Identity!.Name} has set the lease of {sandbox.Name}: it is {Word(end)} {When(sandbox)}.", now);
        }, null, ct);
    }

    public Task<IResult> RemoveAsync(Guid id, ClaimsPrincipal user, IfMatch match, CancellationToken ct) => settings.ChangeAsync(id, user, match, (sandbox, now) =>
    {
        if (sandbox.LeaseOnExpiry is null) return null;
        (sandbox.LeaseExpiresAt, sandbox.LeaseOnExpiry, sandbox.LeaseWarned, sandbox.LeaseIdleTimeoutSeconds, sandbox.IdleWarnedFor) = (null, null, false, null, null);
        return Event.Of(sandbox, EventType.SandboxDesired, "LeaseRemoved", $"{user.Identity!.Name} has removed the lease of {sandbox.Name}.", now);
    }, null, ct);

    private static string When(Sandbox s) => string.Join(", and ", new[]
    {
        s.LeaseExpiresAt is { } at ? $"at {at:O}" : null, s.LeaseIdleTimeoutSeconds is { } idle ? $"when nobody has used it for {idle} s" : null,
    }.OfType<string>());

    public static string Word(LeaseEnd end) => end == LeaseEnd.Delete ? "deleted" : "stopped";
}
