using System.Collections.Concurrent;
using Contracts;
using Microsoft.AspNetCore.SignalR.Client;

namespace Api.Tests.Guests;

/// <summary>The guests of a stand-in node: what the API asks of them is kept, and answered by the test's own rule.</summary>
public sealed class StandInGuest
{
    private readonly StandInNode _node;

    public StandInGuest(StandInNode node, Func<StandInGuest, NodeToSession, Task> answer)
    {
        _node = node;
        node.Connection.On<NodeToSession>(NodeProtocol.ToSession, asked =>
        {
            Asked.Enqueue(asked);
            _ = answer(this, asked);
        });
    }

    public ConcurrentQueue<NodeToSession> Asked { get; } = new();

    public Task SayAsync(NodeToSession asked, params OfSession[] steps) => SayAsync(asked.SandboxId, asked.Session, steps);

    public async Task SayAsync(Guid sandbox, Guid session, params OfSession[] steps)
    {
        foreach (var step in steps) await _node.Connection.SendAsync(NodeProtocol.OfSession, new NodeOfSession(sandbox, session, step));
    }

    /// <summary>Begins whatever it is asked, echoes what is sent, and ends when there is no more.</summary>
    public static Task Echo(StandInGuest guest, NodeToSession asked) => asked.Step switch
    {
        SessionOpen { Request: FileGetRequest } => guest.SayAsync(asked, new SessionOpened(5, 420, new string('a', 64)), new SessionOutput(1, "hello"u8.ToArray()), new SessionEnded(SessionReasons.Done)),
        SessionOpen => guest.SayAsync(asked, new SessionOpened()),
        SessionInput { Data.Length: > 0 } input => guest.SayAsync(asked, new SessionTook(1), new SessionOutput(1, input.Data)),
        SessionInput => guest.SayAsync(asked, new SessionOutput(2, "ended"u8.ToArray()), new SessionEnded(SessionReasons.Done, ExitCode: 3, SizeBytes: 5, Sha256: new string('b', 64))),
        _ => Task.CompletedTask,
    };
}
