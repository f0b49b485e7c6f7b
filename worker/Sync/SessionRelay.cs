using System.Threading.Channels;
using Contracts;
using Microsoft.AspNetCore.SignalR.Client;
using Microsoft.Extensions.Logging;
using Worker.Agent;
using Worker.Vms;

namespace Worker.Sync;

// Passes sessions in guests on, over one connection to the API. Guarantees: the steps of a session in order, both ways; what the API asked for over a connection
// ends in the guest when that connection ends, because nobody can be told of it any more. What waits to be told is bounded by the sessions' credit.
public sealed class SessionRelay(HubConnection connection, VmManager vms, ILogger log)
{
    private readonly Channel<NodeOfSession> _told = Channel.CreateUnbounded<NodeOfSession>();
    private readonly Lock _lock = new();
    private readonly Dictionary<Guid, AgentSessions> _asked = [];
    private bool _ended;

    public bool IsInUse
    {
        get
        {
            lock (_lock)
                return _asked.Count > 0;
        }
    }

    /// <summary>A step of the API.</summary>
    public void Take(NodeToSession asked)
    {
        var guest = vms.SessionsOf(asked.SandboxId);
        lock (_lock)
        {
            if (_ended)
                return;
            if (asked.Step is SessionOpen && guest is not null)
                _asked[asked.Session] = guest;
            else if (!_asked.TryGetValue(asked.Session, out guest))
            {
                if (asked.Step is SessionOpen)
                    _told.Writer.TryWrite(new(asked.SandboxId, asked.Session, new SessionEnded(SessionReasons.AgentNotReady)));
                return;
            }
        }
        guest.Do(asked.Session, asked.Step, step => Tell(asked.SandboxId, asked.Session, step));
    }

    public async Task RunAsync(CancellationToken ct)
    {
        try
        {
            await foreach (var told in _told.Reader.ReadAllAsync(ct))
                await connection.SendAsync(NodeProtocol.OfSession, told, ct);
        }
        finally
        {
            CloseAll();
        }
    }

    private void Tell(Guid sandbox, Guid session, OfSession step)
    {
        if (step is SessionEnded)
            lock (_lock)
                _asked.Remove(session);
        _told.Writer.TryWrite(new(sandbox, session, step));
    }

    private void CloseAll()
    {
        List<KeyValuePair<Guid, AgentSessions>> left;
        lock (_lock)
        {
            _ended = true;
            left = [.. _asked];
            _asked.Clear();
        }
        foreach (var (session, guest) in left)
            guest.Do(session, new SessionClose(), _ => { });
        if (left.Count > 0)
            log.LogInformation("{Count} sessions in guests are closed: the connection to the API has ended", left.Count);
    }
}
