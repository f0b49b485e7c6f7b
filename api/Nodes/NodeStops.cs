using Contracts;

namespace Api.Nodes;

/// <summary>Why a sandbox was ended by what operators do with its node, each with a sentence and what helps its owner. One table.</summary>
public static class NodeStops
{
    public const string Drained = "NodeDrained", Decommissioned = "NodeDecommissioned";

    public static readonly IReadOnlyDictionary<string, (string Message, string Remedy)> All = new Dictionary<string, (string, string)>(StringComparer.Ordinal)
    {
        [Drained] = ("Its node was drained, and its deadline came while it ran.", "Start it again (POST /v1/sandboxes/{id}/start): it is placed on another node. With restart onFailure it is started again by itself."),
        [Decommissioned] = ("Its node was taken out of service while it could not be seen, and its guest is gone.", "Start it again (POST /v1/sandboxes/{id}/start): it is placed on another node. With restart onFailure it is started again by itself."),
    };

    public static Failure Of(string reason, DateTimeOffset at) => new(reason, All[reason].Message, All[reason].Remedy, at);
}
