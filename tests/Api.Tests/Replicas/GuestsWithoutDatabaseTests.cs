using System.Collections.Concurrent;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using Api.Guests;
using Api.Nodes;
using Api.Tests.Guests;
using Contracts;
using Microsoft.AspNetCore.SignalR;
using Microsoft.AspNetCore.SignalR.Client;
using Npgsql;
using Testing;
using Xunit;

namespace Api.Tests.Replicas;

/// <summary>What is open in a guest needs no database, and outlives one that goes away.</summary>
public sealed class GuestsWithoutDatabaseTests : IAsyncLifetime
{
    private readonly PostgresServer _database = new();
    private readonly ConcurrentQueue<string> _refusals = new();
    private readonly TimeProvider _clock = TimeProvider.System;
    private volatile bool _isQuiet;
    private volatile int _answered;
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    public ValueTask InitializeAsync() => _database.InitializeAsync();

    public ValueTask DisposeAsync() => _database.DisposeAsync();

    [Fact]
    public async Task Exec_WhenTheDatabaseIsKilledForLongerThanANodeMayBeSilent_GoesOn_AndEndsWhenTheNodesTokenIsFoundRevoked()
    {
        await Migrations.Database.MigrateAsync(_database.ConnectionString, Ct);
        var directory = Surroundings.NewDirectory("outage");
        var (key, token) = (Path.Combine(directory, "admin.key"), Path.Combine(directory, "node.token"));
        await using (var db = Migrations.Database.Open(_database.ConnectionString))
            await Migrations.Bootstrap.RunAsync(db, key, token, "first", _clock, Ct);
        await using var api = await ReplicaProcess.StartAsync(_database.ConnectionString);
        using var client = api.Client((await File.ReadAllTextAsync(key, Ct)).Trim());
        await using var node = new StandInNode(new Uri(api.Url), (await File.ReadAllTextAsync(token, Ct)).Trim(), 2);
        await node.StartAsync();
        var id = (await client.CreateAsync("outlives")).Id;
        await Eventually.Async(async () => (await node.SyncAsync()).Sandboxes.Any(s => s.Id == id), "it is placed", ReplicaProcess.Patience);
        await node.SayAsync(id, VmState.Running);
        var session = Guid.Empty;
        var guest = new StandInGuest(node, (guest, asked) =>
        {
            if (asked.Step is not SessionOpen) return Task.CompletedTask;
            session = asked.Session;
            return guest.SayAsync(asked, new SessionOpened());
        });
        var reporting = ReportAsync(node);
        using var response = await client.SendAsync(Streaming(id), HttpCompletionOption.ResponseHeadersRead, Ct);
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(Ct));
        await reader.ReadLineAsync(Ct);

        await _database.KillAsync();
        await Eventually.Async(() => !_refusals.IsEmpty, "the node is told", ReplicaProcess.Patience);
        var since = _clock.GetTimestamp();
        await Eventually.Async(() => _clock.GetElapsedTime(since) > NodeWatch.Silence + TimeSpan.FromSeconds(2), "a node that is silent would be gone", ReplicaProcess.Patience);
        Assert.All(_refusals, r => Assert.Contains($"{NodeProtocol.DatabaseUnavailable}:", r, StringComparison.Ordinal));
        await guest.SayAsync(id, session, new SessionOutput(1, "without"u8.ToArray()));
        Assert.Equal("without", Encoding.UTF8.GetString((await NextAsync(reader)).Data!));

        await _database.StartAsync();
        var before = _answered;
        await Eventually.Async(() => _answered > before + 2, "reports are answered again", ReplicaProcess.Patience);
        await guest.SayAsync(id, session, new SessionOutput(1, "with"u8.ToArray()));
        Assert.Equal("with", Encoding.UTF8.GetString((await NextAsync(reader)).Data!));

        // Once more, and meanwhile the token ends without the API's doing.
        await _database.KillAsync();
        var told = _refusals.Count;
        await Eventually.Async(() => _refusals.Count > told, "the node is told", ReplicaProcess.Patience);
        _isQuiet = true;
        await _database.StartAsync();
        await using (var source = NpgsqlDataSource.Create(_database.ConnectionString + ";Pooling=false"))
        await using (var command = source.CreateCommand("UPDATE nodes SET token_sha256 = decode(repeat('00', 32), 'hex')"))
            Assert.Equal(1, await command.ExecuteNonQueryAsync(Ct));
        _isQuiet = false;
        Assert.Equal("NodeLost", (await NextAsync(reader)).End!.Reason);
        await reporting;
        Assert.Contains("node_token_", _refusals.Last(), StringComparison.Ordinal);
    }

    private static async Task<ExecLine> NextAsync(StreamReader reader) => JsonSerializer.Deserialize<ExecLine>((await reader.ReadLineAsync(Ct))!, JsonSerializerOptions.Web)!;

    private static HttpRequestMessage Streaming(Guid id)
    {
        var request = new HttpRequestMessage(HttpMethod.Post, $"/v1/sandboxes/{id}/exec") { Content = JsonContent.Create(new { command = (string[])["cat"] }) };
        request.Headers.Accept.Add(new MediaTypeWithQualityHeaderValue(ExecEndpoint.Lines));
        return request;
    }

    /// <summary>As a worker does it: until it is refused for another reason than the database.</summary>
    private async Task ReportAsync(StandInNode node)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromSeconds(1));
        while (await timer.WaitForNextTickAsync(Ct))
        {
            if (_isQuiet) continue;
            try
            {
                // A worker tells its host first of all, on a new connection.
                await node.Connection.InvokeAsync(NodeProtocol.Inventory, new NodeInventory(_clock.GetUtcNow(), [], [], [], [], []), Ct);
                await node.SyncAsync();
                _answered++;
            }
            catch (HubException refusal)
            {
                _refusals.Enqueue(refusal.Message);
                if (!refusal.Message.Contains($"{NodeProtocol.DatabaseUnavailable}:", StringComparison.Ordinal)) return;
            }
        }
    }
}
