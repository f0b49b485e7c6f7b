using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Logging.Abstractions;
using Worker.Tests.Channels;
using Worker.Vms.Qemu;
using Xunit;

namespace Worker.Tests.Qemu;

public sealed class QmpClientTests : IAsyncLifetime
{
    private const string Greeting = "{\"QMP\": {\"version\": {}, \"capabilities\": [\"oob\"]}}\r\n";
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(10);
    private readonly TemporaryDirectory _directory = new();
    private ScriptedPeer _server = null!;
    private PeerConnection _vmm = null!;
    private QmpClient _client = null!;

    private static CancellationToken Ct => ScriptedPeer.Ct;

    public async ValueTask InitializeAsync()
    {
        _server = new ScriptedPeer(_directory.Of("qmp.sock"));
        var connecting = QmpClient.ConnectAsync(_directory.Of("qmp.sock"), TimeProvider.System, NullLogger.Instance, Ct);
        _vmm = await _server.AcceptAsync();
        await GreetAsync(_vmm);
        _client = await connecting;
    }

    public async ValueTask DisposeAsync()
    {
        await _client.DisposeAsync();
        _vmm.Dispose();
        _server.Dispose();
        _directory.Dispose();
    }

    private static async Task GreetAsync(PeerConnection vmm)
    {
        await vmm.SayAsync(Greeting);
        var asked = JsonDocument.Parse((await vmm.HearLineAsync())!).RootElement;
        Assert.Equal("qmp_capabilities", asked.GetProperty("execute").GetString());
        await vmm.SayAsync($"{{\"return\": {{}}, \"id\": {asked.GetProperty("id")}}}\r\n");
    }

    private async Task<JsonElement> HearCommandAsync() => JsonDocument.Parse((await _vmm.HearLineAsync())!).RootElement;

    [Fact]
    public async Task Execute_WhenEventsComeBetween_AnswersAndKeepsThem()
    {
        var asking = _client.ExecuteAsync("query-status", null, Ct);
        var id = (await HearCommandAsync()).GetProperty("id");
        await _vmm.SayAsync("{\"event\": \"RESUME\", \"timestamp\": {}}\r\n{\"event\": \"SHUTDOWN\", \"data\": {\"reason\": \"guest-shutdown\"}}\r\n");
        await _vmm.SayAsync($"{{\"return\": {{\"status\": \"running\"}}, \"id\": {id}}}\r\n");
        Assert.Equal("running", (await asking).GetProperty("status").GetString());
        Assert.Equal("RESUME", (await _client.Events.ReadAsync(Ct)).Name);
        var shutdown = await _client.Events.ReadAsync(Ct);
        Assert.Equal(("SHUTDOWN", "guest-shutdown"), (shutdown.Name, shutdown.Data.GetProperty("reason").GetString()));
    }

    [Fact]
    public async Task Execute_WhenAnswersComeInAnotherOrder_MatchesThemById()
    {
        var first = _client.ExecuteAsync("a", new JsonObject { ["n"] = 1 }, Ct);
        var firstSeen = await HearCommandAsync();
        var second = _client.ExecuteAsync("b", null, Ct);
        var secondSeen = await HearCommandAsync();
        Assert.Equal(1, firstSeen.GetProperty("arguments").GetProperty("n").GetInt32());
        Assert.False(secondSeen.TryGetProperty("arguments", out _));
        await _vmm.SayAsync($"{{\"return\": \"second\", \"id\": {secondSeen.GetProperty("id")}}}\n{{\"return\": \"first\", \"id\": {firstSeen.GetProperty("id")}}}\n");
        Assert.Equal(("first", "second"), ((await first).GetString(), (await second).GetString()));
    }

