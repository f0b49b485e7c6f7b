using System.Text.Json.Nodes;
using Contracts;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Http.Metadata;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.OpenApi;
using Microsoft.OpenApi;

namespace Api.Http;

/// <summary>The machine-readable description of the API: each endpoint with whom it takes, what it answers, and every code of its refusals (<see cref="ErrorCodes"/>).</summary>
public static class OpenApiDocument
{
    private const string Bearer = "apiKey", CookieScheme = "session", JoinToken = "joinToken";

    private static readonly Dictionary<string, string> Tags = new()
    {
        ["Health"] = "Whether the service is up.",
        ["Session"] = "Signing a browser in and out.",
        ["Projects"] = "Teams that share the service, and their quotas.",
        ["Keys"] = "A project's API keys.",
        ["Audit"] = "What was changed, by whom.",
        ["Sandboxes"] = "Guests and their devices.",
        ["Guests"] = "Commands, files and a tunnel inside a running guest.",
        ["Placement"] = "Where a sandbox could be, and why not elsewhere.",
        ["Faults"] = "Faults of sandboxes over time.",
        ["Events"] = "What happened.",
        ["Webhooks"] = "Where events are posted to, and what became of it.",
        ["Images"] = "What guests are started from.",
        ["Devices"] = "Functions of nodes that guests are given.",
        ["Nodes"] = "Hosts that run guests.",
        ["Metrics"] = "For Prometheus.",
    };

    public static void Configure(OpenApiOptions options)
    {
        options.AddDocumentTransformer((document, _, _) =>
        {
            document.Info.Title = "Sandbox";
            document.Info.Version = "v1";
            document.Info.Description = "Arm guests whose PCIe accelerator shares the guest process's virtual addresses. Errors are RFC 9457 problems with a stable code. "
                + "Besides what each operation names, " + string.Join("; ", ErrorCodes.OfNoOperation.Select(c => $"{c.Status} `{c.Code}`: {c.Says}"));
            foreach (var server in document.Servers ?? []) server.Url = server.Url?.TrimEnd('/');
            foreach (var tag in document.Tags ?? new HashSet<OpenApiTag>()) tag.Description = Tags.GetValueOrDefault(tag.Name ?? "");
            document.Components ??= new();
            // What a patch is read as, which the document tells by its own type.
            document.Components.Schemas?.Remove(nameof(JsonObject));
            OpenApiNulls.Tell(document.Components.Schemas);
            document.Components.SecuritySchemes = new Dictionary<string, IOpenApiSecurityScheme>
            {
                [Bearer] = new OpenApiSecurityScheme { Type = SecuritySchemeType.Http, Scheme = "bearer", Description = "An API key, sbx_…" },
                [CookieScheme] = new OpenApiSecurityScheme { Type = SecuritySchemeType.ApiKey, In = ParameterLocation.Cookie, Name = "sandbox_session", Description = $"A browser that is signed in. What changes something needs the header {Schemes.RequestHeader}: 1 besides." },
                [JoinToken] = new OpenApiSecurityScheme { Type = SecuritySchemeType.Http, Scheme = "bearer", Description = "A join token, sbj_…, of a machine that becomes a node." },
            };
            return Task.CompletedTask;
        });
        options.AddOperationTransformer(async (operation, context, ct) =>
        {
            Describe(operation, context);
            await PatchedAsync(operation, context, ct);
            await WithoutAsync(operation, context, ct);
            await AnswersAsync(operation, context, ct);
        });
        options.AddSchemaTransformer((schema, context, _) =>
        {
            // Enums have a converter of our own (Contracts/NamedEnum.cs), which the framework cannot look into.
            var type = Nullable.GetUnderlyingType(context.JsonTypeInfo.Type) ?? context.JsonTypeInfo.Type;
            if (type.IsEnum)
            {
                schema.Type = JsonSchemaType.String;
                schema.Enum = [.. Enum.GetNames(type).Select(name => (JsonNode)name)];
            }
            if (type == typeof(ProblemDetails)) Extend(schema);
            OpenApiBodies.Describe(schema, type, context.JsonPropertyInfo?.DeclaringType);
            // The framework does not see that a map's values may be null.
            if (type == typeof(SandboxPatch) && schema.Properties?["labels"] is OpenApiSchema { AdditionalProperties: OpenApiSchema label }) label.Type |= JsonSchemaType.Null;
            if (OpenApiExamples.Of(type, context.JsonTypeInfo.Options) is { } example) schema.Examples = [example];
            // Within a reference the framework leaves out what a list of enums holds.
            if (schema.Type is { } kind && kind.HasFlag(JsonSchemaType.Array) && schema.Items is null) schema.Items = new OpenApiSchema { Type = JsonSchemaType.String };
            return Task.CompletedTask;
        });
    }

