using Contracts;

namespace Api.Nodes;

public sealed class Node
{
    public Guid Id { get; init; }
    public required string Name { get; init; }
    public required byte[] TokenSha256 { get; set; }
    /// <summary>Another token that the worker has been given and not used yet: its first use makes it the node's only one. Worth nothing after <c>NextTokenUntil</c>.</summary>
    public byte[]? NextTokenSha256 { get; set; }
    public DateTimeOffset? NextTokenUntil { get; set; }
    /// <summary>An operator wants its worker to take another token; null once it has.</summary>
    public DateTimeOffset? RotationWantedAt { get; set; }
    /// <summary>The machine that the node is (its worker's state directory); null: whichever reports first.</summary>
    public Guid? Installation { get; set; }
    public NodePhase Phase { get; set; }
    /// <summary>An operator lets it take nothing new; outlives its silence.</summary>
    public bool IsCordoned { get; set; }
    /// <summary>An operator wants it empty; null: nobody does.</summary>
    public NodeDrain? Drain { get; set; }
    /// <summary>It has no guests, and its silence is expected; null: it is not in maintenance.</summary>
    public DateTimeOffset? MaintenanceSince { get; set; }
    /// <summary>Why its worker's reports are not taken; null: they are.</summary>
    public Failure? Refusal { get; set; }
    public DateTimeOffset? LastReportAt { get; set; }
    /// <summary>The replica of the API that took its last stored report, whose connection it is; null: none has, since replicas are told apart.</summary>
    public Guid? ReplicaId { get; set; }
    public string? WorkerVersion { get; set; }
    /// <summary>The minor version of the protocol that its worker speaks.</summary>
    public int ProtocolMinor { get; set; }
    public NodeFacts? Facts { get; set; }
    /// <summary>Grows whenever the plan computed for the node differs from the one before, whose digest is <c>PlanSha256</c>.</summary>
    public long PlanRevision { get; set; }
    public byte[]? PlanSha256 { get; set; }
    public uint Version { get; set; }

    /// <summary>What it is while it reports, by what operators wish.</summary>
    public NodePhase Standing => MaintenanceSince is not null ? NodePhase.Maintenance : Drain is not null ? NodePhase.Draining : IsCordoned ? NodePhase.Cordoned : NodePhase.Ready;

    public bool IsReporting => Phase is not (NodePhase.Joining or NodePhase.Unreachable);
}

/// <summary>A drain of a node. <c>Id</c>: by it each sandbox is told once. <c>Deadline</c>: when what still runs is stopped. <c>DrainedAt</c>: when nothing was left, null until then.
/// <c>ThenMaintenance</c>: the node goes into maintenance once it is empty.</summary>
public sealed record NodeDrain(Guid Id, DateTimeOffset StartedAt, DateTimeOffset Deadline, string? Reason, bool ThenMaintenance, DateTimeOffset? DrainedAt);

/// <summary>A token that was a node's and is no more: whoever shows it is told why.</summary>
public sealed class RetiredNodeToken
{
    public required byte[] TokenSha256 { get; init; }
    public Guid NodeId { get; init; }
    public required string NodeName { get; init; }
    /// <summary>The code of the refusal.</summary>
    public required string Code { get; init; }
    public DateTimeOffset At { get; init; }
}
