using System.Security.Claims;
using Contracts;

namespace Api.Http;

/// <summary>What a request's principal says of its caller.</summary>
public static class CallerClaims
{
    public static Guid ProjectId(this ClaimsPrincipal user) => Guid.Parse(user.FindFirstValue(Schemes.ProjectClaim)!);

    public static bool Operates(this ClaimsPrincipal user) => user.HasClaim(Schemes.OperatesClaim, "true");

    /// <summary>Null: no member of a project (a node, a machine that joins, nobody).</summary>
    public static Role? Role(this ClaimsPrincipal user) => NamedEnum.TryParse<Role>(user.FindFirstValue(Schemes.RoleClaim), out var role) ? role : null;

    public static Guid? KeyId(this ClaimsPrincipal user) => Guid.TryParse(user.FindFirstValue(Schemes.KeyClaim), out var id) ? id : null;

    public static Guid? SessionId(this ClaimsPrincipal user) => Guid.TryParse(user.FindFirstValue(Schemes.SessionClaim), out var id) ? id : null;

    /// <summary>One text for whoever it is: the key, whichever session shows it, or the one whom the identity provider named.</summary>
    public static string ActorId(this ClaimsPrincipal user) => user.FindFirstValue(Schemes.KeyClaim) ?? $"oidc:{user.FindFirstValue(Schemes.SubjectClaim)}";
}
