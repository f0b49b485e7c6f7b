using System.Globalization;
using System.Text.RegularExpressions;
using Api.Guests;
using Api.Images;
using Api.Nodes;
using Api.Projects;
using Api.Sandboxes;
using Api.Webhooks;
using Contracts;
using Microsoft.OpenApi;

namespace Api.Http;

/// <summary>An endpoint whose body is that of another one in all but what is required: the schema has a name of its own.</summary>
public sealed record BodyWithout(string Schema, string Optional);

/// <summary>What the document tells of bodies beyond their types: what is required, and within which bounds. By the constants that the validations use, so that it cannot say something else.</summary>
public static class OpenApiBodies
{
    private sealed record Field(string Name, Action<OpenApiSchema>? Bound = null, bool IsRequired = false, bool TakesNull = true);

    private static readonly Dictionary<Type, Field[]> Fields = new()
    {
        [typeof(SandboxCreate)] =
        [
            Needed("name", Named), Needed("image", Named), new("vcpus", Between(1, SandboxValidation.MaxVcpus)), new("memoryMib", Between(SandboxValidation.MinMemoryMib, SandboxValidation.MaxMemoryMib)),
            new("accelerators", Items(0, SandboxValidation.MaxAcceleratorEntries)), new("labels", Entries(0, SandboxValidation.MaxLabels)), new("userData", Text(0, SandboxValidation.MaxUserDataBytes)),
            new("sshKeys", Items(0, SandboxValidation.MaxSshKeys, Text(0, SandboxValidation.MaxSshKey))), new("node", Named), new("priority", Between(SandboxValidation.MinPriority, SandboxValidation.MaxPriority)),
        ],
        [typeof(SandboxPatch)] = [new("priority", Between(SandboxValidation.MinPriority, SandboxValidation.MaxPriority)), new("restart", Nullable)],
        [typeof(AcceleratorRequest)] = [Needed("class", Named), new("count", Between(1, SandboxValidation.MaxDevices)), new("vendorId", Matching(SandboxValidation.PciId())), new("deviceId", Matching(SandboxValidation.PciId()))],
        [typeof(PlacementRequest)] = [new("with", Entries(1, SandboxValidation.MaxPlacementLabels)), new("apartFrom", Entries(1, SandboxValidation.MaxPlacementLabels))],
        [typeof(LeaseRequest)] = [new("ttlSeconds", Between(SandboxValidation.MinTtlSeconds, SandboxValidation.MaxTtlSeconds)), new("idleTimeoutSeconds", Between(SandboxValidation.MinTtlSeconds, SandboxValidation.MaxTtlSeconds))],
        [typeof(RestartRequest)] = [Needed("policy"), new("maxRestarts", Between(0, RestartDecision.MaxRestarts)), new("backoffSeconds", Between(1, RestartDecision.MaxBackoffSeconds))],
        [typeof(StormPolicyRequest)] = [Needed("perSecond", Between(SandboxValidation.MinStormPerSecond, SandboxValidation.MaxStormPerSecond)), new("windowSeconds", Between(SandboxValidation.MinStormWindowSeconds, SandboxValidation.MaxStormWindowSeconds))],
        [typeof(ProjectCreate)] = [Needed("name", Named)],
        [typeof(ProjectPatch)] = [new("quotas", TakesNull: false)],
        [typeof(QuotasPatch)] =
        [
            new("maxSandboxes", Between(0, ProjectRules.MaxCount)), new("maxVcpus", Between(0, ProjectRules.MaxUnits)), new("maxMemoryMib", Between(0, ProjectRules.MaxUnits)), new("maxDevices", Entries(0, ProjectRules.MaxClasses)),
            new("maxPriority", Between(0, SandboxValidation.MaxPriority)), new("maxImages", Between(0, ProjectRules.MaxCount)), new("maxImageBytes", Between(0, ProjectRules.MaxImageBytes)),
        ],
        [typeof(KeyCreate)] = [Needed("name", Text(1, ProjectRules.MaxKeyName)), Needed("role")],
        [typeof(KeyRotate)] = [new("overlapSeconds", Between(0, ProjectRules.MaxOverlapSeconds))],
        [typeof(SessionCreate)] = [Needed("apiKey")],
        [typeof(DeviceQuarantine)] = [],
        [typeof(JoinTokenCreate)] = [Needed("name", Named), new("ttlSeconds", Between(NodeJoining.MinTtlSeconds, NodeJoining.MaxTtlSeconds))],
        [typeof(NodeJoin)] = [Needed("installation")],
        [typeof(NodeDrainRequest)] = [new("deadlineSeconds", Between(0, NodeCordons.MaxDeadlineSeconds)), new("reason", Text(0, NodeCordons.MaxReason))],
        [typeof(NodeMaintenanceRequest)] = [],
        [typeof(WebhookCreate)] = [Needed("url"), new("description", Text(0, WebhookValidation.MaxDescription)), new("labels", Entries(0, SandboxValidation.MaxLabels))],
        [typeof(WebhookPatch)] = [new("description", Text(0, WebhookValidation.MaxDescription)), new("labels", Entries(0, SandboxValidation.MaxLabels))],
        [typeof(WebhookRotate)] = [new("overlapSeconds", Between(0, WebhookValidation.MaxOverlapSeconds))],
        [typeof(WebhookRedeliver)] = [Needed("since")],
        [typeof(ExecCreate)] = [Needed("command", Items(1, GuestSessions.MaxArguments)), new("environment", Entries(0, GuestSessions.MaxEnvironment)), new("user", Between(0, ExecEndpoint.MaxUser))],
        [typeof(ExecSignal)] = [Needed("signal")],
        [typeof(ImageCreate)] = [Needed("name", Named), Needed("kernelVersion", Text(1, ImageValidation.MaxKernelVersion)), new("commandLine", Text(0, ImageValidation.MaxCommandLine)), Needed("files", Entries(1, 3))],
        [typeof(ImageFileRequest)] = [Needed("sha256"), Needed("bytes")],
    };

