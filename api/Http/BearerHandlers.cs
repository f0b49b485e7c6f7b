using System.Security.Claims;
using System.Security.Cryptography;
using System.Text.Encodings.Web;
using Api.Data;
using Api.Nodes;
using Api.Projects;
using Microsoft.AspNetCore.Authentication;
using Microsoft.EntityFrameworkCore;
using Microsoft.Extensions.Options;

namespace Api.Http;

/// <summary>A secret that comes as bearer token. One that is not good costs a look-up, and none where too many of the address were not good; and no line of log.</summary>
public abstract class BearerHandler(IOptionsMonitor<AuthenticationSchemeOptions> options, ILoggerFactory logger, UrlEncoder encoder, FailedAttempts attempts, string prefix)
    : AuthenticationHandler<AuthenticationSchemeOptions>(options, logger, encoder)
{
    private bool refused;

    protected abstract Task<ClaimsPrincipal?> FindAsync(string secret, CancellationToken ct);

    protected override async Task<AuthenticateResult> HandleAuthenticateAsync()
    {
        string? header = Request.Headers.Authorization;
        var secret = header is not null && header.StartsWith("Bearer ", StringComparison.OrdinalIgnoreCase) ? header[7..].Trim() : null;
        if (!Secret.HasForm(secret, prefix)) return AuthenticateResult.NoResult();
        var from = Context.Connection.RemoteIpAddress;
        if (!attempts.MayTry(from, secret!))
        {
            refused = true;
            return AuthenticateResult.Fail("too many failures");
        }
        if (await FindAsync(secret!, Context.RequestAborted) is { } principal)
        {
            attempts.Succeeded(secret!);
            return AuthenticateResult.Success(new AuthenticationTicket(principal, Scheme.Name));
        }
        attempts.Failed(from);
        return AuthenticateResult.Fail("unknown or expired");
    }

    protected override Task HandleChallengeAsync(AuthenticationProperties properties) => refused ? attempts.Refusal(Context).ExecuteAsync(Context) : RefuseAsync(properties);

    protected virtual Task RefuseAsync(AuthenticationProperties properties) => base.HandleChallengeAsync(properties);
}

public sealed class ApiKeyHandler(IOptionsMonitor<AuthenticationSchemeOptions> options, ILoggerFactory logger, UrlEncoder encoder, FailedAttempts attempts, SandboxDb db, TimeProvider time)
    : BearerHandler(options, logger, encoder, attempts, Secret.ApiKeyPrefix)
{
    protected override async Task<ClaimsPrincipal?> FindAsync(string secret, CancellationToken ct) =>
        (await Credentials.FindKeyAsync(db, secret, time.GetUtcNow(), ct))?.ToPrincipal(Schemes.ApiKey);
}

public sealed class NodeTokenHandler(IOptionsMonitor<AuthenticationSchemeOptions> options, ILoggerFactory logger, UrlEncoder encoder, FailedAttempts attempts, NodeCredentials credentials)
    : BearerHandler(options, logger, encoder, attempts, Secret.NodeTokenPrefix)
{
    private string? retired;

    protected override async Task<ClaimsPrincipal?> FindAsync(string secret, CancellationToken ct)
    {
        var hash = Secret.Hash(secret);
        if (await credentials.FindAsync(hash, ct) is { } node)
            return new ClaimsPrincipal(new ClaimsIdentity([new(ClaimTypes.Name, node.Name), new(Schemes.NodeClaim, node.Id.ToString()), new(Schemes.NodeTokenClaim, Convert.ToHexString(hash))], Schemes.Node));
        retired = await credentials.RetiredAsync(hash, ct);
        return null;
    }

    /// <summary>Whoever shows what was a node's token is told why it is none any more.</summary>
    protected override Task RefuseAsync(AuthenticationProperties properties) =>
        retired is null ? base.RefuseAsync(properties) : NodeCredentials.Refused(retired).ExecuteAsync(Context);
}

/// <summary>Of <c>POST /v1/nodes/join</c> only.</summary>
public sealed class JoinTokenHandler(IOptionsMonitor<AuthenticationSchemeOptions> options, ILoggerFactory logger, UrlEncoder encoder, FailedAttempts attempts, SandboxDb db, TimeProvider time)
    : BearerHandler(options, logger, encoder, attempts, Secret.JoinTokenPrefix)
{
    protected override async Task<ClaimsPrincipal?> FindAsync(string secret, CancellationToken ct)
    {
        var hash = Secret.Hash(secret);
        var token = await db.JoinTokens.AsNoTracking().SingleOrDefaultAsync(t => t.TokenSha256 == hash, ct);
        if (token is null || !CryptographicOperations.FixedTimeEquals(token.TokenSha256, hash) || token.ExpiresAt <= time.GetUtcNow()) return null;
        return new ClaimsPrincipal(new ClaimsIdentity([new(ClaimTypes.Name, token.Name), new(Schemes.JoinTokenClaim, token.Id.ToString())], Schemes.JoinToken));
    }

    protected override Task RefuseAsync(AuthenticationProperties properties) => NodeJoining.TokenInvalid().ExecuteAsync(Context);
}
