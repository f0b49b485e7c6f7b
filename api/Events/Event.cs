using Contracts;

namespace Api.Events;

/// <summary>Append-only. The database's trigger gives <c>Number</c> under a row lock, so numbers become visible in order and without gaps.
/// No project: infrastructure, seen by all.</summary>
public sealed class Event
{
    public long Number { get; init; }
    public Guid? ProjectId { get; init; }
    public DateTimeOffset At { get; init; }
    public required string Type { get; init; }
    public Guid? SubjectId { get; init; }
    public string? SubjectName { get; init; }
    public required string Reason { get; init; }
    public required string Message { get; init; }
    public Phase? Phase { get; init; }

    public EventView ToView() => new(Number, At, Type, SubjectId, SubjectName, Reason, Message, Phase);

    public static Event Of(Sandboxes.Sandbox sandbox, string type, string reason, string message, DateTimeOffset at) => new()
    {
        ProjectId = sandbox.ProjectId,
        At = at,
        Type = type,
        SubjectId = sandbox.Id,
        SubjectName = sandbox.Name,
        Reason = reason,
        Message = message,
        Phase = sandbox.Phase,
    };

    public static Event Infrastructure(string type, Guid subject, string name, string reason, string message, DateTimeOffset at) => new()
    {
        At = at,
        Type = type,
        SubjectId = subject,
        SubjectName = name,
        Reason = reason,
        Message = message,
    };
}

public static class EventType
{
    public const string SandboxCreated = "sandbox.created";
    public const string SandboxPhase = "sandbox.phaseChanged";
    public const string SandboxCondition = "sandbox.conditionChanged";
    public const string SandboxDesired = "sandbox.desiredChanged";
    public const string SandboxLabels = "sandbox.labelsChanged";
    public const string SandboxDeleted = "sandbox.deleted";
    public const string NodeJoined = "node.joined";
    public const string NodePhase = "node.phaseChanged";
    /// <summary>Another machine showed the node's token.</summary>
    public const string NodeRefused = "node.machineRefused";
    public const string DevicePhase = "device.phaseChanged";
    public const string DeviceQuarantine = "device.quarantineChanged";
    public const string ImageChanged = "image.changed";
}