    /// <summary>Of these, that none was sent means as much as an empty one.</summary>
    private static readonly HashSet<Type> Optional = [typeof(KeyRotate), typeof(WebhookRotate), typeof(NodeDrainRequest), typeof(NodeMaintenanceRequest), typeof(DeviceQuarantine)];

    /// <summary>Of a body that is sent, what is missing is null, and null is the default.</summary>
    public static bool IsBody(Type type) => Fields.ContainsKey(type);

    /// <summary>Null of a field that is none of a body's in the table.</summary>
    public static bool? TakesNull(Type type, string field) => Fields.GetValueOrDefault(type)?.FirstOrDefault(f => f.Name == field) is { } found ? !found.IsRequired && found.TakesNull : null;

    public static bool IsOptional(Type type) => Optional.Contains(type);

    /// <summary>Throws for a field that there is not: the table has a name that the type has no more. <paramref name="within"/>: the type that has it as a field; a merge patch need not name what stays.</summary>
    public static void Describe(OpenApiSchema schema, Type type, Type? within)
    {
        if (!Fields.TryGetValue(type, out var fields)) return;
        schema.Required = within == typeof(SandboxPatch) ? null : fields.Where(f => f.IsRequired).Select(f => f.Name).ToHashSet();
        foreach (var field in fields)
        {
            var property = schema.Properties is { } all && all.TryGetValue(field.Name, out var found) ? found : throw new InvalidOperationException($"{type.Name} has no {field.Name}.");
            if (property is not OpenApiSchema own) continue;
            field.Bound?.Invoke(own);
            if (field.IsRequired && own.Type is { } kind && kind != JsonSchemaType.Null) own.Type = kind & ~JsonSchemaType.Null;
        }
    }

    private static Field Needed(string name, Action<OpenApiSchema>? bound = null) => new(name, bound, true);

    private static void Nullable(OpenApiSchema schema)
    {
        if (schema.Type is { } type) schema.Type = type | JsonSchemaType.Null;
    }

    private static void Named(OpenApiSchema schema) => Matching(SandboxValidation.Name())(schema);

    /// <summary>\z is .NET's; that of ECMA-262 is $.</summary>
    private static Action<OpenApiSchema> Matching(Regex form) => schema => schema.Pattern = form.ToString().Replace(@"\z", "$", StringComparison.Ordinal);

    private static Action<OpenApiSchema> Between(double least, double most) => schema =>
        (schema.Minimum, schema.Maximum) = (Number(least), Number(most));

    private static string Number(double value) => value.ToString("0.####", CultureInfo.InvariantCulture);

    private static Action<OpenApiSchema> Text(int least, int most) => schema => (schema.MinLength, schema.MaxLength) = (least == 0 ? null : least, most);

    private static Action<OpenApiSchema> Items(int least, int most, Action<OpenApiSchema>? each = null) => schema =>
    {
        (schema.MinItems, schema.MaxItems) = (least == 0 ? null : least, most);
        if (schema.Items is OpenApiSchema item) each?.Invoke(item);
    };

    private static Action<OpenApiSchema> Entries(int least, int most) => schema => (schema.MinProperties, schema.MaxProperties) = (least == 0 ? null : least, most);
}
