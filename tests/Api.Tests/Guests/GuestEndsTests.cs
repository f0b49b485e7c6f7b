using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Net.WebSockets;
using Api.Guests;
using Api.Tests.Replicas;
using Contracts;
using Testing;
using Xunit;

namespace Api.Tests.Guests;

/// <summary>How what is open in a guest ends, as its caller sees it over real connections, through a replica that passes it on.</summary>
public sealed class GuestEndsTests(TwoReplicas replicas) : IClassFixture<TwoReplicas>
{
    private static readonly string[] Cat = ["cat"];

    private async Task<(StandInNode Node, HttpClient Client, Guid Id)> RunningAsync(string name)
    {
        var (node, id) = await replicas.RunningAsync(replicas.Second, name);
        return (node, replicas.First.Client(replicas.Service.AdminKey), id);
    }

    private static HttpRequestMessage Exec(Guid id, object body, string? accept = null)
    {
        var request = new HttpRequestMessage(HttpMethod.Post, $"/v1/sandboxes/{id}/exec") { Content = JsonContent.Create(body) };
        if (accept is not null) request.Headers.Accept.Add(new MediaTypeWithQualityHeaderValue(accept));
        return request;
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Exec_WhenItsKeyEnds_SaysSo_AndNothingOfWhatWaited(bool whole)
    {
        var (node, client, id) = await RunningAsync(whole ? "ends-whole" : "ends-lines");
        await using var held = node;
        var guest = new StandInGuest(node, (guest, asked) => asked.Step is SessionOpen ? guest.SayAsync(asked, new SessionOpened(), new SessionOutput(1, "one"u8.ToArray())) : Task.CompletedTask);
        var key = await client.KeyAsync(whole ? "ends-whole" : "ends-lines", Role.Operator);
        using var other = replicas.First.Client(key.Secret);
        var running = other.SendAsync(Exec(id, new { command = Cat }, whole ? null : ExecEndpoint.Lines), HttpCompletionOption.ResponseHeadersRead);
        await Eventually.Async(() => guest.Asked.Any(a => a.Step is SessionMore), "what it put out is read");
        (await client.DeleteAsync($"/v1/keys/{key.Key.Id}")).Dispose();
        using var response = await running;
        if (whole) Assert.Equal("401 key_ended", await response.AnswerAsync());
        else Assert.EndsWith("{\"end\":{\"reason\":\"KeyEnded\"}}\n", await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        await Eventually.Async(() => guest.Asked.Any(a => a.Step is SessionClose), "it is closed in the guest");
    }

    [Theory]
    [InlineData(1, "409 file_changed")]
    [InlineData(2, "200")]
    public async Task File_ThatChangesWhileItIsRead_IsAProblem_AndCutOffOnlyAfterItsFirstFrame(int frames, string answer)
    {
        var (node, client, id) = await RunningAsync($"changed-{frames}");
        await using var held = node;
        var frame = new byte[GuestSessions.MaxFrameBytes];
        var session = Guid.Empty;
        var guest = new StandInGuest(node, async (guest, asked) =>
        {
            if (asked.Step is not SessionOpen) return;
            session = asked.Session;
            await guest.SayAsync(asked, [new SessionOpened(frame.Length * 3L, 420, new string('a', 64)), .. Enumerable.Repeat(new SessionOutput(1, frame), frames)]);
            if (frames == 1) await guest.SayAsync(asked, new SessionEnded(SessionReasons.Changed));
        });
        using var got = await client.GetAsync($"/v1/sandboxes/{id}/files?path=/var/log/growing", HttpCompletionOption.ResponseHeadersRead);
        Assert.Equal(answer, await got.AnswerAsync());
        if (!got.IsSuccessStatusCode) return;
        await guest.SayAsync(id, session, new SessionEnded(SessionReasons.Changed));
        await Assert.ThrowsAnyAsync<Exception>(() => got.Content.ReadAsByteArrayAsync());
    }

    [Fact]
    public async Task File_ThatIsEmpty_HasItsDigest()
    {
        var (node, client, id) = await RunningAsync("empty");
        await using var held = node;
        _ = new StandInGuest(node, (guest, asked) => asked.Step is SessionOpen ? guest.SayAsync(asked, new SessionOpened(0, 420, new string('a', 64)), new SessionEnded(SessionReasons.Done)) : Task.CompletedTask);
        using var got = await client.GetAsync($"/v1/sandboxes/{id}/files?path=/etc/empty");
        Assert.Equal((HttpStatusCode.OK, 0), (got.StatusCode, (await got.Content.ReadAsByteArrayAsync()).Length));
        Assert.True(got.Headers.Contains("Repr-Digest"));
    }

    [Theory]
    [InlineData("guest", WebSocketCloseStatus.NormalClosure, null)]
    [InlineData("half", WebSocketCloseStatus.NormalClosure, null)]
    [InlineData("lost", WebSocketCloseStatus.InternalServerError, "AgentLost")]
    [InlineData("text", WebSocketCloseStatus.InvalidMessageType, "This takes binary messages.")]
    [InlineData("client", WebSocketCloseStatus.NormalClosure, null)]
    [InlineData("key", WebSocketCloseStatus.PolicyViolation, "KeyEnded")]
    public async Task Ssh_HoweverItEnds_SendsACloseFrame(string how, WebSocketCloseStatus status, string? reason)
    {
        var (node, client, id) = await RunningAsync($"ssh-{how}");
        await using var held = node;
        var guest = new StandInGuest(node, (guest, asked) => asked.Step switch
        {
            SessionOpen when how == "guest" => guest.SayAsync(asked, new SessionOpened(), new SessionOutput(1, "bye"u8.ToArray()), new SessionEnded(SessionReasons.Done)),
            SessionOpen when how == "half" => guest.SayAsync(asked, new SessionOpened(), new SessionOutput(1, "bye"u8.ToArray()), new SessionOutput(1, [])),
            SessionOpen when how == "lost" => guest.SayAsync(asked, new SessionOpened(), new SessionOutput(1, "bye"u8.ToArray()), new SessionEnded(SessionReasons.AgentLost)),
            SessionOpen => guest.SayAsync(asked, new SessionOpened(), new SessionOutput(1, "bye"u8.ToArray())),
            _ => Task.CompletedTask,
        });
        var key = await client.KeyAsync($"ssh-{how}", Role.Operator);
        using var socket = new ClientWebSocket();
        socket.Options.SetRequestHeader("Authorization", $"Bearer {key.Secret}");
        await socket.ConnectAsync(new Uri($"{replicas.First.Url.Replace("http", "ws", StringComparison.Ordinal)}/v1/sandboxes/{id}/ssh"), CancellationToken.None);
        var buffer = new byte[100];
        Assert.Equal(3, (await socket.ReceiveAsync(buffer, CancellationToken.None)).Count);
        if (how == "text") await socket.SendAsync("text"u8.ToArray(), WebSocketMessageType.Text, true, CancellationToken.None);
        if (how == "client") await socket.CloseOutputAsync(WebSocketCloseStatus.NormalClosure, null, CancellationToken.None);
        if (how == "key") (await client.DeleteAsync($"/v1/keys/{key.Key.Id}")).Dispose();
        var end = await socket.ReceiveAsync(buffer, CancellationToken.None);
        Assert.Equal((WebSocketMessageType.Close, status, reason ?? ""), (end.MessageType, end.CloseStatus, end.CloseStatusDescription ?? ""));
        if (how is not "client") await socket.CloseOutputAsync(WebSocketCloseStatus.NormalClosure, null, CancellationToken.None);
        if (how is "text" or "client" or "key" or "half") await Eventually.Async(() => guest.Asked.Any(a => a.Step is SessionClose), "it is closed in the guest");
    }
}
