using Api.Nodes;
using Contracts;

namespace Api.Sandboxes;

/// <summary>Who has stopped a sandbox, where the service did so by itself: a storm's policy, a preemption, its node's drain, the end of its lease. Pure.</summary>
public static class SandboxStops
{
    /// <summary>The service's own reason stays with the end unless that has a failure of its own.</summary>
    public static Failure? FailureOfEnd(Failure? observed, Failure? stored) => observed ?? (IsOwn(stored) ? stored : null);

    /// <summary>A condition of the end as its node tells it, but with the one who wanted it: the node only knows that it was planned.</summary>
    public static Condition Told(Condition condition, Failure? stored) =>
        IsOwn(stored) && StopReasons.IsAsPlanned(condition.Reason) ? condition with { Reason = stored!.Reason, Message = stored.Message } : condition;

    private static bool IsOwn(Failure? stored) => stored?.Reason is StormReasons.Storm or PreemptionNotices.Reason or NodeStops.Drained or SandboxLeases.Expired;
}
