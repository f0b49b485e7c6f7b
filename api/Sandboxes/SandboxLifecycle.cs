using Contracts;

namespace Api.Sandboxes;

/// <summary>What a report of a node means for a stored sandbox. Pure: every phase against every observed state is a table in the tests.
/// Reports of another incarnation are stale and change nothing; a Stopped or Failed incarnation never comes back to life.</summary>
public static class SandboxLifecycle
{
    public abstract record Outcome
    {
        /// <summary>Nothing to store.</summary>
        public sealed record Ignore : Outcome;
        /// <summary>The row is to be removed: the node has nothing left of it.</summary>
        public sealed record Gone : Outcome;
        public sealed record Become(Phase Phase) : Outcome;
    }

    private static readonly Outcome Ignored = new Outcome.Ignore();

    public static Outcome Observe(Phase phase, DesiredState desired, int incarnation, bool launched, int observedIncarnation, VmState observed)
    {
        if (desired == DesiredState.Deleted) return observed == VmState.Absent ? new Outcome.Gone() : Ignored;
        if (phase == Phase.Pending || observedIncarnation != incarnation) return Ignored;
        if (phase is Phase.Stopped or Phase.Failed) return Ignored;
        return observed switch
        {
            VmState.Absent when desired == DesiredState.Stopped => new Outcome.Become(Phase.Stopped),
            VmState.Absent => Ignored,
            VmState.Stopped => new Outcome.Become(Phase.Stopped),
            VmState.Failed => new Outcome.Become(Phase.Failed),
            _ when desired == DesiredState.Stopped => new Outcome.Become(Phase.Stopping),
            VmState.Preparing when phase is Phase.Booting or Phase.Running && launched => Ignored,
            VmState.Preparing => new Outcome.Become(Phase.Preparing),
            VmState.Booting => new Outcome.Become(Phase.Booting),
            VmState.Running => new Outcome.Become(Phase.Running),
            VmState.Stopping => new Outcome.Become(Phase.Stopping),
            _ => throw new InvalidOperationException($"no such state: {observed}"),
        };
    }

    /// <summary>What a storm changes: whether the guest is to be stopped, and whether its devices are to be quarantined.</summary>
    public readonly record struct StormAnswer(bool Stops, bool Quarantines);

    /// <summary>What a policy makes of a storm of the present incarnation. A guest that has ended, or that somebody has stopped, is not stopped once more.</summary>
    public static StormAnswer OnStorm(StormAction action, DesiredState desired, VmState observed, bool quarantined) => new(
        action is StormAction.Stop or StormAction.Quarantine && desired == DesiredState.Running && observed is not (VmState.Stopped or VmState.Failed or VmState.Absent),
        action == StormAction.Quarantine && !quarantined);

    /// <summary>A device is free again once its node no longer counts it as held by its sandbox, and that sandbox is not about to use it.</summary>
    public static bool MayRelease(Phase? phase, bool heldByIt) => !heldByIt && phase is (null or Phase.Stopped or Phase.Failed or Phase.Pending);

    /// <summary>The phases in which a guest may be running on a node: they turn Lost when the node is unreachable.</summary>
    public static bool IsOnNode(Phase phase) => phase is Phase.Scheduled or Phase.Preparing or Phase.Booting or Phase.Running or Phase.Stopping;
}
