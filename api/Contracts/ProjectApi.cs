using System.Text.Json.Serialization;

namespace Contracts;

/// <summary>What a key may do in its project, each with all of those before it. <c>Viewer</c>: read. <c>Operator</c>: create, change and delete sandboxes type into their consoles, and run commands and move files in their guests.
/// <c>Admin</c>: the project's keys and its audit log. Of the project that operates the service: <c>Viewer</c> also nodes and devices, <c>Admin</c> also changes of those, and other projects.</summary>
[JsonConverter(typeof(NamedEnum<Role>))]
public enum Role { Viewer, Operator, Admin }

/// <summary>The most that a project may have at once. <c>MaxSandboxes</c>: 0 to 1000000, whatever their phase.
/// The others count sandboxes that are neither Stopped nor Failed, whether they have what they asked for or wait for it; null: no limit.
/// <c>MaxVcpus</c> and <c>MaxMemoryMib</c>: 0 to 1000000000. <c>MaxDevices</c>: 0 to 1000000 devices of a class by its name, at most 64 classes; a class that is not named has no limit.
/// <c>MaxPriority</c>: 0 to 100, the highest priority of its sandboxes; 0 unless whoever runs the service says otherwise.
/// <c>MaxImages</c>: 0 to 1000000 images that it has registered, default 20; <c>MaxImageBytes</c>: 0 to 1125899906842624 bytes of all their files, default 68719476736 (64 GiB).</summary>
public sealed record ProjectQuotas(
    int MaxSandboxes, int? MaxVcpus, long? MaxMemoryMib, IReadOnlyDictionary<string, int> MaxDevices, int MaxPriority = 0,
    int MaxImages = ProjectQuotas.DefaultImages, long MaxImageBytes = ProjectQuotas.DefaultImageBytes)
{
    public const int DefaultImages = 20;
    public const long DefaultImageBytes = 64L << 30;
}

/// <summary>What of the quotas is in use. <c>Devices</c>: by class, of those that are asked for. <c>ImageBytes</c>: of all files of its registered images, whether they are here yet or not.</summary>
public sealed record ProjectUse(int Sandboxes, int Vcpus, long MemoryMib, IReadOnlyDictionary<string, int> Devices, int Images = 0, long ImageBytes = 0);

/// <summary>A project. <c>Operates</c>: whether its members run the service; one does.</summary>
public sealed record ProjectView(Guid Id, string Name, bool Operates, ProjectQuotas Quotas, ProjectUse Use, DateTimeOffset CreatedAt);

/// <summary>Body of <c>POST /v1/projects</c>. <c>Name</c>: 1 to 63 of <c>a-z 0-9 -</c>, unique. <c>Quotas</c>: what is null has its default: 100 sandboxes, and no other limit.</summary>
public sealed record ProjectCreate(string? Name, QuotasPatch? Quotas);

/// <summary>Body of <c>PATCH /v1/projects/{id}</c>, a JSON merge patch (RFC 7396): what is not named stays, null takes a limit away.</summary>
public sealed record ProjectPatch(QuotasPatch? Quotas);

/// <summary>As <see cref="ProjectQuotas"/>.</summary>
public sealed record QuotasPatch(int? MaxSandboxes, int? MaxVcpus, long? MaxMemoryMib, IReadOnlyDictionary<string, int?>? MaxDevices, int? MaxPriority = null, int? MaxImages = null, long? MaxImageBytes = null);

/// <summary>Body of <c>POST /v1/keys</c>. <c>Name</c>: 1 to 63 characters, none of them control characters. <c>ExpiresAt</c>: a time to come; null: never.</summary>
public sealed record KeyCreate(string? Name, Role? Role, DateTimeOffset? ExpiresAt);

/// <summary>An API key without its secret. <c>Prefix</c>: how its secret begins; null of keys that are older than this field. <c>LastUsedAt</c>: to the minute; null: not yet.
/// <c>PreviousSecretUntil</c>: until when the secret before the last rotation is taken, too; null: it is not.</summary>
public sealed record KeyView(Guid Id, string Name, Role Role, string? Prefix, DateTimeOffset CreatedAt, DateTimeOffset? ExpiresAt, DateTimeOffset? LastUsedAt, DateTimeOffset? PreviousSecretUntil);

/// <summary>A key and its secret, which is shown here only.</summary>
public sealed record KeyCreated(KeyView Key, string Secret);

/// <summary>Body of <c>POST /v1/keys/{id}/rotate</c>. <c>OverlapSeconds</c>: how long the old secret is taken, too: 0 to 604800, default 0.</summary>
public sealed record KeyRotate(int? OverlapSeconds);

/// <summary>Body of <c>POST /v1/session</c>: signs a browser in with an API key, answering an HttpOnly cookie.</summary>
public sealed record SessionCreate(string? ApiKey);

/// <summary>Who the caller is, and what it may do. <c>Operates</c>: whether its project runs the service.</summary>
public sealed record SessionView(string KeyName, string Project, Role Role, bool Operates);

/// <summary>One change that a key of the project, or one of its members, has made. <c>Id</c>: grows in the order in which entries become visible.
/// <c>ActorId</c>: the key's id, or <c>oidc:</c> and the subject that the identity provider names. <c>RemoteAddress</c>: from where, as the API saw it; null where that is not known.
/// <c>Action</c>: method and route, such as <c>POST /v1/sandboxes/{id}/stop</c>. <c>SubjectType</c>: sandbox, project, key, session, node, device, joinToken and others.
/// <c>Before</c> and <c>After</c>: what is shown of the subject, without secrets and user data; null where it was not there yet, or is no more.</summary>
public sealed record AuditEntryView(
    long Id, DateTimeOffset At, string ActorId, string ActorName, string? RemoteAddress, string Action,
    string SubjectType, string? SubjectId, string? SubjectName, System.Text.Json.Nodes.JsonNode? Before, System.Text.Json.Nodes.JsonNode? After);
