using System.Runtime.Versioning;
using Contracts;

namespace GuestAgent.Sessions;

/// <summary>The agent's sessions, known to its loop only. Guarantees: each that was asked for ends once; at most <see cref="GuestSessions.MaxOfSandbox"/> at a time.</summary>
[SupportedOSPlatform("linux")]
internal sealed class OpenSessions(Workload workload, Action<AgentMessage> tell)
{
    private readonly Dictionary<Guid, Session> _open = [];

    public void Take(AgentToSession told)
    {
        if (_open.TryGetValue(told.Session, out var session))
            session.Take(told.Step is SessionOpen ? new SessionClose() : told.Step);
        else if (told.Step is not SessionOpen { Request: { } request })
            return;
        else if (_open.Count >= GuestSessions.MaxOfSandbox)
            tell(new AgentOfSession(told.Session, new SessionEnded(SessionReasons.TooManySessions)));
        else if (Of(told.Session, request) is { } begun)
        {
            _open.Add(told.Session, begun);
            begun.Begin();
        }
        else
            tell(new AgentOfSession(told.Session, new SessionEnded(SessionReasons.InvalidRequest)));
    }

    /// <summary>Before its end is told.</summary>
    public void Forget(Guid session) => _open.Remove(session);

    public void CloseAll()
    {
        foreach (var session in _open.Values)
            session.Take(new SessionClose());
    }

    private Session? Of(Guid id, SessionRequest request) => request switch
    {
        ExecRequest exec => new ExecSession(id, exec, workload, tell),
        FilePutRequest put => new FilePutSession(id, put, tell),
        FileGetRequest get => new FileGetSession(id, get, tell),
        TcpRequest tcp => new TcpSession(id, tcp, tell),
        _ => null,
    };
}