    /// <summary>What our problems have besides those of the framework.</summary>
    private static void Extend(OpenApiSchema problem)
    {
        problem.Properties ??= new Dictionary<string, IOpenApiSchema>();
        problem.Properties["code"] = new OpenApiSchema { Type = JsonSchemaType.String, Description = "Stable; each answer names those that it can have." };
        problem.Properties["errors"] = new OpenApiSchema
        {
            Type = JsonSchemaType.Object,
            Description = "Of single fields or parameters, by name.",
            AdditionalProperties = new OpenApiSchema { Type = JsonSchemaType.Array, Items = new OpenApiSchema { Type = JsonSchemaType.String } },
        };
    }

    /// <summary>What takes a JSON merge patch reads it as any object, for null and missing differ: its body is of the type that the endpoint says it accepts.</summary>
    private static async Task PatchedAsync(OpenApiOperation operation, OpenApiOperationTransformerContext context, CancellationToken ct)
    {
        var accepts = context.Description.ActionDescriptor.EndpointMetadata.OfType<IAcceptsMetadata>().LastOrDefault(a => a.ContentTypes.Contains(MergePatch.ContentType));
        if (accepts?.RequestType is not { } body || operation.RequestBody?.Content is not { } content || context.Document is not { } document) return;
        document.AddComponent(body.Name, await context.GetOrCreateSchemaAsync(body, null, ct));
        foreach (var media in content.Values) media.Schema = new OpenApiSchemaReference(body.Name, document);
    }

    private static async Task WithoutAsync(OpenApiOperation operation, OpenApiOperationTransformerContext context, CancellationToken ct)
    {
        if (context.Description.ActionDescriptor.EndpointMetadata.OfType<BodyWithout>().LastOrDefault() is not { } without || context.Document is not { } document) return;
        var schema = await context.GetOrCreateSchemaAsync(BodyType(context)!, null, ct);
        schema.Required?.Remove(without.Optional);
        OpenApiNulls.Tell(schema, BodyType(context)!);
        document.AddComponent(without.Schema, schema);
        foreach (var media in operation.RequestBody?.Content?.Values ?? []) media.Schema = new OpenApiSchemaReference(without.Schema, document);
    }

    /// <summary>Where an operation has answers of several forms with one status, the framework tells the last one only.</summary>
    private static async Task AnswersAsync(OpenApiOperation operation, OpenApiOperationTransformerContext context, CancellationToken ct)
    {
        foreach (var told in context.Description.ActionDescriptor.EndpointMetadata.OfType<IProducesResponseTypeMetadata>())
        {
            var status = told.StatusCode.ToString(System.Globalization.CultureInfo.InvariantCulture);
            if (told.StatusCode >= 300 || told.Type is not { } type || operation.Responses?.GetValueOrDefault(status) is not OpenApiResponse { Content: { } content } || context.Document is not { } document) continue;
            foreach (var form in told.ContentTypes.Where(form => !content.ContainsKey(form)).ToList())
            {
                document.AddComponent(type.Name, await context.GetOrCreateSchemaAsync(type, null, ct));
                content[form] = new OpenApiMediaType { Schema = new OpenApiSchemaReference(type.Name, document) };
            }
        }
    }

    private static Type? BodyType(OpenApiOperationTransformerContext context) => context.Description.ParameterDescriptions.FirstOrDefault(p => p.Source.Id == "Body")?.Type;

    /// <summary>Where nothing, or null, is refused.</summary>
    private static void RequireBody(OpenApiOperation operation, OpenApiOperationTransformerContext context)
    {
        if (operation.RequestBody is not OpenApiRequestBody body || BodyType(context) is { } type && OpenApiBodies.IsOptional(type)) return;
        body.Required = true;
        foreach (var media in body.Content?.Values ?? [])
            if (media.Schema is OpenApiSchema { OneOf: { Count: 2 } either } && either.FirstOrDefault(s => s.Type != JsonSchemaType.Null) is { } value) media.Schema = value;
    }

