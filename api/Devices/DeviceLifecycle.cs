using Api.Sandboxes;
using Contracts;

namespace Api.Devices;

/// <summary>The phases of a device, from what is stored of it, what its node says and what an operator wishes. Pure: a table in the tests.
/// A device that anybody may still hold is never Available, and one that anybody has quarantined never becomes it.</summary>
public static class DeviceLifecycle
{
    /// <summary>The phase, and whether its sandbox keeps it.</summary>
    public readonly record struct Next(DevicePhase Phase, bool Keeps);

    /// <summary>What the end of a quarantine changes.</summary>
    public enum Release { NotQuarantined, Unchanged, Changed }

    /// <summary>What a device is once its node has shown it. <c>sandbox</c> has it in the store, and <c>holder</c> is that sandbox's phase (null: there is none any more);
    /// <c>heldBy</c> is whom the node has not cleaned it of yet.</summary>
    public static Next Observe(Guid? sandbox, Phase? holder, Guid? heldBy, bool quarantinedByNode, bool quarantinedByOperator)
    {
        var heldByIt = holder is not null && heldBy == sandbox;
        if (sandbox is not null && !SandboxLifecycle.MayRelease(holder, heldByIt))
            return new(holder is Phase.Stopped or Phase.Failed or Phase.Pending or Phase.Deleting ? DevicePhase.Cleaning : DevicePhase.Assigned, true);
        if (quarantinedByNode) return new(DevicePhase.Quarantined, false);
        if (heldBy is not null) return new(DevicePhase.Cleaning, false);
        return new(quarantinedByOperator ? DevicePhase.Quarantined : DevicePhase.Available, false);
    }

    /// <summary>One that its node no longer shows: a holder whose guest may still run keeps it; any other has lost it, and nobody gets it until the node shows it again.</summary>
    public static Next Missing(DevicePhase phase, Guid? sandbox, Phase? holder) =>
        sandbox is not null && !SandboxLifecycle.MayRelease(holder, heldByIt: false) ? new(phase, true) : new(DevicePhase.Quarantined, false);

    /// <summary>An operator takes it out: at once when it is free, else when its node says that its tenancy is over.</summary>
    public static DevicePhase Quarantine(DevicePhase phase) => phase == DevicePhase.Available ? DevicePhase.Quarantined : phase;

    /// <summary>Whether there is anything to release, and what the device's phase is then. What its node has quarantined stays so until the node has lifted it;
    /// one that its node does not show must be seen clean before it is handed out.</summary>
    public static (Release Outcome, DevicePhase Phase) Lift(DevicePhase phase, bool present, bool byOperator, DateTimeOffset? byNodeAt, DateTimeOffset? liftAsked)
    {
        if (!byOperator && byNodeAt is null) return (Release.NotQuarantined, phase);
        if (!byOperator && byNodeAt == liftAsked) return (Release.Unchanged, phase);
        return (Release.Changed, phase != DevicePhase.Quarantined || byNodeAt is not null ? phase : present ? DevicePhase.Available : DevicePhase.Cleaning);
    }

    /// <summary>The wish to lift a quarantine is over once the node shows none, or another.</summary>
    public static DateTimeOffset? LiftStillWanted(DateTimeOffset? liftAsked, DateTimeOffset? byNodeAt) => liftAsked is not null && liftAsked == byNodeAt ? liftAsked : null;
}
