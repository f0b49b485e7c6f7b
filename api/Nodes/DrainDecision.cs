using Contracts;

namespace Api.Nodes;

/// <summary>What a drain does with one sandbox of its node. Pure: a table in the tests.</summary>
public static class DrainDecision
{
    /// <summary><c>Tell</c>: its owner hears of the drain. <c>Stop</c>: it is ended now. <c>Moves</c>: once it has ended it waits for another node.</summary>
    public readonly record struct Step(bool Remains, bool Tell, bool Stop, bool Moves);

    /// <summary>Whether a guest may be there, or something of one: what the node has to be rid of before it counts as empty.</summary>
    public static bool Occupies(Phase phase) => phase is not (Phase.Pending or Phase.Stopped or Phase.Failed);

    public static Step Of(NodeDrain drain, Phase phase, DesiredState desired, Guid? told, RestartWhen restart, bool wantsThisNode, DateTimeOffset now)
    {
        if (!Occupies(phase)) return default;
        // What somebody is ending already is told nothing, and is not ended once more.
        var goesOn = desired == DesiredState.Running;
        var stop = goesOn && now >= drain.Deadline;
        return new(true, goesOn && told != drain.Id, stop, stop && restart != RestartWhen.Never && !wantsThisNode);
    }
}
