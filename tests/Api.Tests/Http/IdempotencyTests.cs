using System.Net;
using System.Net.Http.Json;
using System.Text;
using Api.Data;
using Api.Http;
using Contracts;
using Npgsql;
using Testing;
using Xunit;

namespace Api.Tests.Http;

public sealed class IdempotencyTests(ServiceFixture service) : IClassFixture<ServiceFixture>, IAsyncLifetime
{
    private StandInNode? _node;

    public async ValueTask InitializeAsync() => _node = await service.NodeAsync();
    public ValueTask DisposeAsync() => _node!.DisposeAsync();

    private static async Task<(string Answer, string Body, bool Replayed, HttpResponseMessage Response)> SendAsync(HttpClient client, string path, object? body, string key)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, path) { Content = body is null ? null : JsonContent.Create(body) };
        request.Headers.TryAddWithoutValidation(Idempotency.Header, key);
        var response = await client.SendAsync(request);
        return (await response.AnswerAsync(), await response.Content.ReadAsStringAsync(), response.Headers.Contains(Idempotency.ReplayedHeader), response);
    }

    [Fact]
    public async Task Create_SentTwice_IsDoneOnceAndAnsweredAlike()
    {
        using var client = service.Client();
        var first = await SendAsync(client, "/v1/sandboxes", new { name = "once", image = "guest" }, "k-once");
        var second = await SendAsync(client, "/v1/sandboxes", new { name = "once", image = "guest" }, "k-once");
        Assert.Equal(("201", false, "201", true), (first.Answer, first.Replayed, second.Answer, second.Replayed));
        Assert.Equal(first.Body, second.Body);
        Assert.Equal((first.Response.Headers.Location, first.Response.Headers.ETag, first.Response.Content.Headers.ContentType), (second.Response.Headers.Location, second.Response.Headers.ETag, second.Response.Content.Headers.ContentType));
        Assert.Equal(1, await service.ScalarAsync("SELECT count(*) FROM sandboxes WHERE name = 'once'"));
        // Its scheduler was told although it was stored late.
        var id = (await client.GetFromJsonAsync<Page<SandboxView>>("/v1/sandboxes?namePrefix=once"))!.Items.Single().Id;
        await Eventually.Async(async () => (await client.FindAsync(id))!.Phase == Phase.Scheduled, "it is placed");

        var other = await SendAsync(client, "/v1/sandboxes", new { name = "other", image = "guest" }, "k-once");
        Assert.Equal("422 idempotency_key_reused", other.Answer);
        Assert.Equal("422 idempotency_key_reused", (await SendAsync(client, $"/v1/sandboxes/{id}/stop", null, "k-once")).Answer);
        Assert.Equal(0, await service.ScalarAsync("SELECT count(*) FROM sandboxes WHERE name = 'other'"));
    }

    [Fact]
    public async Task Action_SentTwice_IsDoneOnce()
    {
        using var client = service.Client();
        var created = await SendAsync(client, "/v1/sandboxes", new { name = "acts", image = "guest", node = "nowhere" }, "k-acts");
        var id = System.Text.Json.JsonDocument.Parse(created.Body).RootElement.GetProperty("id").GetGuid();
        Assert.Equal("202", (await SendAsync(client, $"/v1/sandboxes/{id}/stop", null, "k-stop")).Answer);
        // Without the key it would be a 409: it is stopped already.
        var again = await SendAsync(client, $"/v1/sandboxes/{id}/stop", null, "k-stop");
        Assert.Equal(("202", true), (again.Answer, again.Replayed));
        Assert.Equal("409 wrong_phase", (await SendAsync(client, $"/v1/sandboxes/{id}/stop", null, "k-stop2")).Answer);
        foreach (var verb in (string[])["start", "stop", "restart"]) Assert.Equal("202", (await SendAsync(client, $"/v1/sandboxes/{id}/{verb}", null, $"k-{verb}-more")).Answer);
        Assert.Equal(1, await service.ScalarAsync($"SELECT count(*) FROM audit_entries WHERE subject_id = '{id}' AND action LIKE '%restart'"));
    }

    [Fact]
    public async Task Action_WithAnotherIfMatch_IsAnotherRequest()
    {
        using var client = service.Client();
        var created = await SendAsync(client, "/v1/sandboxes", new { name = "matches", image = "guest", node = "nowhere" }, "k-matches");
        var id = System.Text.Json.JsonDocument.Parse(created.Body).RootElement.GetProperty("id").GetGuid();
        async Task<string> StopAsync(string? match)
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, $"/v1/sandboxes/{id}/stop");
            request.Headers.TryAddWithoutValidation(Idempotency.Header, "k-match");
            if (match is not null) request.Headers.TryAddWithoutValidation("If-Match", match);
            using var response = await client.SendAsync(request);
            return await response.AnswerAsync();
        }
        Assert.Equal(("202", "202"), (await StopAsync("*"), await StopAsync("*")));
        foreach (var other in (string?[])["\"1\"", null]) Assert.Equal("422 idempotency_key_reused", await StopAsync(other));
    }

    [Fact]
    public async Task Refusal_IsNotStored_AndLeavesNothing()
    {
        using var client = service.Client();
        Assert.Equal("201", (await SendAsync(client, "/v1/sandboxes", new { name = "blocks", image = "guest" }, "k-blocks")).Answer);
        var before = await service.ScalarAsync("SELECT (SELECT count(*) FROM sandboxes) + (SELECT count(*) FROM events WHERE type = 'sandbox.created') + (SELECT count(*) FROM audit_entries) + (SELECT count(*) FROM idempotency_keys)");
        Assert.Equal("409 name_taken", (await SendAsync(client, "/v1/sandboxes", new { name = "blocks", image = "guest" }, "k-retry")).Answer);
        Assert.Equal("422 validation_failed", (await SendAsync(client, "/v1/sandboxes", new { name = "No" }, "k-retry")).Answer);
        Assert.Equal(before, await service.ScalarAsync("SELECT (SELECT count(*) FROM sandboxes) + (SELECT count(*) FROM events WHERE type = 'sandbox.created') + (SELECT count(*) FROM audit_entries) + (SELECT count(*) FROM idempotency_keys)"));
        Assert.Equal("201", (await SendAsync(client, "/v1/sandboxes", new { name = "unblocked", image = "guest" }, "k-retry")).Answer);
    }

    [Fact]
    public async Task Create_WhenManySendTheSameAtOnce_OneIsDone()
    {
        using var client = service.Client();
        var answers = await Task.WhenAll(Enumerable.Range(0, 10).Select(async _ => (await SendAsync(client, "/v1/sandboxes", new { name = "crowd", image = "guest" }, "k-crowd")).Answer));
        Assert.All(answers, a => Assert.True(a is "201" or "409 idempotency_in_progress", a));
        Assert.Contains("201", answers);
        Assert.Equal(1, await service.ScalarAsync("SELECT count(*) FROM sandboxes WHERE name = 'crowd'"));
        await Eventually.Async(async () => (await SendAsync(client, "/v1/sandboxes", new { name = "crowd", image = "guest" }, "k-crowd")).Answer == "201", "whoever asks again is answered");
    }

    [Fact]
    public async Task Create_WhileTheFirstIsAtWork_Returns409_AndAfterItsEndIsDone()
    {
        using var client = service.Client();
        // The first is held in the middle: another transaction has the project's row, and is then gone as a crash would leave it.
        await using var connection = new NpgsqlConnection(service.ConnectionString);
        await connection.OpenAsync(TestContext.Current.CancellationToken);
        await using var hold = await connection.BeginTransactionAsync(TestContext.Current.CancellationToken);
        await using (var row = new NpgsqlCommand("SELECT 1 FROM projects WHERE operates FOR UPDATE", connection, hold)) await row.ExecuteNonQueryAsync(TestContext.Current.CancellationToken);
        using var abort = new CancellationTokenSource();
        using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/sandboxes") { Content = JsonContent.Create(new { name = "held", image = "guest" }) };
        request.Headers.Add(Idempotency.Header, "k-held");
        var first = client.SendAsync(request, abort.Token);
        await Eventually.Async(async () => await service.ScalarAsync("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%NO KEY UPDATE%' AND datname = current_database()") > 0, "the first waits");
        var second = await SendAsync(client, "/v1/sandboxes", new { name = "held", image = "guest" }, "k-held");
        Assert.Equal("409 idempotency_in_progress", second.Answer);
        Assert.True(second.Response.Headers.RetryAfter?.Delta > TimeSpan.Zero);
        await abort.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => first);
        await hold.RollbackAsync(CancellationToken.None);
        await Eventually.Async(async () => (await SendAsync(client, "/v1/sandboxes", new { name = "held", image = "guest" }, "k-held")).Answer == "201", "it is done once the first is gone");
        Assert.Equal(1, await service.ScalarAsync("SELECT count(*) FROM sandboxes WHERE name = 'held'"));
    }

    [Fact]
    public async Task Lock_OfAReplicaThatIsGone_IsGivenUpByTheDatabase()
    {
        await using var source = SandboxDb.OpenSource(service.ConnectionString);
        await using var command = source.CreateCommand("SELECT string_agg(name || '=' || coalesce(reset_val, ''), ' ' ORDER BY name) FROM pg_settings WHERE source = 'client' AND name IN ('client_connection_check_interval', 'tcp_keepalives_idle', 'tcp_user_timeout')");
        Assert.Equal("client_connection_check_interval=5000 tcp_keepalives_idle=10 tcp_user_timeout=25000", await command.ExecuteScalarAsync(TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task Connections_AreThirty_UnlessTheConnectionStringSays()
    {
        await using var plain = SandboxDb.OpenSource("Host=127.0.0.1");
        await using var asked = SandboxDb.OpenSource("Host=127.0.0.1;Maximum Pool Size=7");
        Assert.Contains("Maximum Pool Size=30", plain.ConnectionString, StringComparison.Ordinal);
        Assert.Contains("Maximum Pool Size=7", asked.ConnectionString, StringComparison.Ordinal);
    }

    [Fact]
    public async Task StoredAnswer_ThatShowsASecret_HoldsNeitherItNorTheKeyInClear()
    {
        using var client = service.Client();
        var first = await SendAsync(client, "/v1/keys", new { name = "secret", role = "Viewer" }, "k-secret-5f2a");
        var second = await SendAsync(client, "/v1/keys", new { name = "secret", role = "Viewer" }, "k-secret-5f2a");
        var secret = System.Text.Json.JsonDocument.Parse(second.Body).RootElement.GetProperty("secret").GetString()!;
        Assert.Equal((first.Body, true), (second.Body, second.Replayed));
        foreach (var text in (string[])[secret, secret[4..], "k-secret-5f2a"])
            Assert.Equal(0, await service.ScalarAsync($"SELECT count(*) FROM idempotency_keys k WHERE k::text LIKE '%{Convert.ToHexStringLower(Encoding.ASCII.GetBytes(text))}%' OR k::text LIKE '%{text}%'"));
        using var who = service.ClientOf(secret);
        using var good = await who.GetAsync("/v1/session");
        Assert.Equal(HttpStatusCode.OK, good.StatusCode);
    }

    [Fact]
    public async Task Key_IsOfItsCallerOnly_AndAfterADayItIsForgotten()
    {
        using var admin = service.Client();
        using var second = service.ClientOf((await admin.KeyAsync("second", Role.Admin)).Secret);
        Assert.Equal("201", (await SendAsync(admin, "/v1/keys", new { name = "mine", role = "Viewer" }, "k-shared")).Answer);
        var others = await SendAsync(second, "/v1/keys", new { name = "theirs", role = "Viewer" }, "k-shared");
        Assert.Equal(("201", false), (others.Answer, others.Replayed));
        await service.ExecuteAsync("UPDATE idempotency_keys SET created_at = created_at - interval '24 hours'");
        var later = await SendAsync(admin, "/v1/keys", new { name = "later", role = "Viewer" }, "k-shared");
        Assert.Equal(("201", false), (later.Answer, later.Replayed));
    }

    [Theory]
    [InlineData("a b")]
    [InlineData("ä")]
    public async Task Create_WhenTheKeyIsNone_Returns400(string key)
    {
        using var client = service.Client();
        Assert.Equal("400 idempotency_key_invalid", (await SendAsync(client, "/v1/sandboxes", new { name = "x", image = "guest" }, key)).Answer);
    }

    [Fact]
    public async Task Create_WhenTheKeyIsTooLong_Returns400()
    {
        using var client = service.Client();
        Assert.Equal("400 idempotency_key_invalid", (await SendAsync(client, "/v1/keys", new { name = "x", role = "Viewer" }, new string('k', Idempotency.MaxLength + 1))).Answer);
        Assert.Equal("201", (await SendAsync(client, "/v1/keys", new { name = "x", role = "Viewer" }, new string('k', Idempotency.MaxLength))).Answer);
    }
}
