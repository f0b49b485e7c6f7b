using System.Collections.Concurrent;
using System.Globalization;
using System.Net;
using System.Net.Http.Json;
using Api.Tests.Webhooks;
using Contracts;
using Npgsql;
using Testing;
using Xunit;

namespace Api.Tests.Replicas;

/// <summary>Replicas as processes on one database, nodes and users who reach them through a balancer, and all that must hold whatever is killed meanwhile:
/// what nodes see, what readers of events and webhooks got, and, by triggers, what was ever stored.</summary>
public sealed class LoadedService : IAsyncDisposable
{
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(90);
    private const int Nodes = 3, UsersOfAProject = 3;
    private const string Watching = """
        CREATE TABLE test_violations (what text NOT NULL);
        CREATE FUNCTION test_watch_device() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          INSERT INTO test_violations VALUES (format('device %s went from %s to %s', NEW.address, OLD.sandbox_id, NEW.sandbox_id)); RETURN NEW; END $$;
        CREATE TRIGGER test_watch_device AFTER UPDATE ON devices FOR EACH ROW
          WHEN (OLD.sandbox_id IS NOT NULL AND NEW.sandbox_id IS NOT NULL AND OLD.sandbox_id <> NEW.sandbox_id) EXECUTE FUNCTION test_watch_device();
        CREATE FUNCTION test_watch_sandbox() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          INSERT INTO test_violations VALUES (format('sandbox %s, which is %s, went from node %s to %s', NEW.id, OLD.phase, OLD.node_id, NEW.node_id)); RETURN NEW; END $$;
        CREATE TRIGGER test_watch_sandbox AFTER UPDATE ON sandboxes FOR EACH ROW
          WHEN (OLD.node_id <> NEW.node_id AND OLD.phase NOT IN ('Pending', 'Stopped', 'Failed')) EXECUTE FUNCTION test_watch_sandbox();
        """;

    private readonly List<ReplicaProcess> _replicas = [];
    private readonly Balancer _balancer = new();
    private readonly List<WatchedNode> _nodes = [];
    private readonly List<Tenancy> _tenancies = [];
    private readonly List<Task> _users = [];
    private readonly CancellationTokenSource _ends = new(), _gone = new();
    private readonly string _connectionString;
    private CarefulClient _admin = null!;
    private WebhookReceiver _receiver = null!;
    private int _lives, _received;

    private LoadedService(string connectionString) => _connectionString = connectionString;

    public Watch Watch { get; } = new();
    public IReadOnlyList<ReplicaProcess> Replicas => _replicas;
    /// <summary>Sandboxes that were created, run, stopped, started again and deleted by now.</summary>
    public int Lives => _lives;
    public int Done => _tenancies.Sum(t => t.Client.Done);
    public IEnumerable<CarefulClient> Clients => _tenancies.Select(t => t.Client);
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    /// <summary>A project with its users, its event stream from the beginning, and an endpoint that wants all of its events.</summary>
    private sealed record Tenancy(string Name, CarefulClient Client, EventFollower Follower, Guid Webhook)
    {
        public ConcurrentDictionary<Guid, string> Created { get; } = new();
        public ConcurrentDictionary<Guid, bool> Deleted { get; } = new();
    }

    public static async Task<LoadedService> StartAsync(PostgresServer database, int replicas, params (string Name, string? Value)[] settings)
    {
        var service = new LoadedService(database.ConnectionString);
        await Migrations.Database.MigrateAsync(database.ConnectionString, Ct);
        var directory = Surroundings.NewDirectory("replicas");
        var key = Path.Combine(directory, "admin.key");
        await using (var db = Migrations.Database.Open(database.ConnectionString))
            await Migrations.Bootstrap.RunAsync(db, key, Path.Combine(directory, "node.token"), "first", TimeProvider.System, Ct);
        await service.ExecuteAsync(Watching);
        service._replicas.AddRange(await Task.WhenAll(Enumerable.Range(0, replicas).Select(_ => ReplicaProcess.StartAsync(database.ConnectionString, null, settings))));
        service._balancer.To(service._replicas);
        service._admin = CarefulClient.Of(service._balancer.Url, (await File.ReadAllTextAsync(key, Ct)).Trim());
        await service.PrepareAsync();
        return service;
    }

