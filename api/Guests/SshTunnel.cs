using System.Net.WebSockets;
using Api.Http;
using Contracts;

namespace Api.Guests;

/// <summary>The guest's SSH port as a WebSocket of binary messages, each any part of the stream. Guarantees: bytes in order both ways; whoever closes ends both sides,
/// and the other is told by a close frame: 1000 when the guest or the client closed, 1003 for a message that is not binary, 1008 when the key has ended, 1011 when node or guest were lost.
/// Who does not answer that in time is cut off.</summary>
public static class SshTunnel
{
    private static readonly TimeSpan CloseLimit = TimeSpan.FromSeconds(5);

    private readonly record struct Close(WebSocketCloseStatus Status, string? Reason = null);

    private static readonly Close Normal = new(WebSocketCloseStatus.NormalClosure);

    public static async Task<IResult> Open(Guid id, HttpContext http, GuestAccess guests)
    {
        if (!http.WebSockets.IsWebSocketRequest) return ApiProblem.Of(400, "websocket_expected", "This address takes a WebSocket, for the bytes of a connection to the guest's SSH port.");
        return await guests.UseAsync(id, http, new TcpRequest(GuestSessions.SshPort), new { Port = GuestSessions.SshPort }, async (session, _, ct) =>
        {
            using var socket = await http.WebSockets.AcceptWebSocketAsync();
            await PassAsync(socket, session, ct);
            return Results.Empty;
        });
    }

    private static async Task PassAsync(WebSocket socket, GuestSession session, CancellationToken ct)
    {
        // What is under way at the socket may not be cancelled before its time: that cuts the connection, and with it the close frame.
        using var ends = CancellationTokenSource.CreateLinkedTokenSource(ct);
        using var cut = CancellationTokenSource.CreateLinkedTokenSource(ct);
        var up = UpAsync(socket, session, ends.Token, cut.Token);
        var down = DownAsync(socket, session, ends.Token, cut.Token);
        try
        {
            var close = await await Task.WhenAny(up, down);
            await ends.CancelAsync();
            cut.CancelAfter(CloseLimit);
            await down;
            await socket.CloseOutputAsync(close.Status, close.Reason, cut.Token);
            await up;
            var rest = new byte[GuestSessions.MaxFrameBytes];
            while (socket.State == WebSocketState.CloseSent) await socket.ReceiveAsync(rest.AsMemory(), cut.Token);
        }
        catch (Exception ended) when (ended is WebSocketException or OperationCanceledException or IOException)
        {
            // The client has gone, or must go.
        }
        finally
        {
            await ends.CancelAsync();
            await cut.CancelAsync();
            await Task.WhenAll(up, down).ContinueWith(_ => { }, CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        }
    }

    /// <summary>After <paramref name="ends"/> what comes is dropped, until the client closes.</summary>
    private static async Task<Close> UpAsync(WebSocket socket, GuestSession session, CancellationToken ends, CancellationToken cut)
    {
        var buffer = new byte[GuestSessions.MaxFrameBytes];
        while (true)
        {
            var got = await socket.ReceiveAsync(buffer.AsMemory(), cut);
            if (got.MessageType == WebSocketMessageType.Close) return Normal;
            if (got.MessageType == WebSocketMessageType.Text) return new(WebSocketCloseStatus.InvalidMessageType, "This takes binary messages.");
            try
            {
                if (got.Count > 0 && !ends.IsCancellationRequested) await session.WriteAsync(buffer.AsMemory(0, got.Count), ends);
            }
            catch (OperationCanceledException) when (ends.IsCancellationRequested && !cut.IsCancellationRequested)
            {
                // The other side has ended.
            }
        }
    }

    private static async Task<Close> DownAsync(WebSocket socket, GuestSession session, CancellationToken ends, CancellationToken cut)
    {
        try
        {
            while (true)
            {
                var step = await session.ReadAsync(ends);
                if (step is SessionOutput { Data.Length: > 0 } output) await socket.SendAsync(output.Data, WebSocketMessageType.Binary, true, cut);
                // A guest that says no more has closed its half, which is the end of ssh.
                else return step is SessionEnded { Reason: not SessionReasons.Done } lost ? Of(lost) : Normal;
            }
        }
        catch (OperationCanceledException) when (ends.IsCancellationRequested && !cut.IsCancellationRequested)
        {
            return Normal;
        }
    }

    private static Close Of(SessionEnded lost) =>
        new(lost.Reason == SessionReasons.KeyEnded ? WebSocketCloseStatus.PolicyViolation : WebSocketCloseStatus.InternalServerError, lost.Reason);
}
