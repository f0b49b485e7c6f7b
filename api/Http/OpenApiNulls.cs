using System.Reflection;
using Contracts;
using Microsoft.OpenApi;

namespace Api.Http;

/// <summary>Where the framework writes a schema in place it does not say that it may be null, and where it writes a reference it does not say that it may not.</summary>
public static class OpenApiNulls
{
    public static void Tell(IDictionary<string, IOpenApiSchema>? schemas)
    {
        foreach (var (name, schema) in schemas ?? new Dictionary<string, IOpenApiSchema>())
            if (typeof(SandboxCreate).Assembly.GetType($"{nameof(Contracts)}.{name}") is { } type) Tell(schema, type);
    }

    /// <summary>Of all that is written in place in it, too.</summary>
    public static void Tell(IOpenApiSchema? schema, Type type)
    {
        if (schema is not OpenApiSchema { Properties: { } properties }) return;
        foreach (var (name, property) in properties.ToList())
        {
            if (property is not OpenApiSchema own || type.GetProperty(name, BindingFlags.IgnoreCase | BindingFlags.Public | BindingFlags.Instance) is not { } field) continue;
            var of = Nullable.GetUnderlyingType(field.PropertyType) ?? field.PropertyType;
            if (OpenApiBodies.TakesNull(type, name) is false) properties[name] = WithoutNull(own);
            else if (new NullabilityInfoContext().Create(field).ReadState == NullabilityState.Nullable) Allow(own);
            Tell(own, of);
            var held = of.IsGenericType ? of.GetGenericArguments()[^1] : of;
            Tell(own.Items, held);
            Tell(own.AdditionalProperties, held);
        }
    }

    private static void Allow(OpenApiSchema schema)
    {
        if (schema.Type is not { } kind || kind.HasFlag(JsonSchemaType.Null)) return;
        schema.Type = kind | JsonSchemaType.Null;
        if (schema.Enum is { Count: > 0 } values) schema.Enum = [.. values, JsonNullSentinel.JsonNull];
    }

    private static IOpenApiSchema WithoutNull(OpenApiSchema schema) =>
        schema is { OneOf: { Count: 2 } either } && either.FirstOrDefault(s => s.Type != JsonSchemaType.Null) is { } value ? value : schema;
}
