using Contracts;

namespace Api.Nodes;

/// <summary>What redeeming a join token does. Pure: a table in the tests.</summary>
public static class JoinDecision
{
    public enum Step
    {
        /// <summary>There is no such node yet.</summary>
        Create,
        /// <summary>The machine is the node already: it gets another token, and nothing else changes.</summary>
        Renew,
        /// <summary>The node becomes this machine.</summary>
        TakeOver,
        TokenUsed,
        NodeExists,
        NodeInUse,
    }

    /// <summary>The present node of the token's name.</summary>
    public readonly record struct Present(Guid? Installation, NodePhase Phase);

    public static Step Of(Guid? usedBy, bool mayReplace, Guid installation, Present? node)
    {
        var isNode = node is { } present && present.Installation == installation;
        // Again by the same machine only as long as it still is the node: it may have been replaced since.
        if (usedBy is not null) return usedBy == installation && isNode ? Step.Renew : Step.TokenUsed;
        if (node is null) return Step.Create;
        if (!mayReplace) return Step.NodeExists;
        if (isNode) return Step.Renew;
        // A node that reports, or was not missed yet: only of an unreachable one are the guests known to be lost.
        return node.Value.Phase is NodePhase.Joining or NodePhase.Unreachable ? Step.TakeOver : Step.NodeInUse;
    }
}
