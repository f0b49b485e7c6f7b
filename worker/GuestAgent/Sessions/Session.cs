using Contracts;

namespace GuestAgent.Sessions;

// One session, on a thread of its own: what the worker asks of it arrives on the agent's loop and is taken on the session's thread.
// Guarantees: it tells exactly one end; no more frames of output than the worker has given credit for; input that waits is bounded by the credit that it has told.
// Assumes: nothing of the worker's steps, whose limits are checked again. On a crash of the agent its sessions end with it, and the program of each.
internal abstract unsafe class Session(Guid id, Action<AgentMessage> tell)
{
    private const int StackBytes = 256 * 1024;
    private readonly object _gate = new();
    private readonly Queue<byte[]> _input = new();
    private readonly Queue<int> _signals = new();
    private int _credit = GuestSessions.Window;
    private bool _closed;

    /// <summary>Readable whenever a step has arrived.</summary>
    protected int WakeDescriptor { get; } = LibC.EventDescriptor(0, LibC.CloseOnExec | LibC.NonBlock);

    public Guid Id => id;

    protected bool IsClosed { get { lock (_gate) return _closed; } }

    protected int Credit { get { lock (_gate) return _credit; } }

    public void Begin() => new Thread(() =>
    {
        var ended = EndOf();
        LibC.Close(WakeDescriptor);
        tell(new AgentOfSession(id, ended));
    }, StackBytes)
    { IsBackground = true }.Start();

    /// <summary>On the agent's loop, for a session whose end it has not seen.</summary>
    public void Take(ToSession step)
    {
        lock (_gate)
        {
            switch (step)
            {
                case SessionInput { Data: { Length: <= GuestSessions.MaxFrameBytes } data } when _input.Count < GuestSessions.Window:
                    _input.Enqueue(data);
                    break;
                case SessionMore { Frames: > 0 and <= GuestSessions.Window } more:
                    _credit = Math.Min(GuestSessions.Window, _credit + more.Frames);
                    break;
                case SessionSignal signal when _signals.Count < GuestSessions.Window:
                    _signals.Enqueue(signal.Signal);
                    break;
                default:
                    // A close, or what the protocol does not allow.
                    _closed = true;
                    break;
            }
        }
        Wake();
    }

    protected abstract SessionEnded Run();

    protected void Tell(OfSession step) => tell(new AgentOfSession(id, step));

    protected void TellOutput(int stream, ReadOnlySpan<byte> data)
    {
        lock (_gate)
            _credit--;
        Tell(new SessionOutput(stream, data.ToArray()));
    }

    protected byte[]? NextInput()
    {
        lock (_gate)
        {
            if (!_input.TryDequeue(out var data))
                return null;
            Tell(new SessionTook(1));
            return data;
        }
    }

    protected int? NextSignal()
    {
        lock (_gate)
            return _signals.TryDequeue(out var signal) ? signal : null;
    }

    /// <summary>Until a step arrives.</summary>
    protected void WaitForStep()
    {
        var item = new LibC.PollItem { Descriptor = WakeDescriptor, Wanted = LibC.PollIn };
        LibC.Poll(&item, 1, -1);
        Heard();
    }

    protected void Heard()
    {
        ulong count;
        LibC.Read(WakeDescriptor, &count, sizeof(ulong));
    }

    private SessionEnded EndOf()
    {
        try
        {
            return Run();
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            return FileProblem.Of(problem);
        }
    }

    private void Wake()
    {
        ulong one = 1;
        LibC.Write(WakeDescriptor, &one, sizeof(ulong));
    }
}