    public async Task AddReplicaAsync()
    {
        _replicas.Add(await ReplicaProcess.StartAsync(_connectionString));
        _balancer.To(_replicas);
    }

    private async Task PrepareAsync()
    {
        _receiver = await WebhookReceiver.StartAsync();
        // One in forty is refused, and comes again.
        _receiver.Answer = (http, _) =>
        {
            if (Interlocked.Increment(ref _received) % 40 == 0) http.Response.StatusCode = 500;
            return Task.CompletedTask;
        };
        for (var n = 1; n <= Nodes; n++)
        {
            using var made = await _admin.Http.PostAsJsonAsync("/v1/nodes/join-tokens", new { name = $"node-{n}" }, Ct);
            using var machine = CarefulClient.Of(_balancer.Url, (await made.Content.ReadFromJsonAsync<JoinTokenView>(Ct))!.Token);
            var installation = Guid.NewGuid();
            using var joined = await machine.Http.PostAsJsonAsync("/v1/nodes/join", new { installation }, Ct);
            var node = new WatchedNode($"node-{n}", _balancer.Url, (await joined.Content.ReadFromJsonAsync<NodeJoined>(Ct))!.Token, Watch);
            node.Node.Installation = installation;
            node.Begin();
            _nodes.Add(node);
        }
        await Eventually.Async(async () => (await _admin.Http.GetFromJsonAsync<Page<ImageView>>("/v1/images", Ct))!.Items.Count > 0, "a node reports", Patience);
        foreach (var name in (string[])["red", "blue"])
        {
            using var project = await _admin.Http.PostAsJsonAsync("/v1/projects", new { name, quotas = new { maxSandboxes = 1000 } }, Ct);
            var secret = (await _admin.Http.KeyAsync("admin", Role.Admin, (await project.Content.ReadFromJsonAsync<ProjectView>(Ct))!.Id)).Secret;
            var client = CarefulClient.Of(_balancer.Url, secret);
            using var webhook = await client.Http.PostAsJsonAsync("/v1/webhooks", new { url = $"{_receiver.Url}/{name}" }, Ct);
            Assert.True(webhook.IsSuccessStatusCode, await webhook.Content.ReadAsStringAsync(Ct));
            _tenancies.Add(new(name, client, new EventFollower(CarefulClient.Of(_balancer.Url, secret).Http), (await webhook.Content.ReadFromJsonAsync<WebhookCreated>(Ct))!.Webhook.Id));
        }
    }

    public void Begin()
    {
        foreach (var tenancy in _tenancies)
            for (var user = 0; user < UsersOfAProject; user++) _users.Add(UseAsync(tenancy, user));
    }

    private async Task UseAsync(Tenancy tenancy, int user)
    {
        for (var n = 0; !_ends.IsCancellationRequested; n++)
        {
            var name = $"{tenancy.Name}-{user}-{n}";
            var created = await tenancy.Client.AskAsync(HttpMethod.Post, "/v1/sandboxes", new { name, image = "guest", memoryMib = 128, accelerators = new[] { new { @class = "edu", count = 1 + (n + user) % 2 } } }, _gone.Token);
            Assert.Equal((201, null), (created.Status, created.Code));
            var id = created.View!.Id;
            Assert.True(tenancy.Created.TryAdd(id, name), $"{id} was created twice");
            await UntilAsync(tenancy, id, v => v?.Phase == Phase.Running, "runs");
            Assert.Equal(202, (await tenancy.Client.AskAsync(HttpMethod.Post, $"/v1/sandboxes/{id}/stop", null, _gone.Token)).Status);
            await UntilAsync(tenancy, id, v => v?.Phase == Phase.Stopped, "is stopped");
            Assert.Equal(202, (await tenancy.Client.AskAsync(HttpMethod.Post, $"/v1/sandboxes/{id}/start", null, _gone.Token)).Status);
            await UntilAsync(tenancy, id, v => v is { Phase: Phase.Running, Incarnation: 2 }, "runs again");
            Assert.Contains((await tenancy.Client.AskAsync(HttpMethod.Delete, $"/v1/sandboxes/{id}", null, _gone.Token)).Status, (int[])[202, 404]);
            tenancy.Deleted[id] = true;
            await UntilAsync(tenancy, id, v => v is null, "is gone");
            Interlocked.Increment(ref _lives);
        }
    }

