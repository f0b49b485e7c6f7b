using System.Security.Claims;
using Api.Http;
using Contracts;

namespace Api.Projects;

/// <summary>Who has shown a good key, or has a session.</summary>
public sealed record Caller(Guid ProjectId, bool Operates, Role Role, string Name, Guid? KeyId, Guid? SessionId, string? Subject)
{
    public ClaimsPrincipal ToPrincipal(string scheme)
    {
        var identity = new ClaimsIdentity(
            [new(ClaimTypes.Name, Name), new(Schemes.ProjectClaim, ProjectId.ToString()), new(Schemes.RoleClaim, Role.ToString())], scheme);
        if (Operates) identity.AddClaim(new(Schemes.OperatesClaim, "true"));
        if (KeyId is { } key) identity.AddClaim(new(Schemes.KeyClaim, key.ToString()));
        if (SessionId is { } session) identity.AddClaim(new(Schemes.SessionClaim, session.ToString()));
        if (Subject is not null) identity.AddClaim(new(Schemes.SubjectClaim, Subject));
        return new ClaimsPrincipal(identity);
    }
}
