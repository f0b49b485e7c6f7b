using Microsoft.AspNetCore.OpenApi;
using Microsoft.OpenApi;

namespace Api.Http;

/// <summary>The machine-readable description of the API.</summary>
public static class OpenApiDocument
{
    public static void Configure(OpenApiOptions options)
    {
        options.AddDocumentTransformer((document, _, _) =>
        {
            document.Info.Title = "Sandbox";
            document.Info.Version = "v1";
            return Task.CompletedTask;
        });
        options.AddSchemaTransformer((schema, context, _) =>
        {
            // Enums have a converter of our own (Contracts/NamedEnum.cs), which the framework cannot look into.
            var type = Nullable.GetUnderlyingType(context.JsonTypeInfo.Type) ?? context.JsonTypeInfo.Type;
            if (!type.IsEnum) return Task.CompletedTask;
            schema.Type = JsonSchemaType.String;
            schema.Enum = [.. Enum.GetNames(type).Select(name => (System.Text.Json.Nodes.JsonNode)name)];
            return Task.CompletedTask;
        });
    }
}