    private async Task UntilAsync(Tenancy tenancy, Guid id, Func<SandboxView?, bool> condition, string what)
    {
        SandboxView? last = null;
        try
        {
            await Eventually.Async(async () =>
            {
                var (status, _, view) = await tenancy.Client.AskAsync(HttpMethod.Get, $"/v1/sandboxes/{id}", null, _gone.Token);
                Assert.Contains(status, (int[])[200, 404]);
                last = view;
                return condition(view);
            }, $"sandbox {id} {what}", Patience);
        }
        catch (TimeoutException e)
        {
            throw new TimeoutException($"{e.Message}; last seen: {System.Text.Json.JsonSerializer.Serialize(last)}", e);
        }
    }

    /// <summary>So many sandboxes more have lived from end to end; a user that failed says so.</summary>
    public Task LivedAsync(int more)
    {
        var goal = _lives + more;
        return Eventually.Async(() =>
        {
            if (_users.Find(u => u.IsFaulted) is { } failed) throw new InvalidOperationException($"a user failed; replicas said:\n{string.Join('\n', _replicas.SelectMany(r => r.Errors))}", failed.Exception);
            return _lives >= goal;
        }, $"{more} more sandboxes have lived", Patience);
    }

    /// <summary>A request that reads the table.</summary>
    public Task<HttpResponseMessage> AskForAsync(string table) => table == "webhook_deliveries"
        ? _tenancies[0].Client.Http.GetAsync($"/v1/webhooks/{_tenancies[0].Webhook}/deliveries", Ct)
        : _admin.Http.GetAsync($"/v1/{table}", Ct);

    /// <summary>Lets users end what they have begun, and then holds everything against everything.</summary>
    public async Task<string> NothingIsLostAsync()
    {
        await _ends.CancelAsync();
        await Task.WhenAll(_users);
        Assert.Empty(Watch.Violations);
        Assert.Equal([], await TextsAsync("SELECT what FROM test_violations"));
        Assert.Equal([], await TextsAsync("SELECT address || ' ' || sandbox_id FROM devices WHERE sandbox_id IS NOT NULL"));
        Assert.Equal([], await TextsAsync("SELECT name FROM sandboxes"));
        var (events, deliveries) = (0, 0);
        foreach (var tenancy in _tenancies)
        {
            Assert.Empty(tenancy.Client.Bad);
            var all = await EventsAsync(tenancy.Client.Http);
            Assert.Equal(Enumerable.Range(1, all.Count).Select(n => (long)n), all.Select(e => e.Number));
            // Each request that was answered, once.
            foreach (var id in tenancy.Created.Keys)
                foreach (var type in (string[])["sandbox.created", "sandbox.deleted"]) Assert.Single(all, e => e.SubjectId == id && e.Type == type);
            Assert.Equal(tenancy.Created.Count, all.Count(e => e.Type == "sandbox.created"));
            Assert.Equal(tenancy.Created.Count, tenancy.Deleted.Count);
            // Whoever reads the stream got them all, in order, each once.
            await Eventually.Async(() => tenancy.Follower.Events.Count >= all.Count, "the stream has told all", Patience);
            Assert.Equal(all, tenancy.Follower.Events);
            await DeliveredAsync(tenancy, all.Count);
            var first = Received(tenancy).DistinctBy(r => r.Data.Number).ToList();
            Assert.Equal(all.Select(e => (long?)e.Number), first.Select(r => r.Data.Number).Order());
            foreach (var subject in first.GroupBy(r => r.Data.SubjectId)) Assert.Equal(subject.Select(r => r.Data.Number).Order(), subject.Select(r => r.Data.Number));
            (events, deliveries) = (events + all.Count, deliveries + Received(tenancy).Count);
        }
        return string.Create(CultureInfo.InvariantCulture, $"{Lives} sandboxes, {Watch.Started} starts, {Done} requests answered ({Clients.Sum(c => c.Again)} asked again, {Clients.Sum(c => c.Unavailable.Count)} times 503, slowest {Clients.Max(c => c.Slowest).TotalSeconds:0.0} s), {events} events, {deliveries} deliveries, streams opened {_tenancies.Sum(t => t.Follower.Opened)} times, nodes dialled {_nodes.Sum(n => n.Dialled)} times");
    }

