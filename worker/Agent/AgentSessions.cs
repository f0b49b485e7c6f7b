using System.Threading.Channels;
using Contracts;

namespace Worker.Agent;

// The sessions of one guest, as its agent's channel sees them. Guarantees: whoever opened one is told of its steps in order, and of exactly one end, also when the agent,
// its guest or the connection is lost. A guest has no more frames on their way than it was given credit for, and tells only of sessions that it was asked for:
// anything else is nonsense, which the channel counts and bounds like every line that is none of the protocol.
// Assumes: whoever opens one takes what it is told without waiting; credit bounds how much that is.
/// <param name="cut">Ends the connection to a guest whose port takes nothing.</param>
public sealed class AgentSessions(Action cut)
{
    /// <summary>Steps towards the guest that wait for its port. More than credit allows of data, and room for the rest.</summary>
    private const int MaxWaiting = 256;
    private readonly Lock _lock = new();
    private readonly Dictionary<Guid, Open> _open = [];
    private readonly Channel<AgentToSession> _commands = Channel.CreateBounded<AgentToSession>(MaxWaiting);
    private int? _protocol;
    private Guid? _instance;

    private sealed class Open(Action<OfSession> tell)
    {
        /// <summary>Null once nobody is to be told any more: the agent's end is waited for.</summary>
        public Action<OfSession>? Tell = tell;
        public int OutputCredit = GuestSessions.Window, InputCredit;
        public bool IsOpened;
    }

    internal ChannelReader<AgentToSession> Commands => _commands.Reader;

    /// <summary>How many the guest has not ended yet.</summary>
    public int Count { get { lock (_lock) return _open.Count; } }

    /// <summary>A step towards the guest.</summary>
    public void Do(Guid session, ToSession step, Action<OfSession> tell)
    {
        lock (_lock)
        {
            if (step is SessionOpen)
            {
                if (Refusal(session) is { } reason)
                {
                    tell(new SessionEnded(reason));
                    return;
                }
                _open.Add(session, new Open(tell));
            }
            else if (!_open.TryGetValue(session, out var open) || open.Tell is null)
                return;
            else if (step is SessionInput && --open.InputCredit < 0)
                throw new InvalidOperationException("The API sent more input than the guest had given credit for.");
            else if (step is SessionMore more)
                open.OutputCredit = Math.Min(GuestSessions.Window, open.OutputCredit + more.Frames);
            else if (step is SessionClose)
                open.Tell = null;
            if (!_commands.Writer.TryWrite(new AgentToSession(session, step)))
                cut();
        }
    }

    /// <summary>False when the guest may not say that.</summary>
    internal bool Take(AgentOfSession said)
    {
        lock (_lock)
        {
            if (!_open.TryGetValue(said.Session, out var open))
                return false;
            switch (said.Step)
            {
                case SessionOpened opened when !open.IsOpened && GuestSteps.IsSound(opened):
                    (open.IsOpened, open.InputCredit) = (true, GuestSessions.Window);
                    break;
                case SessionOutput output when open.IsOpened && open.OutputCredit > 0 && GuestSteps.IsSound(output):
                    open.OutputCredit--;
                    break;
                case SessionTook { Frames: > 0 and <= GuestSessions.Window } took when open.IsOpened && open.InputCredit + took.Frames <= GuestSessions.Window:
                    open.InputCredit += took.Frames;
                    break;
                case SessionEnded ended when GuestSteps.IsSound(ended):
                    _open.Remove(said.Session);
                    break;
                default:
                    open.Tell?.Invoke(new SessionEnded(SessionReasons.AgentMisbehaves));
                    open.Tell = null;
                    _commands.Writer.TryWrite(new AgentToSession(said.Session, new SessionClose()));
                    return false;
            }
            open.Tell?.Invoke(said.Step);
            return true;
        }
    }

    /// <summary>An agent is there. Another than the one before knows nothing of what that was asked.</summary>
    internal void Greeted(AgentReady ready)
    {
        lock (_lock)
        {
            if (ready.Instance != _instance)
                EndAll();
            (_protocol, _instance) = (ready.Protocol, ready.Instance);
        }
    }

    /// <summary>The connection has ended: an agent that still lives has closed what it had.</summary>
    internal void Lost()
    {
        lock (_lock)
        {
            EndAll();
            (_protocol, _instance) = (null, null);
            while (_commands.Reader.TryRead(out _))
            {
            }
        }
    }

    private string? Refusal(Guid session) =>
        _protocol is not { } protocol ? SessionReasons.AgentNotReady
        : protocol < GuestSessions.SinceProtocol ? SessionReasons.AgentTooOld
        : _open.Count >= GuestSessions.MaxOfSandbox ? SessionReasons.TooManySessions
        : _open.ContainsKey(session) ? SessionReasons.InvalidRequest : null;

    private void EndAll()
    {
        foreach (var open in _open.Values)
            open.Tell?.Invoke(new SessionEnded(SessionReasons.AgentLost));
        _open.Clear();
    }
}
