using Contracts;

namespace Api.Nodes;

public sealed class Node
{
    public Guid Id { get; init; }
    public required string Name { get; init; }
    public required byte[] TokenSha256 { get; set; }
    /// <summary>The machine that the node is (its worker's state directory); null: whichever reports first.</summary>
    public Guid? Installation { get; set; }
    public NodePhase Phase { get; set; }
    /// <summary>An operator lets it take nothing new; outlives its silence.</summary>
    public bool IsCordoned { get; set; }
    public DateTimeOffset? LastReportAt { get; set; }
    public string? WorkerVersion { get; set; }
    public NodeFacts? Facts { get; set; }
    /// <summary>Grows whenever the plan computed for the node differs from the one before, whose digest is <c>PlanSha256</c>.</summary>
    public long PlanRevision { get; set; }
    public byte[]? PlanSha256 { get; set; }
    public uint Version { get; set; }
}
