using Contracts;

namespace Api.Audit;

/// <summary>One change that somebody asked for. Append-only: the database refuses to change or remove it. The database gives <c>Id</c>, in the order in which a project's entries become visible.</summary>
public sealed class AuditEntry
{
    public long Id { get; init; }
    public DateTimeOffset At { get; init; }
    /// <summary>Of whoever did it: its admins read it.</summary>
    public Guid ProjectId { get; init; }
    public required string ActorId { get; init; }
    public required string ActorName { get; init; }
    public string? RemoteAddress { get; init; }
    /// <summary>Method and route, or the hub's method.</summary>
    public required string Action { get; init; }
    public required string SubjectType { get; init; }
    public string? SubjectId { get; init; }
    public string? SubjectName { get; init; }
    /// <summary>JSON of what is shown of the subject; null where there was, or is, none.</summary>
    public string? Before { get; init; }
    public string? After { get; init; }

    public AuditEntryView ToView() => new(Id, At, ActorId, ActorName, RemoteAddress, Action, SubjectType, SubjectId, SubjectName, Parse(Before), Parse(After));

    private static System.Text.Json.Nodes.JsonNode? Parse(string? json) => json is null ? null : System.Text.Json.Nodes.JsonNode.Parse(json);
}