    /// <summary>What any operation of its kind may answer, whatever its handler says.</summary>
    private static void RefuseLikeAll(OpenApiOperation operation, OpenApiOperationTransformerContext context, string path, bool signedIn, bool replayed)
    {
        var takesBody = operation.RequestBody is not null;
        var statuses = new List<int> { 500 };
        if (path != "health") statuses.Add(503);
        if (takesBody || operation.Parameters is { Count: > 0 } || replayed) statuses.Add(400);
        if (takesBody || replayed) statuses.Add(413);
        if (takesBody) statuses.Add(415);
        if (replayed) statuses.Add(409);
        // A parameter that the endpoint does not know, or a key that was used for another request.
        if (signedIn && path != "v1/session") statuses.Add(422);
        foreach (var status in statuses)
            (operation.Responses ??= []).TryAdd(status.ToString(System.Globalization.CultureInfo.InvariantCulture), new OpenApiResponse
            {
                Content = new Dictionary<string, OpenApiMediaType> { ["application/problem+json"] = new() { Schema = new OpenApiSchemaReference(nameof(ProblemDetails), context.Document) } },
            });
    }

    private static void Describe(OpenApiOperation operation, OpenApiOperationTransformerContext context)
    {
        var metadata = context.Description.ActionDescriptor.EndpointMetadata;
        var method = context.Description.HttpMethod ?? "GET";
        var path = context.Description.RelativePath ?? "";
        var access = metadata.OfType<Access>().LastOrDefault();
        var tag = operation.Tags?.FirstOrDefault()?.Name ?? "";
        operation.OperationId = method.ToLowerInvariant() + string.Concat(path.Split('/', StringSplitOptions.RemoveEmptyEntries).Where(s => s != "v1").SelectMany(s => s.Split('-')).Select(Capital));
        operation.Description = string.Join("\n\n", new[] { operation.Description ?? operation.Summary, access is null ? null : $"Takes {access}." }.OfType<string>());
        operation.Security = access is not null ? [Needs(Bearer, context), Needs(CookieScheme, context)]
            : metadata.OfType<IAllowAnonymous>().Any() ? [] : [Needs(JoinToken, context)];
        var replayed = method == "POST" && access is not null && !metadata.OfType<NotReplayed>().Any();
        if (replayed)
            Header(operation, Idempotency.Header, false, $"1 to {Idempotency.MaxLength} visible ASCII characters: the same request again with it is done once, for 24 hours.");
        if (operation.Responses?.ContainsKey("412") is true)
            Header(operation, "If-Match", operation.Responses.ContainsKey("428"), "The ETag that was read, or *.");
        RequireBody(operation, context);
        RefuseLikeAll(operation, context, path, access is not null, replayed);
        foreach (var (status, response) in operation.Responses ?? [])
            if (int.TryParse(status, out var number) && number >= 400 && response is OpenApiResponse refusal) Tell(refusal, number, tag, access is not null, replayed);
    }

    private static void Tell(OpenApiResponse response, int status, string tag, bool signedIn, bool post)
    {
        var codes = ErrorCodes.Of(status, tag, signedIn, post).ToList();
        response.Description = string.Join("\n\n", codes.Select(c => $"`{c.Code}`: {c.Says}"));
        foreach (var media in response.Content?.Values ?? [])
            media.Examples = codes.ToDictionary(c => c.Code, c => (IOpenApiExample)new OpenApiExample
            {
                Value = new JsonObject { ["type"] = "about:blank", ["title"] = ApiProblem.Title(status), ["status"] = status, ["detail"] = c.Says, ["code"] = c.Code },
            });
    }

    private static OpenApiSecurityRequirement Needs(string scheme, OpenApiOperationTransformerContext context) => new() { [new OpenApiSecuritySchemeReference(scheme, context.Document)] = [] };

    private static void Header(OpenApiOperation operation, string name, bool required, string description) => (operation.Parameters ??= []).Add(new OpenApiParameter
    {
        Name = name,
        In = ParameterLocation.Header,
        Required = required,
        Description = description,
        Schema = new OpenApiSchema { Type = JsonSchemaType.String },
    });

    private static string Capital(string segment) => segment is ['{', .. var name, '}'] ? $"By{char.ToUpperInvariant(name[0])}{name[1..]}" : $"{char.ToUpperInvariant(segment[0])}{segment[1..]}";
}
