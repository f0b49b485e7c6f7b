namespace Worker.Sync;

// Why a machine is not let in as a node, or not any more. Codes with underscores are the API's own. One table; docs/neoverse-node.md is written from it.
public static class JoinReasons
{
    public static readonly Reason TokenUnreadable = new("JoinTokenUnreadable", "The join token file holds no join token.", "Write the token that POST /v1/nodes/join-tokens answered into it, with mode 0600.");
    public static readonly Reason TokenInvalid = new("join_token_invalid", "The API does not know that join token.", "Make another with POST /v1/nodes/join-tokens and write it into the join token file.");
    public static readonly Reason TokenUsed = new("join_token_used", "Another machine has used that join token.", "Make a join token for this machine alone, with POST /v1/nodes/join-tokens.");
    public static readonly Reason NodeInUse = new("node_in_use", "The node that shall be replaced still reports.", "Stop the worker of the machine that is the node now, wait until the node is Unreachable, and start this worker again.");
    public static readonly Reason NodeExists = new("node_exists", "The API refuses.", "Make a join token for another name, or one with replace, with POST /v1/nodes/join-tokens.");
    public static readonly Reason TokenUnknown = new("node_token_unknown", "The API does not know this node's token.", "If another machine has replaced this node, stop this worker; else make a join token with replace, with POST /v1/nodes/join-tokens.");
    public static readonly Reason TokenReplaced = new("node_token_replaced", "The node has another token by now, and this machine does not have it.", "If another machine has replaced this node, stop this worker; else make a join token with replace, with POST /v1/nodes/join-tokens.");
    public static readonly Reason TokenRevoked = new("node_token_revoked", "An operator has revoked this node's token.", "Make a join token with replace, with POST /v1/nodes/join-tokens, remove the token file and start the worker again.");
    public static readonly Reason Decommissioned = new("node_decommissioned", "This node was taken out of service.", "Stop the worker; to use the machine again, make a join token, remove the token file and start the worker again.");
    public static readonly Reason TokenNotStored = new("TokenNotStored", "Another token of the node's own could not be stored; the present one goes on.", "Let the worker write into the directory of its token file (Worker__TokenFile).");
    public static readonly Reason ApiTooOld = new("ApiTooOld", "The API speaks a version of the protocol that is more than one minor version older than this worker's.", "Update the API, or install the worker that belongs to it. Guests go on meanwhile.");
    public static readonly Reason ApiTooNew = new("ApiTooNew", "The API speaks a version of the protocol that is more than one minor version newer than this worker's.", "Update the worker. Guests go on meanwhile.");
    public static readonly Reason UnexpectedAnswer = new("UnexpectedAnswer", "The API's address answered nothing that this worker understands.", "Check that Worker__ApiUrl is the address of the API itself, and that API and worker are of the same version.");

    public static readonly IReadOnlyList<Reason> All = [TokenUnreadable, TokenInvalid, TokenUsed, NodeInUse, NodeExists, TokenUnknown, TokenReplaced, TokenRevoked, Decommissioned, TokenNotStored, ApiTooOld, ApiTooNew, UnexpectedAnswer];
}
