using Contracts;

namespace Api.Events;

/// <summary>Append-only, numbered per project: see <see cref="EventWriting"/>. What belongs to no tenant is of the project that operates the service.</summary>
public sealed class Event
{
    /// <summary>Empty until it is stored: of the project that operates the service.</summary>
    public Guid ProjectId { get; init; }
    public long Number { get; init; }
    public DateTimeOffset At { get; init; }
    public required string Type { get; init; }
    public Guid? SubjectId { get; init; }
    public string? SubjectName { get; init; }
    public required string Reason { get; init; }
    public required string Message { get; init; }
    public Phase? Phase { get; init; }
    /// <summary>A sandbox's, as they were then: whoever filters by them must find the deletion, too.</summary>
    public Dictionary<string, string>? Labels { get; init; }
    public EventSandbox? Sandbox { get; init; }

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
        Labels = sandbox.Labels.Count == 0 ? null : sandbox.Labels,
        Sandbox = new(sandbox.Desired, sandbox.Incarnation, sandbox.NodeId, sandbox.Verdict?.Origin, sandbox.Failure, sandbox.Verdict is { } v ? new(v.Class, v.Reason, v.Origin) : null),
    };

    /// <summary>Of a sandbox that has just been placed: it has a node, and nothing of a guest yet.</summary>
    public static Event OfPlaced(Guid project, Guid sandbox, string name, Dictionary<string, string> labels, int incarnation, Guid node, string reason, string message, DateTimeOffset at) => new()
    {
        ProjectId = project,
        At = at,
        Type = EventType.SandboxPhase,
        SubjectId = sandbox,
        SubjectName = name,
        Reason = reason,
        Message = message,
        Phase = Contracts.Phase.Scheduled,
        Labels = labels.Count == 0 ? null : labels,
        Sandbox = new(DesiredState.Running, incarnation, node, null, null, null),
    };

    public static Event Infrastructure(string type, Guid subject, string name, string reason, string message, DateTimeOffset at) => Of(Guid.Empty, type, subject, name, reason, message, at);

    /// <summary>Of a project, about something that is no sandbox.</summary>
    public static Event Of(Guid project, string type, Guid subject, string name, string reason, string message, DateTimeOffset at) => new()
    {
        ProjectId = project,
        At = at,
        Type = type,
        SubjectId = subject,
        SubjectName = name,
        Reason = reason,
        Message = message,
    };
}

/// <summary>How many events a project has had. Its row is locked by whoever numbers one, until that is committed.</summary>
public sealed class EventCounter
{
    public Guid ProjectId { get; init; }
    public long LastNumber { get; init; }
}

public static class EventType
{
    public const string SandboxCreated = "sandbox.created";
    public const string SandboxPhase = "sandbox.phaseChanged";
    public const string SandboxCondition = "sandbox.conditionChanged";
    public const string SandboxDesired = "sandbox.desiredChanged";
    public const string SandboxLabels = "sandbox.labelsChanged";
    public const string SandboxPriority = "sandbox.priorityChanged";
    /// <summary>Its lease ends in five minutes or less.</summary>
    public const string SandboxLeaseExpiring = "sandbox.leaseExpiring";
    /// <summary>It is stopped soon, for one of higher priority; or is not after all.</summary>
    public const string SandboxPreempting = "sandbox.preempting";
    /// <summary>Its node is drained: it is stopped at a deadline.</summary>
    public const string SandboxNodeDraining = "sandbox.nodeDraining";
    /// <summary>It is going to be started again by its restart policy, or is not any more.</summary>
    public const string SandboxRestart = "sandbox.restartChanged";
    public const string SandboxDeleted = "sandbox.deleted";
    public const string NodeJoined = "node.joined";
    public const string NodePhase = "node.phaseChanged";
    /// <summary>Another machine showed the node's token.</summary>
    public const string NodeRefused = "node.machineRefused";
    /// <summary>Its worker speaks another version of the protocol.</summary>
    public const string NodeWorkerRefused = "node.workerRefused";
    public const string NodeDrained = "node.drained";
    public const string NodeCredentials = "node.credentialsChanged";
    public const string NodeDecommissioned = "node.decommissioned";
    public const string DevicePhase = "device.phaseChanged";
    public const string DeviceQuarantine = "device.quarantineChanged";
    public const string ImageChanged = "image.changed";
    /// <summary>Deliveries to it have ended: it answered that it is gone, or failed for days.</summary>
    public const string WebhookDisabled = "webhook.endpointDisabled";

    /// <summary>Every constant above, so that no list is forgotten.</summary>
    public static readonly IReadOnlySet<string> All = typeof(EventType).GetFields().Where(f => f.IsLiteral).Select(f => (string)f.GetRawConstantValue()!).ToHashSet();
}