    [Fact]
    public async Task Execute_WhenRefused_ThrowsWithClassAndDescription()
    {
        var asking = _client.ExecuteAsync("trace-event-set-state", null, Ct);
        var id = (await HearCommandAsync()).GetProperty("id");
        await _vmm.SayAsync($"{{\"id\": {id}, \"error\": {{\"class\": \"GenericError\", \"desc\": \"unknown event\"}}}}\n");
        var refusal = await Assert.ThrowsAsync<QmpException>(() => asking);
        Assert.Equal("GenericError", refusal.ErrorClass);
        Assert.Contains("unknown event", refusal.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("not json")]
    [InlineData("[]")]
    [InlineData("77")]
    [InlineData("null")]
    [InlineData("{}")]
    [InlineData("{\"event\": 7}")]
    [InlineData("{\"event\": \"X\", \"data\": []}")]
    [InlineData("{\"return\": {}, \"id\": \"1\"}")]
    [InlineData("{\"return\": {}, \"id\": 1e300}")]
    [InlineData("{\"return\": {}, \"id\": 999999}")]
    [InlineData("{\"\\ud800\": 1}")]
    [InlineData("{\"event\": \"\\ud800\"}")]
    [InlineData("{\"event\": \"SHUTDOWN\", \"data\": {\"reason\": \"\\udc00\"}}")]
    [InlineData("{\"error\": {\"class\": \"GenericError\", \"desc\": \"bad json\"}}")]
    public async Task Execute_WhenTheVmmTalksNonsense_GoesOn(string nonsense)
    {
        var asking = _client.ExecuteAsync("query-status", null, Ct);
        var id = (await HearCommandAsync()).GetProperty("id");
        await _vmm.SayAsync(nonsense + "\n" + $"{{\"return\": 42, \"id\": {id}}}\n");
        Assert.Equal(42, (await asking.WaitAsync(Limit, Ct)).GetInt32());
        Assert.False(_client.Closed.IsCompleted);
    }

    [Theory]
    [InlineData("7")]
    [InlineData("\"gone\"")]
    [InlineData("{\"class\": 1, \"desc\": []}")]
    [InlineData("null")]
    public async Task Execute_WhenTheRefusalItselfIsNonsense_IsStillARefusal(string error)
    {
        var asking = _client.ExecuteAsync("x", null, Ct);
        var id = (await HearCommandAsync()).GetProperty("id");
        await _vmm.SayAsync($"{{\"id\": {id}, \"error\": {error}}}\n");
        await Assert.ThrowsAsync<QmpException>(() => asking.WaitAsync(Limit, Ct));
    }

    [Fact]
    public async Task Execute_WhenTheAnswerComesByteByByte_IsRead()
    {
        var asking = _client.ExecuteAsync("query-status", null, Ct);
        var id = (await HearCommandAsync()).GetProperty("id");
        foreach (var one in System.Text.Encoding.UTF8.GetBytes($"{{\"return\": \"ü\", \"id\": {id}}}\r\n"))
            await _vmm.SayAsync([one]);
        Assert.Equal("ü", (await asking).GetString());
    }

    [Fact]
    public async Task Closed_WhenTheVmmHangsUp_CompletesAndEveryCommandEnds()
    {
        var asking = _client.ExecuteAsync("quit", null, Ct);
        await HearCommandAsync();
        await _vmm.SayAsync("{\"event\": \"SHUTDOWN\", \"data\": {\"reason\": \"host-qmp-quit\"}}\n");
        _vmm.Dispose();
        await Assert.ThrowsAsync<IOException>(() => asking);
        await _client.Closed.WaitAsync(Limit, Ct);
        Assert.Equal("SHUTDOWN", (await _client.Events.ReadAsync(Ct)).Name);
        await _client.Events.Completion.WaitAsync(Limit, Ct);
        await Assert.ThrowsAsync<IOException>(() => _client.ExecuteAsync("query-status", null, Ct));
    }

    [Fact]
    public async Task Closed_WhenALineIsTooLong_CompletesWithoutFault()
    {
        var megabyte = new byte[1 << 20];
        Array.Fill(megabyte, (byte)'x');
        var saying = SayAllAsync();
        await _client.Closed.WaitAsync(Limit, Ct);
        Assert.True(_client.Closed.IsCompletedSuccessfully);
        await _client.DisposeAsync();
        await saying;

        async Task SayAllAsync()
        {
            try
            {
                for (var i = 0; i < 4; i++)
                    await _vmm.SayAsync(megabyte);
            }
            catch (IOException)
            {
                // The client hung up, as it should.
            }
        }
    }

    [Fact]
    public async Task Execute_WhenTheVmmDoesNotAnswer_EndsWithItsTokenAndTheNextCommandWorks()
    {
        using var impatient = new CancellationTokenSource();
        var givenUp = _client.ExecuteAsync("slow", null, impatient.Token);
        var late = (await HearCommandAsync()).GetProperty("id");
        await impatient.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => givenUp);
        var asking = _client.ExecuteAsync("query-status", null, Ct);
        var id = (await HearCommandAsync()).GetProperty("id");
        await _vmm.SayAsync($"{{\"return\": \"late\", \"id\": {late}}}\n{{\"return\": \"now\", \"id\": {id}}}\n");
        Assert.Equal("now", (await asking).GetString());
    }

