using Contracts;

namespace Api.Sandboxes;

/// <summary>Whether a guest that has ended is started again, and when. Pure: tables and properties in the tests.</summary>
public static class RestartDecision
{
    public const int DefaultBackoffSeconds = 10, MaxBackoffSeconds = 300, MaxRestarts = 1000;
    /// <summary>What has run for so long is well: its next end is the first again.</summary>
    public static readonly TimeSpan Well = TimeSpan.FromMinutes(10);

    public enum Answer
    {
        /// <summary>It stays as it has ended.</summary>
        No,
        /// <summary>Its policy would start it again, but has done so as often as it may.</summary>
        Exhausted,
        After,
    }

    /// <summary><c>Restarts</c>: how many there were in a row before the one that is decided.</summary>
    public readonly record struct Decision(Answer Answer, TimeSpan Delay, int Restarts);

    /// <summary>A run's end. <c>Failed</c>: by its own fault or its machine's, not by its own wish. <c>RanFor</c>: of this run, zero when it never ran.</summary>
    public readonly record struct End(DesiredState Desired, bool Failed, bool Moves, TimeSpan RanFor);

    /// <summary>The policy that a valid request asks for.</summary>
    public static RestartPolicy? Of(RestartRequest? request) => request is null ? null : new RestartPolicy(request.Policy!.Value, request.MaxRestarts, request.BackoffSeconds ?? DefaultBackoffSeconds);

    public static Decision Of(RestartPolicy? policy, End end, int restarts)
    {
        if (policy is null || policy.Policy == RestartWhen.Never || end.Desired == DesiredState.Deleted) return new(Answer.No, default, restarts);
        // Its node was drained: that is no fault of its own, and nothing to wait for.
        if (end.Moves) return new(Answer.After, TimeSpan.Zero, restarts);
        if (end.Desired != DesiredState.Running || !end.Failed && policy.Policy != RestartWhen.Always) return new(Answer.No, default, restarts);
        var inARow = end.RanFor >= Well ? 0 : restarts;
        return policy.MaxRestarts is { } most && inARow >= most ? new(Answer.Exhausted, default, inARow) : new(Answer.After, Backoff(policy.BackoffSeconds, inARow), inARow);
    }

    /// <summary>It doubles with each start up to five minutes.</summary>
    public static TimeSpan Backoff(int firstSeconds, int restarts) => TimeSpan.FromSeconds(Math.Min(MaxBackoffSeconds, firstSeconds * (long)(1 << Math.Min(restarts, 9))));

    /// <summary>Of the entries of phases, oldest first: how long the run that ends at <paramref name="now"/> has run.</summary>
    public static TimeSpan RanFor(IReadOnlyList<PhaseEntry> phases, DateTimeOffset now)
    {
        for (var i = phases.Count - 1; i >= 0; i--)
        {
            // A node that could not be seen for a while does not break a run.
            if (phases[i].Phase is Phase.Pending or Phase.Scheduled) return TimeSpan.Zero;
            if (phases[i].Phase == Phase.Running && !phases.Take(i).Reverse().TakeWhile(p => p.Phase is not (Phase.Pending or Phase.Scheduled)).Any(p => p.Phase == Phase.Running)) return now - phases[i].At;
        }
        return TimeSpan.Zero;
    }
}
