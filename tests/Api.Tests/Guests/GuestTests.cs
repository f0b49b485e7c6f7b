using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Net.WebSockets;
using System.Text;
using System.Text.Json;
using Api.Guests;
using Contracts;
using Testing;
using Xunit;

namespace Api.Tests.Guests;

/// <summary>Commands, files and tunnels through the API, with a node that the test plays.</summary>
public sealed class GuestTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    private static readonly string[] Cat = ["cat"];

    private async Task<(StandInNode Node, HttpClient Client, Guid Id)> RunningAsync(string name)
    {
        var node = await service.NodeAsync();
        var client = service.Client();
        var sandbox = await client.CreateAsync(name);
        await Eventually.Async(async () => (await node.SyncAsync()).Sandboxes.Any(s => s.Id == sandbox.Id), "it is placed");
        await node.SayAsync(sandbox.Id, VmState.Running);
        return (node, client, sandbox.Id);
    }

    private static HttpRequestMessage Exec(Guid id, object body, string? accept = null)
    {
        var request = new HttpRequestMessage(HttpMethod.Post, $"/v1/sandboxes/{id}/exec") { Content = JsonContent.Create(body) };
        if (accept is not null) request.Headers.Accept.Add(new MediaTypeWithQualityHeaderValue(accept));
        return request;
    }

    private static string Base64(string text) => Convert.ToBase64String(Encoding.UTF8.GetBytes(text));

    [Fact]
    public async Task Exec_AnswersWhole_AndIsToldAndNoted()
    {
        var (node, client, id) = await RunningAsync("whole");
        await using var held = node;
        var guest = new StandInGuest(node, StandInGuest.Echo);
        using var response = await client.SendAsync(Exec(id, new { command = (string[])["cat", "--password=hidden"], environment = new Dictionary<string, string> { ["SECRET"] = "hidden" }, directory = "/tmp", user = 7, timeoutSeconds = 9, stdin = Base64("hello") }));
        var answer = (await response.Content.ReadFromJsonAsync<ExecAnswer>())!;
        Assert.Equal(("hello", "ended", false, new ExecEnd("Done", 3, null)), (Encoding.UTF8.GetString(answer.Stdout), Encoding.UTF8.GetString(answer.Stderr), answer.Truncated, answer.End));
        var asked = (ExecRequest)((SessionOpen)guest.Asked.First().Step).Request;
        Assert.Equal(("--password=hidden", "hidden", "/tmp", 7, 9000L), (asked.Command[1], asked.Environment["SECRET"], asked.Directory, asked.User, asked.TimeoutMilliseconds));
        var told = (await client.GetFromJsonAsync<Page<AuditEntryView>>($"/v1/audit?subject={id}&action={Uri.EscapeDataString("POST /v1/sandboxes/{id}/exec")}"))!.Items.Single();
        Assert.Equal("""{"command":"cat","arguments":1}""", told.After!.ToJsonString());
        Assert.Equal(0, await service.ScalarAsync("SELECT count(*) FROM audit_entries a WHERE a::text LIKE '%hidden%'"));
        await Eventually.Async(async () => (await client.FindAsync(id))!.LastActivityAt is not null, "its use is noted");
    }

    [Fact]
    public async Task Exec_StreamsLines_WhileItRuns_AndTakesSignals()
    {
        var (node, client, id) = await RunningAsync("streams");
        await using var held = node;
        var guest = new StandInGuest(node, (guest, asked) => asked.Step switch
        {
            SessionOpen => guest.SayAsync(asked, new SessionOpened(), new SessionOutput(1, "one"u8.ToArray())),
            SessionSignal { Signal: 15 } => guest.SayAsync(asked, new SessionOutput(2, "bye"u8.ToArray()), new SessionEnded(SessionReasons.Done, Signal: 15)),
            _ => Task.CompletedTask,
        });
        using var response = await client.SendAsync(Exec(id, new { command = Cat }, ExecEndpoint.Lines), HttpCompletionOption.ResponseHeadersRead);
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync());
        async Task<ExecLine> NextAsync() => JsonSerializer.Deserialize<ExecLine>((await reader.ReadLineAsync())!, JsonSerializerOptions.Web)!;
        var exec = (await NextAsync()).ExecId;
        var line = await NextAsync();
        Assert.Equal(("stdout", "one"), (line.Stream, Encoding.UTF8.GetString(line.Data!)));
        using (var signalled = await client.PostAsJsonAsync($"/v1/sandboxes/{id}/exec/{exec}/signal", new { signal = "TERM" })) Assert.Equal(HttpStatusCode.NoContent, signalled.StatusCode);
        Assert.Equal("stderr", (await NextAsync()).Stream);
        Assert.Equal(new ExecEnd("Done", null, 15), (await NextAsync()).End);
        Assert.Null(await reader.ReadLineAsync());
        using var late = await client.PostAsJsonAsync($"/v1/sandboxes/{id}/exec/{exec}/signal", new { signal = "TERM" });
        Assert.Equal("404 exec_not_found", await late.AnswerAsync());
        Assert.DoesNotContain(guest.Asked, a => a.Step is SessionClose);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Exec_WhenTheCallerLeavesOrItsKeyEnds_IsClosedInTheGuest(bool leaves)
    {
        var (node, client, id) = await RunningAsync(leaves ? "leaves" : "revoked");
        await using var held = node;
        var guest = new StandInGuest(node, (guest, asked) => asked.Step is SessionOpen ? guest.SayAsync(asked, new SessionOpened()) : Task.CompletedTask);
        var key = await client.KeyAsync(leaves ? "leaves" : "revoked", Role.Operator);
        using var other = service.ClientOf(key.Secret);
        using var response = await other.SendAsync(Exec(id, new { command = Cat }, ExecEndpoint.Lines), HttpCompletionOption.ResponseHeadersRead);
        Assert.DoesNotContain(guest.Asked, a => a.Step is SessionClose);
        if (leaves) response.Dispose();
        else (await client.DeleteAsync($"/v1/keys/{key.Key.Id}")).Dispose();
        await Eventually.Async(() => guest.Asked.Any(a => a.Step is SessionClose), "it is closed");
    }

    [Fact]
    public async Task Exec_WhenTheGuestFloods_KeepsTheFirstMib_AndGivesCreditForWhatWasRead()
    {
        var (node, client, id) = await RunningAsync("floods");
        await using var held = node;
        const int frames = 80;
        var left = new Dictionary<Guid, int>();
        _ = new StandInGuest(node, async (guest, asked) =>
        {
            if (asked.Step is SessionOpen)
            {
                left[asked.Session] = frames - GuestSessions.Window;
                await guest.SayAsync(asked, [new SessionOpened(), .. Enumerable.Range(0, GuestSessions.Window).Select(_ => new SessionOutput(1, new byte[GuestSessions.MaxFrameBytes]))]);
            }
            else if (asked.Step is SessionMore && left[asked.Session]-- is var before && before > 0)
                await guest.SayAsync(asked, before == 1 ? [new SessionOutput(1, new byte[GuestSessions.MaxFrameBytes]), new SessionEnded(SessionReasons.Done, ExitCode: 0)] : [new SessionOutput(1, new byte[GuestSessions.MaxFrameBytes])]);
        });
        using var response = await client.SendAsync(Exec(id, new { command = Cat }));
        var answer = (await response.Content.ReadFromJsonAsync<ExecAnswer>())!;
        Assert.Equal((ExecEndpoint.MaxWholeBytes, true, new ExecEnd("Done", 0, null)), (answer.Stdout.Length, answer.Truncated, answer.End));
    }

    [Fact]
    public async Task Exec_WhenTheGuestSendsBeyondItsCredit_IsEnded()
    {
        var (node, client, id) = await RunningAsync("beyond");
        await using var held = node;
        _ = new StandInGuest(node, (guest, asked) => asked.Step is SessionOpen ? guest.SayAsync(asked, [new SessionOpened(), new SessionOutput(1, new byte[GuestSessions.MaxFrameBytes + 1])]) : Task.CompletedTask);
        using var response = await client.SendAsync(Exec(id, new { command = Cat }));
        Assert.Equal(new ExecEnd("AgentMisbehaves", null, null), (await response.Content.ReadFromJsonAsync<ExecAnswer>())!.End);
    }

    [Theory]
    [InlineData(SessionReasons.AgentTooOld, "409 agent_too_old")]
    [InlineData(SessionReasons.AgentNotReady, "409 agent_not_ready")]
    [InlineData(SessionReasons.TooManySessions, "429 too_many_sessions")]
    [InlineData(SessionReasons.NotFound, "404 file_not_found")]
    [InlineData(SessionReasons.NotAFile, "409 not_a_file")]
    [InlineData(SessionReasons.NotPermitted, "409 file_not_permitted")]
    [InlineData(SessionReasons.Changed, "409 file_changed")]
    [InlineData(SessionReasons.TooLarge, "413 body_too_large")]
    [InlineData(SessionReasons.NoSpace, "409 guest_disk_full")]
    [InlineData(SessionReasons.InvalidRequest, "422 guest_refused")]
    [InlineData(SessionReasons.AgentLost, "503 guest_not_answering")]
    [InlineData(SessionReasons.Failed, "409 guest_failed")]
    [InlineData("Unheard", "409 guest_failed")]
    public async Task Refusals_OfTheGuest_HaveTheirCode(string reason, string code)
    {
        var (node, client, id) = await RunningAsync($"refused-{reason.ToLowerInvariant()}");
        await using var held = node;
        _ = new StandInGuest(node, (guest, asked) => asked.Step is SessionOpen ? guest.SayAsync(asked, new SessionEnded(reason)) : Task.CompletedTask);
        using var response = await client.GetAsync($"/v1/sandboxes/{id}/files?path=/etc/none");
        Assert.Equal(code, await response.AnswerAsync());
    }

    [Fact]
    public async Task Exec_WhenItsNodeIsGone_SaysSo()
    {
        var (node, client, id) = await RunningAsync("gone");
        await using (node)
        {
            _ = new StandInGuest(node, (guest, asked) => asked.Step is SessionOpen ? guest.SayAsync(asked, new SessionOpened()) : Task.CompletedTask);
            var running = client.SendAsync(Exec(id, new { command = Cat }, ExecEndpoint.Lines), HttpCompletionOption.ResponseHeadersRead);
            using var response = await running;
            await node.DisposeAsync();
            Assert.Contains("\"NodeLost\"", await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        }
        using var elsewhere = await client.SendAsync(Exec(id, new { command = Cat }));
        Assert.Equal("503 node_elsewhere", await elsewhere.AnswerAsync());
        Assert.NotNull(elsewhere.Headers.RetryAfter);
    }

    [Fact]
    public async Task Exec_WhenAsManyAreOpenAsMayBe_Is429()
    {
        var (node, client, id) = await RunningAsync("many");
        await using var held = node;
        _ = new StandInGuest(node, (guest, asked) => asked.Step is SessionOpen ? guest.SayAsync(asked, new SessionOpened()) : Task.CompletedTask);
        var open = new List<HttpResponseMessage>();
        for (var i = 0; i < GuestSessions.MaxOfSandbox; i++) open.Add(await client.SendAsync(Exec(id, new { command = Cat }, ExecEndpoint.Lines), HttpCompletionOption.ResponseHeadersRead));
        using (var refused = await client.SendAsync(Exec(id, new { command = Cat }))) Assert.Equal("429 too_many_sessions", await refused.AnswerAsync());
        foreach (var response in open) response.Dispose();
    }

    [Theory]
    [InlineData("""{}""", "command")]
    [InlineData("""{"command":[]}""", "command")]
    [InlineData("""{"command":[""]}""", "command")]
    [InlineData("""{"command":["a",null]}""", "command")]
    [InlineData("""{"command":["a\u0000"]}""", "command")]
    [InlineData("""{"command":["a"],"environment":{"A=B":"c"}}""", "environment")]
    [InlineData("""{"command":["a"],"environment":{"A":null}}""", "command")]
    [InlineData("""{"command":["a"],"directory":"tmp"}""", "directory")]
    [InlineData("""{"command":["a"],"user":-1}""", "user")]
    [InlineData("""{"command":["a"],"timeoutSeconds":0}""", "timeoutSeconds")]
    [InlineData("""{"command":["a"],"stdin":"?"}""", "stdin")]
    public async Task Exec_WhenAFieldIsNotValid_NamesIt(string body, string field)
    {
        using var client = service.Client();
        using var response = await client.PostAsync($"/v1/sandboxes/{Guid.NewGuid()}/exec", new StringContent(body, Encoding.UTF8, "application/json"));
        Assert.Equal(HttpStatusCode.UnprocessableEntity, response.StatusCode);
        Assert.Contains($"\"{field}\":", await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Exec_WithAnIdempotencyKey_IsRefused()
    {
        using var client = service.Client();
        using var request = Exec(Guid.NewGuid(), new { command = Cat });
        request.Headers.Add("Idempotency-Key", "once");
        using var response = await client.SendAsync(request);
        Assert.Equal("400 idempotency_key_invalid", await response.AnswerAsync());
    }

    [Fact]
    public async Task Files_ArePutInFrames_AndGotWithTheirDigest()
    {
        var (node, client, id) = await RunningAsync("files");
        await using var held = node;
        var guest = new StandInGuest(node, (guest, asked) => asked.Step is SessionInput { Data.Length: > 0 } ? guest.SayAsync(asked, new SessionTook(1)) : StandInGuest.Echo(guest, asked));
        var content = new byte[700_001];
        using (var put = await client.PutAsync($"/v1/sandboxes/{id}/files?path=/root/a%20b&mode=0700", new ByteArrayContent(content)))
            Assert.Equal(new GuestFileView("/root/a b", 5, new string('b', 64)), await put.Content.ReadFromJsonAsync<GuestFileView>());
        Assert.Equal(new FilePutRequest("/root/a b", 448, 1024L * 1024 * 1024), ((SessionOpen)guest.Asked.First().Step).Request);
        var sent = guest.Asked.Select(a => a.Step).OfType<SessionInput>().ToList();
        Assert.Equal(content.Length, sent.Sum(i => i.Data.Length));
        Assert.All(sent, i => Assert.InRange(i.Data.Length, 0, GuestSessions.MaxFrameBytes));
        Assert.Empty(sent[^1].Data);
        using var got = await client.GetAsync($"/v1/sandboxes/{id}/files?path=/root/b");
        Assert.Equal("hello", await got.Content.ReadAsStringAsync());
        Assert.Equal(($"sha-256=:{Convert.ToBase64String(Convert.FromHexString(new string('a', 64)))}:", "644"), (got.Headers.GetValues("Repr-Digest").Single(), got.Headers.GetValues("Sandbox-File-Mode").Single()));
        foreach (var query in (string[])["", "?path=relative", "?path=/ends/", "?path=/a&mode=999", "?path=/a&mode=1777"])
        {
            using var refused = await client.PutAsync($"/v1/sandboxes/{id}/files{query}", new ByteArrayContent([]));
            Assert.Equal((query, "422 validation_failed"), (query, await refused.AnswerAsync()));
        }
    }

    [Fact]
    public async Task Ssh_PassesBytesBothWays_AndSaysWhenNothingListens()
    {
        var (node, client, id) = await RunningAsync("ssh");
        await using var held = node;
        var listens = true;
        _ = new StandInGuest(node, (guest, asked) => asked.Step is SessionOpen && !listens ? guest.SayAsync(asked, new SessionEnded(SessionReasons.NothingListens)) : StandInGuest.Echo(guest, asked));
        var sockets = service.Factory.Server.CreateWebSocketClient();
        sockets.ConfigureRequest = r => r.Headers.Authorization = $"Bearer {service.AdminKey}";
        using (var socket = await sockets.ConnectAsync(new Uri(service.Factory.Server.BaseAddress, $"/v1/sandboxes/{id}/ssh"), CancellationToken.None))
        {
            await socket.SendAsync("SSH-2.0-x"u8.ToArray(), WebSocketMessageType.Binary, true, CancellationToken.None);
            var buffer = new byte[100];
            var got = await socket.ReceiveAsync(buffer, CancellationToken.None);
            Assert.Equal(("SSH-2.0-x", WebSocketMessageType.Binary), (Encoding.UTF8.GetString(buffer, 0, got.Count), got.MessageType));
        }
        listens = false;
        var refused = await Assert.ThrowsAsync<InvalidOperationException>(() => sockets.ConnectAsync(new Uri(service.Factory.Server.BaseAddress, $"/v1/sandboxes/{id}/ssh"), CancellationToken.None));
        Assert.Contains("409", refused.Message, StringComparison.Ordinal);
        using var plain = await client.GetAsync($"/v1/sandboxes/{id}/ssh");
        Assert.Equal("400 websocket_expected", await plain.AnswerAsync());
    }

    [Fact]
    public async Task Guest_WhenItDoesNotRun_IsWrongPhase()
    {
        await using var node = await service.NodeAsync();
        using var client = service.Client();
        var sandbox = await client.CreateAsync("pending");
        using var refused = await client.SendAsync(Exec(sandbox.Id, new { command = Cat }));
        Assert.Equal("409 wrong_phase", await refused.AnswerAsync());
    }
}
