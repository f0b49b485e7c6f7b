using Contracts;

namespace Api.Devices;

/// <summary>One assignable function of a node. One nullable sandbox id: a double assignment cannot be stored.</summary>
public sealed class Device
{
    public Guid Id { get; init; }
    public Guid NodeId { get; init; }
    public required string Address { get; init; }
    public required string Class { get; set; }
    public required string VendorId { get; set; }
    public required string DeviceId { get; set; }
    public required string Description { get; set; }
    public Origin Origin { get; set; }
    public DevicePhase Phase { get; set; }
    public Guid? SandboxId { get; set; }
    /// <summary>Of the node's last report: why the node hands it out no more; or that it has vanished.</summary>
    public Failure? Quarantine { get; set; }
    /// <summary>Why an operator has taken it out; of a held device it takes effect after the tenancy.</summary>
    public Failure? OperatorQuarantine { get; set; }
    /// <summary>The time of the node's own quarantine that an operator has lifted and the node still shows.</summary>
    public DateTimeOffset? LiftQuarantineOf { get; set; }
    public List<Viommu> Viommus { get; set; } = [];
    public bool FitsKvmtool { get; set; }
    public Verdict? Verdict { get; set; }
    /// <summary>The database's, of the verdict's class: placement reads it of all devices, the verdict is the most of a row.</summary>
    public string? VerdictClass { get; private set; }
    /// <summary>In the node's last report. A device that went missing keeps its row, and its tenant while that may run.</summary>
    public bool Present { get; set; }
    public uint Version { get; set; }
}
