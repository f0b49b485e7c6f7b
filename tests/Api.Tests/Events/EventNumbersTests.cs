using System.Net;
using System.Net.Http.Json;
using Api.Events;
using Contracts;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;
using Npgsql;
using Testing;
using Xunit;

namespace Api.Tests.Events;

/// <summary>Numbers of each project, who sees what, and what is said of what is no longer kept.</summary>
public sealed class EventNumbersTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    private static async Task<List<EventView>> ListAsync(HttpClient client, string query = "") => (await client.GetFromJsonAsync<Page<EventView>>($"/v1/events?limit=1000{query}", Ct))!.Items.ToList();

    private static Event Of(Guid project, string message, DateTimeOffset? at = null) =>
        Event.Of(project, EventType.DevicePhase, Guid.NewGuid(), "d", "r", message, at ?? TimeProvider.System.GetUtcNow());

    private async Task StoreAsync(params Event[] events)
    {
        await using var db = Migrations.Database.Open(service.ConnectionString);
        db.Events.AddRange(events);
        await db.SaveChangesAsync(Ct);
    }

    [Fact]
    public async Task Create_InTwoProjectsAtOnce_NumbersEachWithoutAGap()
    {
        await using var node = await service.NodeAsync();
        using var one = await service.TenantClientAsync("one");
        using var two = await service.TenantClientAsync("two");
        await Task.WhenAll(Enumerable.Range(0, 30).Select(i => (i % 2 == 0 ? one : two).CreateAsync($"n{i}")));
        foreach (var client in (HttpClient[])[one, two])
        {
            var events = await ListAsync(client);
            Assert.Equal(Enumerable.Range(1, events.Count).Select(n => (long)n), events.Select(e => e.Number));
            Assert.True(events.Count(e => e.Type == EventType.SandboxCreated) == 15);
            // Nodes, images and free devices are no tenant's business.
            Assert.All(events, e => Assert.StartsWith("sandbox.", e.Type, StringComparison.Ordinal));
        }
        using var operators = service.Client();
        Assert.Contains(await ListAsync(operators), e => e.Type is EventType.NodeJoined or EventType.NodePhase);
        // Placing them goes on meanwhile.
        await Eventually.Async(async () =>
        {
            using var list = await two.GetAsync("/v1/sandboxes?limit=1", Ct);
            return list.Headers.GetValues("X-Event-Number").Single() == (await ListAsync(two))[^1].Number.ToString(System.Globalization.CultureInfo.InvariantCulture);
        }, "the list tells the last event's number");
    }

    [Fact]
    public async Task Store_WhileAnotherProjectsTransactionIsOpen_DoesNotWait()
    {
        var other = Guid.NewGuid();
        await using var connection = new NpgsqlConnection(service.ConnectionString);
        await connection.OpenAsync(Ct);
        await using var transaction = await connection.BeginTransactionAsync(Ct);
        await using (var insert = new NpgsqlCommand("INSERT INTO events (project_id, at, type, reason, message) VALUES ($1, now(), 'device.phaseChanged', 'r', 'm')", connection) { Parameters = { new() { Value = other } } })
            await insert.ExecuteNonQueryAsync(Ct);
        var mine = Guid.NewGuid();
        await StoreAsync(Of(mine, "m")).WaitAsync(TimeSpan.FromSeconds(20), Ct);
        Assert.Equal(1, await service.ScalarAsync($"SELECT number FROM events WHERE project_id = '{mine}'"));
    }

    [Fact]
    public async Task Store_OfTwoProjectsInEitherOrder_NeverDeadlocks()
    {
        var (a, b) = (Guid.NewGuid(), Guid.NewGuid());
        const int rounds = 60;
        (Guid, Guid)[] orders = [(a, b), (b, a), (a, b), (b, a)];
        await Task.WhenAll(orders.Select(async order =>
        {
            for (var round = 0; round < rounds; round++) await StoreAsync(Of(order.Item1, "first"), Of(order.Item2, "second"));
        }));
        Assert.Equal(rounds * orders.Length, await service.ScalarAsync($"SELECT max(number) FROM events WHERE project_id = '{a}'"));
    }

    [Fact]
    public async Task Store_OfManyInOneTransaction_KeepsTheirOrder()
    {
        var project = Guid.NewGuid();
        await StoreAsync([.. Enumerable.Range(1, 100).Select(n => Of(project, $"{n}"))]);
        Assert.Equal(0, await service.ScalarAsync($"SELECT count(*) FROM events WHERE project_id = '{project}' AND number <> message::bigint"));
        Assert.Equal(100, await service.ScalarAsync($"SELECT count(*) FROM events WHERE project_id = '{project}'"));
    }

    [Fact]
    public async Task Device_WhileASandboxHasIt_IsToldToItsProjectToo()
    {
        await using var node = await service.NodeAsync(edu: 1);
        using var tenant = await service.TenantClientAsync("holder");
        using var operators = service.Client();
        var id = (await tenant.CreateAsync("holds", edu: 1)).Id;
        await Eventually.Async(async () => (await node.SyncAsync()).Sandboxes.Any(s => s.Id == id), "it is planned");
        await node.SayAsync(id, VmState.Running);
        await node.SayAsync(id, VmState.Failed, new Failure("VmmKilled", "It was killed.", "Start it again.", TimeProvider.System.GetUtcNow()));
        var device = (await operators.DevicesAsync()).Single(d => d.Address == "edu-0");
        var told = await ListAsync(tenant, $"&type=device.*&subject={device.Id}");
        Assert.Equal(["Available"], told.Select(e => e.Reason));
        Assert.Contains(await ListAsync(operators, $"&type=device.*&subject={device.Id}"), e => e.Reason == "Available" && e.Message == told[0].Message);
        (await tenant.DeleteAsync($"/v1/sandboxes/{id}", Ct)).Dispose();
        await node.SyncAsync();
        await node.SayAsync(id, VmState.Absent);
    }

    [Fact]
    public async Task Retention_RemovesTheOldest_AndTellsAReaderWhoMissesThem()
    {
        using var tenant = await service.TenantClientAsync("keeps");
        var project = await service.ProjectAsync("keeps");
        var now = TimeProvider.System.GetUtcNow();
        // The fifth is old, but comes after one that is young: what is kept has no gap.
        foreach (var age in (int[])[100, 95, 91, 1, 95, 0]) await StoreAsync(Of(project, $"{age}", now.AddDays(-age)));
        using (var retention = new EventRetention(service.Factory.Services.GetRequiredService<IServiceScopeFactory>(), new EventSettings(90), new FakeTimeProvider(now), NullLogger<EventRetention>.Instance))
        {
            await retention.StartAsync(Ct);
            await Eventually.Async(async () => await service.ScalarAsync($"SELECT count(*) FROM events WHERE project_id = '{project}'") == 3, "three are kept");
            await retention.StopAsync(Ct);
        }
        Assert.Equal([4, 5, 6], (await ListAsync(tenant)).Select(e => e.Number));
        Assert.Equal([4, 5, 6], (await ListAsync(tenant, "&after=3")).Select(e => e.Number));
        Assert.Empty(await ListAsync(tenant, "&after=6"));
        foreach (var after in (int[])[0, 2, 7])
        {
            using var refused = await tenant.GetAsync($"/v1/events?after={after}", Ct);
            Assert.Equal((HttpStatusCode.Gone, "events_expired"), (refused.StatusCode, await refused.CodeAsync()));
            var body = await refused.Content.ReadFromJsonAsync<System.Text.Json.JsonElement>(Ct);
            Assert.Equal((4, 6), (body.GetProperty("oldest").GetInt64(), body.GetProperty("last").GetInt64()));
        }
        await StoreAsync(Of(project, "next"));
        Assert.Equal([7], (await ListAsync(tenant, "&after=6")).Select(e => e.Number));
    }

    [Fact]
    public async Task Retention_RemovesWhatIsLeftOfAProjectThatIsGone_AndNothingOfOthers()
    {
        using var admin = service.Client();
        var (gone, stays) = ((await service.TenantAsync("gone")).Project, (await service.TenantAsync("stays")).Project);
        foreach (var project in (Guid[])[gone, stays]) await StoreAsync(Of(project, "told"));
        (await admin.DeleteAsync($"/v1/projects/{gone}", Ct)).EnsureSuccessStatusCode().Dispose();
        using (var retention = new EventRetention(service.Factory.Services.GetRequiredService<IServiceScopeFactory>(), new EventSettings(90), TimeProvider.System, NullLogger<EventRetention>.Instance))
        {
            await retention.StartAsync(Ct);
            await Eventually.Async(async () => await service.ScalarAsync($"SELECT count(*) FROM event_counters WHERE project_id = '{gone}'") == 0, "its numbers are gone");
            await retention.StopAsync(Ct);
        }
        Assert.Equal(0, await service.ScalarAsync($"SELECT count(*) FROM events WHERE project_id = '{gone}'"));
        Assert.Equal(1, await service.ScalarAsync($"SELECT count(*) FROM events WHERE project_id = '{stays}'"));
    }

    [Theory]
    [InlineData("after=-1", "after")]
    [InlineData("limit=0", "limit")]
    [InlineData("type=sandbox.creatd", "type")]
    [InlineData("type=sandbox*", "type")]
    [InlineData("type=", "type")]
    [InlineData("types=*", "types")]
    public async Task List_WithABadParameter_Returns422(string query, string field)
    {
        using var client = service.Client();
        using var response = await client.GetAsync($"/v1/events?{query}", Ct);
        Assert.Equal((HttpStatusCode)422, response.StatusCode);
        Assert.Contains($"\"{field}\"", await response.Content.ReadAsStringAsync(Ct), StringComparison.Ordinal);
    }

    [Fact]
    public async Task List_ByTypes_TakesNamesAndKinds()
    {
        await using var node = await service.NodeAsync();
        using var tenant = await service.TenantClientAsync("types");
        await tenant.CreateAsync("typed");
        await Eventually.Async(async () => (await ListAsync(tenant)).Count >= 2, "it is created and placed");
        Assert.Equal([EventType.SandboxCreated], (await ListAsync(tenant, "&type=sandbox.created")).Select(e => e.Type));
        Assert.Equal((await ListAsync(tenant)).Count, (await ListAsync(tenant, "&type=node.joined&type=sandbox.*")).Count);
        Assert.Empty(await ListAsync(tenant, "&type=node.*"));
    }
}
