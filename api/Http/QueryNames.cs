using System.Reflection;

namespace Api.Http;

/// <summary>Refuses query parameters that an endpoint does not know: a misspelt filter would answer with more than was asked for.</summary>
public static class QueryNames
{
    private static readonly string[] Unknown = ["is not a parameter of this endpoint"];

    public static EndpointFilterDelegate Refuse(EndpointFilterFactoryContext endpoint, EndpointFilterDelegate next)
    {
        var known = endpoint.MethodInfo.GetParameters().Where(IsValue).Select(p => p.Name!).ToHashSet(StringComparer.OrdinalIgnoreCase);
        return call => call.HttpContext.Request.Query.Keys.Where(name => !known.Contains(name)).ToDictionary(Shown, _ => Unknown) is { Count: > 0 } unknown
            ? ValueTask.FromResult<object?>(ApiProblem.Validation(unknown))
            : next(call);
    }

    private static string Shown(string name) => name.Length <= 64 ? name : name[..64];

    private static bool IsValue(ParameterInfo parameter)
    {
        var type = Nullable.GetUnderlyingType(parameter.ParameterType) ?? parameter.ParameterType;
        return type.IsPrimitive || type == typeof(string) || type == typeof(string[]) || type == typeof(Guid) || type == typeof(DateTimeOffset);
    }
}
