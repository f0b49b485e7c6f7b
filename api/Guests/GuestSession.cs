using System.Threading.Channels;
using Contracts;

namespace Api.Guests;

/// <summary>One session in a guest, for one request. Guarantees: what waits to be read is at most what credit was given for; reading gives the credit back; input waits for credit.
/// Disposed before its end, it is closed in the guest. One reader and one writer at a time.</summary>
public sealed class GuestSession(Guid node, Guid sandbox, string connection, Func<GuestSession, ToSession, Task> send, Action<GuestSession> closed) : IAsyncDisposable
{
    private readonly Channel<OfSession> steps = Channel.CreateBounded<OfSession>(GuestSessions.Window + 4);
    private readonly SemaphoreSlim credit = new(0);
    private readonly Lock gate = new();
    private volatile bool ended;

    public Guid Id { get; } = Guid.NewGuid();
    public Guid Node => node;
    public Guid SandboxId => sandbox;
    public string Connection => connection;
    /// <summary>See <see cref="GiveUp"/>.</summary>
    public bool IsGivenUp { get; private set; }

    public Task BeginAsync(SessionRequest request) => send(this, new SessionOpen(request));

    public Task SignalAsync(int signal) => send(this, new SessionSignal(signal));

    /// <summary>From the node, or about it.</summary>
    public void Told(OfSession step)
    {
        lock (gate)
        {
            if (ended) return;
            if (step is SessionTook took)
            {
                if (took.Frames is > 0 and <= GuestSessions.Window && credit.CurrentCount + took.Frames <= GuestSessions.Window) credit.Release(took.Frames);
                return;
            }
            if (step is SessionOpened) credit.Release(GuestSessions.Window);
            var isSound = step is SessionOpened or SessionEnded or SessionOutput { Data.Length: <= GuestSessions.MaxFrameBytes } && steps.Reader.Count < GuestSessions.Window + 2;
            var told = isSound ? step : new SessionEnded(SessionReasons.AgentMisbehaves);
            steps.Writer.TryWrite(told);
            if (told is not SessionEnded) return;
            ended = true;
            steps.Writer.TryComplete();
            // Whoever waits to write hears of it.
            credit.Release(GuestSessions.Window + 1);
        }
    }

    /// <summary>Whoever reads it is told that end now, and nothing of what waited; it is closed in the guest when it is disposed. False: it has ended already.</summary>
    public bool GiveUp(string reason)
    {
        lock (gate)
        {
            if (ended) return false;
            while (steps.Reader.TryRead(out _))
            {
            }
            IsGivenUp = true;
            Told(new SessionEnded(reason));
            return true;
        }
    }

    /// <summary>The next opening, output or end. After the end there is none.</summary>
    public async Task<OfSession> ReadAsync(CancellationToken ct)
    {
        var step = await steps.Reader.ReadAsync(ct);
        if (step is SessionOutput && !ended) await send(this, new SessionMore(1));
        return step;
    }

    /// <summary>At most <see cref="GuestSessions.MaxFrameBytes"/>; empty: there is no more. False when the session has ended.</summary>
    public async Task<bool> WriteAsync(ReadOnlyMemory<byte> data, CancellationToken ct)
    {
        await credit.WaitAsync(ct);
        if (ended) return false;
        await send(this, new SessionInput(data.ToArray()));
        return true;
    }

    public async ValueTask DisposeAsync()
    {
        closed(this);
        var open = !ended || IsGivenUp;
        Told(new SessionEnded(SessionReasons.Done));
        if (open) await send(this, new SessionClose());
        credit.Dispose();
    }
}
