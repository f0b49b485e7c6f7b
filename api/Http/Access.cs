using System.Security.Claims;
using Contracts;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.SignalR;

namespace Api.Http;

/// <summary>Who may call an endpoint: a role in one's own project, or in the project that operates the service.</summary>
public sealed record Access(Role Role, bool OfService) : IAuthorizationRequirement
{
    public string Policy => $"{(OfService ? "Service" : "Project")}:{Role}";

    public static IEnumerable<Access> All => from role in Enum.GetValues<Role>() from ofService in (bool[])[false, true] select new Access(role, ofService);

    public bool Allows(ClaimsPrincipal user) => user.Role() >= Role && (!OfService || user.Operates());

    public override string ToString() => $"a key of role {Role}{(Role == Role.Admin ? "" : " or above")}{(OfService ? " of the project that runs the service" : "")}";
}

/// <summary>Each endpoint says whom it takes; whoever says nothing is refused to all (the default and fallback policies of <see cref="Schemes"/>).</summary>
public static class AccessRules
{
    /// <summary>That role, or one above it, in the caller's own project.</summary>
    public static T Requires<T>(this T endpoint, Role role) where T : IEndpointConventionBuilder => Declare(endpoint, new Access(role, OfService: false));

    /// <summary>That role, or one above it, in the project of those who run the service.</summary>
    public static T RequiresService<T>(this T endpoint, Role role) where T : IEndpointConventionBuilder => Declare(endpoint, new Access(role, OfService: true));

    private static T Declare<T>(T endpoint, Access access) where T : IEndpointConventionBuilder =>
        endpoint.WithMetadata(access, Refusal(401), Refusal(403), Refusal(429), Refusal(503)).RequireAuthorization(access.Policy);

    /// <summary>For the document of the API.</summary>
    private static ProducesResponseTypeMetadata Refusal(int status) => new(status, typeof(ProblemDetails), ["application/problem+json"]);
}

public sealed class AccessHandler : AuthorizationHandler<Access>
{
    protected override Task HandleRequirementAsync(AuthorizationHandlerContext context, Access requirement)
    {
        if (requirement.Allows(context.User)) context.Succeed(requirement);
        return Task.CompletedTask;
    }
}

/// <summary>The role that a method of the dashboard's hub takes.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class RequiresAttribute(Role role) : Attribute
{
    public Role Role => role;
}

/// <summary>Refuses a hub's methods to callers without the role that they declare; a method that declares none is refused to all.</summary>
public sealed class HubAccess : IHubFilter
{
    public ValueTask<object?> InvokeMethodAsync(HubInvocationContext invocationContext, Func<HubInvocationContext, ValueTask<object?>> next)
    {
        var declared = invocationContext.HubMethod.GetCustomAttributes(typeof(RequiresAttribute), inherit: true);
        if (declared is not [RequiresAttribute { Role: var role }] || invocationContext.Context.User is not { } user || user.Role() < role)
            throw new HubException($"forbidden: this takes {(declared is [RequiresAttribute known] ? new Access(known.Role, OfService: false).ToString() : "more than any key has")}");
        return next(invocationContext);
    }
}
