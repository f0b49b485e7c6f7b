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

/// <summary>The secrets that come as bearer tokens.</summary>
public sealed class ApiKeyHandler(IOptionsMonitor<AuthenticationSchemeOptions> options, ILoggerFactory logger, UrlEncoder encoder, SandboxDb db, TimeProvider time)
    : AuthenticationHandler<AuthenticationSchemeOptions>(options, logger, encoder)
{
    protected override async Task<AuthenticateResult> HandleAuthenticateAsync()
    {
        var caller = await Credentials.FindKeyAsync(db, Bearer.Read(Request), time.GetUtcNow(), Context.RequestAborted);
        return caller is null ? AuthenticateResult.Fail("unknown or expired key") : AuthenticateResult.Success(new AuthenticationTicket(caller.ToPrincipal(Schemes.ApiKey), Schemes.ApiKey));
    }
}

public sealed class NodeTokenHandler(IOptionsMonitor<AuthenticationSchemeOptions> options, ILoggerFactory logger, UrlEncoder encoder, SandboxDb db)
    : AuthenticationHandler<AuthenticationSchemeOptions>(options, logger, encoder)
{
    protected override async Task<AuthenticateResult> HandleAuthenticateAsync()
    {
        var token = Bearer.Read(Request);
        if (!Secret.HasForm(token, Secret.NodeTokenPrefix)) return AuthenticateResult.NoResult();
        var hash = Secret.Hash(token!);
        var node = await db.Nodes.AsNoTracking().SingleOrDefaultAsync(n => n.TokenSha256 == hash, Context.RequestAborted);
        if (node is null || !CryptographicOperations.FixedTimeEquals(node.TokenSha256, hash)) return AuthenticateResult.Fail("unknown node token");
        var identity = new ClaimsIdentity([new(ClaimTypes.Name, node.Name), new(Schemes.NodeClaim, node.Id.ToString())], Schemes.Node);
        return AuthenticateResult.Success(new AuthenticationTicket(new ClaimsPrincipal(identity), Schemes.Node));
    }
}

/// <summary>Of <c>POST /v1/nodes/join</c> only. A stranger costs one look-up at most, and no line of log.</summary>
public sealed class JoinTokenHandler(IOptionsMonitor<AuthenticationSchemeOptions> options, ILoggerFactory logger, UrlEncoder encoder, SandboxDb db, TimeProvider time)
    : AuthenticationHandler<AuthenticationSchemeOptions>(options, logger, encoder)
{
    protected override async Task<AuthenticateResult> HandleAuthenticateAsync()
    {
        var presented = Bearer.Read(Request);
        if (!Secret.HasForm(presented, Secret.JoinTokenPrefix)) return AuthenticateResult.NoResult();
        var hash = Secret.Hash(presented!);
        var token = await db.JoinTokens.AsNoTracking().SingleOrDefaultAsync(t => t.TokenSha256 == hash, Context.RequestAborted);
        if (token is null || !CryptographicOperations.FixedTimeEquals(token.TokenSha256, hash) || token.ExpiresAt <= time.GetUtcNow()) return AuthenticateResult.Fail("unknown or expired join token");
        var identity = new ClaimsIdentity([new(ClaimTypes.Name, token.Name), new(Schemes.JoinTokenClaim, token.Id.ToString())], Schemes.JoinToken);
        return AuthenticateResult.Success(new AuthenticationTicket(new ClaimsPrincipal(identity), Schemes.JoinToken));
    }

    protected override Task HandleChallengeAsync(AuthenticationProperties properties) => NodeJoining.TokenInvalid().ExecuteAsync(Context);
}

file static class Bearer
{
    public static string? Read(HttpRequest request)
    {
        string? header = request.Headers.Authorization;
        return header is not null && header.StartsWith("Bearer ", StringComparison.OrdinalIgnoreCase) ? header[7..].Trim() : null;
    }
}
