namespace Worker.Vms.Simulated;

/// <summary>How long things take, in nanoseconds of virtual time. They are plausible and nobody's measurement: the machine says how the parts depend on each other,
/// not how fast any hardware is.</summary>
internal sealed record SimulatedTimings
{
    public static readonly SimulatedTimings Default = new();

    /// <summary>One read of a table by a walk.</summary>
    public long WalkRead { get; init; } = 40;
    /// <summary>One way between device and SMMU.</summary>
    public long Link { get; init; } = 250;
    /// <summary>One command of the command queue.</summary>
    public long Command { get; init; } = 60;
    /// <summary>From a record in an empty queue to the driver that reads it.</summary>
    public long Interrupt { get; init; } = 3_000;
    /// <summary>The kernel's part of one page fault: at least this, and up to <see cref="FaultSpread"/> more.</summary>
    public long Fault { get; init; } = 1_500;
    public int FaultSpread { get; init; } = 6_000;
    /// <summary>How long a device waits for more requests before it closes a group of page requests.</summary>
    public long GroupWindow { get; init; } = 500;
    /// <summary>After which an ATC invalidation without an answer has failed.</summary>
    public long InvalidationTimeout { get; init; } = 1_000_000;
    public long Reset { get; init; } = 100_000;
}
