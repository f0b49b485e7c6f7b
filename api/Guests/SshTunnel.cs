using System.Net.WebSockets;
using Api.Http;
using Contracts;

namespace Api.Guests;

/// <summary>The guest's SSH port as a WebSocket of binary messages, each any part of the stream. Guarantees: bytes in order both ways; whoever closes ends both sides.</summary>
public static class SshTunnel
{
    public static async Task<IResult> Open(Guid id, HttpContext http, GuestAccess guests)
    {
        if (!http.WebSockets.IsWebSocketRequest) return ApiProblem.Of(400, "websocket_expected", "This address takes a WebSocket, for the bytes of a connection to the guest's SSH port.");
        return await guests.UseAsync(id, http, new TcpRequest(GuestSessions.SshPort), new { Port = GuestSessions.SshPort }, async (session, _, ct) =>
        {
            using var socket = await http.WebSockets.AcceptWebSocketAsync();
            using var ends = CancellationTokenSource.CreateLinkedTokenSource(ct);
            var up = UpAsync(socket, session, ends);
            try
            {
                await DownAsync(socket, session, ends.Token);
            }
            catch (Exception ended) when (ended is WebSocketException or OperationCanceledException)
            {
                // Either side has gone.
            }
            finally
            {
                await ends.CancelAsync();
                await up;
            }
            return Results.Empty;
        });
    }

    private static async Task UpAsync(WebSocket socket, GuestSession session, CancellationTokenSource ends)
    {
        var buffer = new byte[GuestSessions.MaxFrameBytes];
        try
        {
            while (true)
            {
                var got = await socket.ReceiveAsync(buffer.AsMemory(), ends.Token);
                if (got.MessageType != WebSocketMessageType.Binary) break;
                if (got.Count > 0 && !await session.WriteAsync(buffer.AsMemory(0, got.Count), ends.Token)) return;
            }
            await ends.CancelAsync();
        }
        catch (Exception ended) when (ended is WebSocketException or OperationCanceledException)
        {
            await ends.CancelAsync();
        }
    }

    private static async Task DownAsync(WebSocket socket, GuestSession session, CancellationToken ct)
    {
        while (await session.ReadAsync(ct) is SessionOutput { Data.Length: > 0 } output)
            await socket.SendAsync(output.Data, WebSocketMessageType.Binary, true, ct);
        await socket.CloseOutputAsync(WebSocketCloseStatus.NormalClosure, null, ct);
    }
}