    [Fact]
    public async Task Execute_WhenCancelledWhileTheVmmDoesNotRead_NeverTearsALine()
    {
        // More than a socket's buffer holds, so that the write stops in its middle.
        var large = new JsonObject { ["text"] = new string('y', 4 << 20) };
        using var impatient = new CancellationTokenSource();
        var givenUp = _client.ExecuteAsync("large", large, impatient.Token);
        await Eventually.TrueAsync(() => _vmm.IsSpokenTo, "the line has begun");
        await impatient.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => givenUp);
        var asking = _client.ExecuteAsync("query-status", null, Ct);
        Assert.Equal("large", (await HearCommandAsync()).GetProperty("execute").GetString());
        var next = await HearCommandAsync();
        Assert.Equal("query-status", next.GetProperty("execute").GetString());
        await _vmm.SayAsync($"{{\"return\": 1, \"id\": {next.GetProperty("id")}}}\n");
        Assert.Equal(1, (await asking).GetInt32());
    }

    [Fact]
    public async Task Events_WhenNobodyReads_StayBoundedAndKeepTheLast()
    {
        await _vmm.SayAsync(string.Concat(Enumerable.Range(0, 5000).Select(n => $"{{\"event\": \"E{n}\"}}\n")));
        _vmm.Dispose();
        await _client.Closed.WaitAsync(Limit, Ct);
        var kept = new List<string>();
        await foreach (var seen in _client.Events.ReadAllAsync(Ct))
            kept.Add(seen.Name);
        Assert.InRange(kept.Count, 1, 256);
        Assert.Equal("E4999", kept[^1]);
    }

    [Fact]
    public async Task Connect_WhenTheSocketComesLaterAndHangsUpAtFirst_TriesAgain()
    {
        // Deeper than a socket's address is long.
        var deep = Directory.CreateDirectory(_directory.Of(string.Join('/', Enumerable.Repeat("a-folder-within-a-folder", 8))));
        var path = Path.Combine(deep.FullName, "late.sock");
        var connecting = QmpClient.ConnectAsync(path, TimeProvider.System, NullLogger.Instance, Ct);
        using var server = new ScriptedPeer(path);
        (await server.AcceptAsync()).Dispose();
        using var vmm = await server.AcceptAsync();
        await GreetAsync(vmm);
        await using var client = await connecting;
        Assert.False(client.Closed.IsCompleted);
    }

    [Fact]
    public async Task Connect_WhenNobodyEverListens_EndsWithItsToken()
    {
        using var impatient = new CancellationTokenSource(TimeSpan.FromMilliseconds(100));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(
            () => QmpClient.ConnectAsync(_directory.Of("none.sock"), TimeProvider.System, NullLogger.Instance, impatient.Token));
    }
}
