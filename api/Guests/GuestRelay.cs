using Api.Nodes;
using Contracts;
using Microsoft.AspNetCore.SignalR;

namespace Api.Guests;

/// <summary>Sessions in guests that requests to this replica have open, and the nodes whose connections end here (Contracts/GuestSessions.cs).
/// Guarantees: a session is told only what its own node says of it, in order, and of one end, also when the node's connection is lost; at most <see cref="GuestSessions.MaxOfSandbox"/> of a sandbox.
/// Assumes: a node is connected to one replica, and its sandboxes' sessions can be had there only: another replica passes the request on (Replicas/GuestForwarding.cs) and opens none.
/// On a crash the requests are gone with it; the worker ends in the guest what came over the lost connection.</summary>
public sealed class GuestRelay(IHubContext<NodeHub> hub)
{
    private readonly Lock gate = new();
    private readonly Dictionary<Guid, string> nodes = [];
    private readonly Dictionary<Guid, GuestSession> sessions = [];

    public abstract record Opening
    {
        public sealed record Here(GuestSession Session) : Opening;
        public sealed record Elsewhere : Opening;
        public sealed record TooMany : Opening;
    }

    /// <summary>That connection is the node's own.</summary>
    public void Connected(Guid node, string connection)
    {
        Disconnected(node, null, except: connection);
        lock (gate) nodes[node] = connection;
    }

    /// <summary>Of a connection that has ended, or is the node's own no more.</summary>
    public void Disconnected(Guid node, string? connection, string? except = null)
    {
        List<GuestSession> lost;
        lock (gate)
        {
            if (connection is not null && nodes.GetValueOrDefault(node) == connection) nodes.Remove(node);
            lost = sessions.Values.Where(s => s.Node == node && (connection is null || s.Connection == connection) && s.Connection != except).ToList();
        }
        foreach (var session in lost) session.Told(new SessionEnded(SessionReasons.NodeLost));
    }

    /// <summary>Whether the node's connection ends here.</summary>
    public bool IsHere(Guid node)
    {
        lock (gate) return nodes.ContainsKey(node);
    }

    public Opening Open(Guid node, Guid sandbox)
    {
        lock (gate)
        {
            if (!nodes.TryGetValue(node, out var connection)) return new Opening.Elsewhere();
            if (sessions.Values.Count(s => s.SandboxId == sandbox) >= GuestSessions.MaxOfSandbox) return new Opening.TooMany();
            var session = new GuestSession(node, sandbox, connection, SendAsync, Close);
            sessions.Add(session.Id, session);
            return new Opening.Here(session);
        }
    }

    public GuestSession? Find(Guid sandbox, Guid session)
    {
        lock (gate) return sessions.TryGetValue(session, out var found) && found.SandboxId == sandbox ? found : null;
    }

    /// <summary>False when the node says what is not its own.</summary>
    public bool Told(Guid node, NodeOfSession told)
    {
        GuestSession? session;
        lock (gate) sessions.TryGetValue(told.Session, out session);
        // A session that has just been closed here is no news.
        if (session is null) return true;
        if (session.Node != node) return false;
        session.Told(told.Step);
        return true;
    }

    private Task SendAsync(GuestSession session, ToSession step) =>
        hub.Clients.Client(session.Connection).SendAsync(NodeProtocol.ToSession, new NodeToSession(session.SandboxId, session.Id, step), CancellationToken.None);

    private void Close(GuestSession session)
    {
        lock (gate) sessions.Remove(session.Id);
    }
}