    /// <summary>What replicas had claimed when they were killed comes back when its lease ends, and what was refused later still; an operator need not wait for that.</summary>
    private async Task DeliveredAsync(Tenancy tenancy, int events)
    {
        var began = TimeProvider.System.GetTimestamp();
        while (true)
        {
            using (var hurried = await tenancy.Client.Http.PatchAsJsonAsync($"/v1/webhooks/{tenancy.Webhook}", new { enabled = true }, Ct)) Assert.Equal(HttpStatusCode.OK, hurried.StatusCode);
            try
            {
                await Eventually.Async(() => Received(tenancy).Select(r => r.Data.Number).Distinct().Count() >= events, "each event is delivered", TimeSpan.FromSeconds(5));
                return;
            }
            catch (TimeoutException e) when (TimeProvider.System.GetElapsedTime(began) >= Patience)
            {
                throw new TimeoutException($"{e.Message}:\n{string.Join('\n', await TextsAsync($"SELECT concat_ws(' ', event_number, type, state, attempts, due_at, last_attempt_at, last_status, last_reason) FROM webhook_deliveries WHERE endpoint_id = '{tenancy.Webhook}' AND state <> 'Succeeded' ORDER BY number LIMIT 20"))}", e);
            }
            catch (TimeoutException)
            {
                // Once more.
            }
        }
    }

    private List<WebhookPayload> Received(Tenancy tenancy) => [.. _receiver.Received.Where(r => r.Path.EndsWith(tenancy.Name, StringComparison.Ordinal)).Select(r => r.Payload)];

    private static async Task<List<EventView>> EventsAsync(HttpClient client)
    {
        var events = new List<EventView>();
        string? next = "0";
        while (next is not null)
        {
            var page = (await client.GetFromJsonAsync<Page<EventView>>($"/v1/events?after={next}&limit=1000", Ct))!;
            events.AddRange(page.Items);
            next = page.Next;
        }
        return events;
    }

    public async Task ExecuteAsync(string sql)
    {
        await using var source = NpgsqlDataSource.Create(_connectionString + ";Pooling=false");
        await using var command = source.CreateCommand(sql);
        await command.ExecuteNonQueryAsync(Ct);
    }

    private async Task<List<string>> TextsAsync(string sql)
    {
        await using var source = NpgsqlDataSource.Create(_connectionString + ";Pooling=false");
        await using var command = source.CreateCommand(sql);
        await using var reader = await command.ExecuteReaderAsync(Ct);
        var texts = new List<string>();
        while (await reader.ReadAsync(Ct)) texts.Add(reader.GetString(0));
        return texts;
    }

    public async ValueTask DisposeAsync()
    {
        await _ends.CancelAsync();
        // Whoever still asks after a failure gets no answer any more.
        await _gone.CancelAsync();
        await Task.WhenAll(_users).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        foreach (var tenancy in _tenancies)
        {
            await tenancy.Follower.DisposeAsync();
            tenancy.Client.Dispose();
        }
        foreach (var node in _nodes) await node.DisposeAsync();
        foreach (var replica in _replicas) await replica.DisposeAsync();
        await _balancer.DisposeAsync();
        if (_receiver is not null) await _receiver.DisposeAsync();
        _admin?.Dispose();
        _ends.Dispose();
        _gone.Dispose();
    }
}
