using System.Net.Http.Json;
using Api.Nodes;
using Contracts;
using Microsoft.AspNetCore.SignalR;
using Microsoft.AspNetCore.SignalR.Client;
using Microsoft.AspNetCore.TestHost;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Testing;
using Xunit;

namespace Api.Tests;

/// <summary>A node is one machine, whoever else has its token.</summary>
public sealed class NodeMachineTests(ServiceFixture service) : IClassFixture<ServiceFixture>, IAsyncLifetime
{
    private StandInNode? _node;
    private StandInNode Node => _node!;

    public async ValueTask InitializeAsync() => _node = await service.NodeAsync();

    public ValueTask DisposeAsync() => Node.DisposeAsync();

    private Task<long> RefusalsAsync() => service.ScalarAsync("SELECT count(*) FROM events WHERE type = 'node.machineRefused'");

    private StandInNode Second() => new(service.Factory, service.NodeToken, 3) { Installation = Guid.NewGuid(), QemuVersion = "99" };

    private static NodeInventory Inventory(string core) => new(DateTimeOffset.UnixEpoch, [new CpuKind(core, 0x41, 0xD4F, 72)], [], [], [], []);

    private static async Task RefusedAsync(Func<Task> sync) =>
        Assert.Contains("HubException: node_is_another_machine: ", (await Assert.ThrowsAsync<HubException>(sync)).Message, StringComparison.Ordinal);

    [Fact]
    public void Judge_Table()
    {
        var (a, b) = (Guid.NewGuid(), Guid.NewGuid());
        Assert.Equal((NodeMachine.Judgement.First, NodeMachine.Judgement.Same, NodeMachine.Judgement.Another), (NodeMachine.Judge(null, a), NodeMachine.Judge(a, a), NodeMachine.Judge(a, b)));
    }

    private sealed class ShiftedTime : TimeProvider
    {
        private long _shift;
        public void Advance(TimeSpan by) => Interlocked.Add(ref _shift, by.Ticks * (TimestampFrequency / TimeSpan.TicksPerSecond));
        public override long GetTimestamp() => base.GetTimestamp() + Interlocked.Read(ref _shift);
    }

    [Fact]
    public async Task Connection_WhenItsNodeIsSilentForSoLongThatAnotherCouldReplaceIt_IsNobodysUntilItReports()
    {
        var time = new ShiftedTime();
        await using var replica = service.NewReplica().WithWebHostBuilder(b => b.ConfigureTestServices(s => s.AddSingleton<TimeProvider>(time)));
        using var client = service.Client(replica);
        await using var node = new StandInNode(replica, service.NodeToken, 2) { Installation = service.Installation };
        await node.StartAsync();
        var nudges = 0;
        using var heard = node.Connection.On(NodeProtocol.PlanChanged, () => Interlocked.Increment(ref nudges));
        var id = (await client.CreateAsync("silent")).Id;
        await Eventually.Async(async () => (await node.SyncAsync()).Sandboxes.Any(s => s.Id == id), "it is planned");
        await node.SayAsync(id, VmState.Running);
        FaultSample Sample(int second, long value) => new(id, 1, TimeProvider.System.GetUtcNow().AddSeconds(second), [new("guest.minorFaults", value, null, false, Origin.Emulated)]);
        time.Advance(NodeWatch.Silence);
        Assert.False(await node.TellAsync(Sample(-2, 666)));
        var before = Volatile.Read(ref nudges);
        (await client.PostAsync($"/v1/sandboxes/{id}/stop", null)).EnsureSuccessStatusCode().Dispose();
        await node.SyncAsync();
        await node.TellAsync(Sample(-1, 7));
        var samples = await Eventually.GetAsync(async () => await client.GetFromJsonAsync<Page<FaultSampleView>>($"/v1/sandboxes/{id}/faults") is { Items.Count: > 0 } p ? p : null, "what came after its report is stored");
        Assert.Equal([7L], samples.Items.Select(s => s.Readings[0].Value!.Value));
        Assert.Equal(before, Volatile.Read(ref nudges));
        (await client.DeleteAsync($"/v1/sandboxes/{id}")).EnsureSuccessStatusCode().Dispose();
        await Eventually.Async(async () => (await node.SyncAsync()).Sandboxes.Any(s => s.Id == id && s.Desired == DesiredState.Deleted), "it is to go");
        await node.SayAsync(id, VmState.Absent);
    }

    [Fact]
    public async Task Second_WhenItShowsAKnownNodesToken_IsRefusedAndTheFirstGoesOnUndisturbed()
    {
        using var client = service.Client();
        await Node.Connection.InvokeAsync(NodeProtocol.Inventory, Inventory("Neoverse V2"));
        var node = (await client.GetFromJsonAsync<Page<NodeView>>("/v1/nodes"))!.Items.Single();
        var devices = await client.DevicesAsync();
        var events = await RefusalsAsync();
        await using var second = Second();
        int nudges = 0, nudgesOfTheFirst = 0;
        using var heard = second.Connection.On(NodeProtocol.PlanChanged, () => Interlocked.Increment(ref nudges));
        using var heardFirst = Node.Connection.On(NodeProtocol.PlanChanged, () => Interlocked.Increment(ref nudgesOfTheFirst));
        await RefusedAsync(second.StartAsync);
        // As a worker does: its hardware first.
        await second.Connection.InvokeAsync(NodeProtocol.Inventory, Inventory("Elsewhere"));
        for (var i = 0; i < 5; i++) await RefusedAsync(second.SyncAsync);

        var id = (await client.CreateAsync("undisturbed", edu: 1)).Id;
        await Eventually.Async(async () => (await Node.SyncAsync()).Sandboxes.Any(s => s.Id == id), "the first gets its plan");
        await Node.SayAsync(id, VmState.Running);
        var now = TimeProvider.System.GetUtcNow();
        Assert.False(await second.TellAsync(new FaultSample(id, 1, now, [new("guest.minorFaults", 666, null, false, Origin.Emulated)])));
        Assert.True(await Node.TellAsync(new FaultSample(id, 1, now, [new("guest.minorFaults", 7, null, false, Origin.Emulated)])));
        var samples = await Eventually.GetAsync(async () => await client.GetFromJsonAsync<Page<FaultSampleView>>($"/v1/sandboxes/{id}/faults") is { Items.Count: > 0 } p ? p : null, "the first's sample is stored");
        Assert.Equal([7L], samples.Items.Select(s => s.Readings[0].Value!.Value));
        await Eventually.Async(() => Task.FromResult(Volatile.Read(ref nudgesOfTheFirst) > 0), "the first is told of its plan");
        Assert.Equal(0, Volatile.Read(ref nudges));

        var after = (await client.GetFromJsonAsync<Page<NodeView>>("/v1/nodes"))!.Items.Single();
        Assert.Equivalent(node.Facts, after.Facts);
        Assert.Equal(NodePhase.Ready, after.Phase);
        Assert.Equal(devices.Select(d => d.Address), (await client.DevicesAsync()).Select(d => d.Address));
        Assert.Equal("Neoverse V2", (await client.GetFromJsonAsync<NodeReadinessView>($"/v1/nodes/{node.Id}/readiness"))!.Inventory!.Cpus.Single().Name);
        // Six refusals are one event, which may be another test's.
        Assert.InRange(await RefusalsAsync(), Math.Max(1, events), events + 1);
        (await client.DeleteAsync($"/v1/sandboxes/{id}")).EnsureSuccessStatusCode().Dispose();
        await Node.SyncAsync();
        await Node.SayAsync(id, VmState.Absent);
    }

    [Fact]
    public async Task Inventory_ToldBeforeTheFirstReport_IsStoredWithIt()
    {
        using var client = service.Client();
        await using var again = new StandInNode(service.Factory, service.NodeToken, 2) { Installation = service.Installation };
        await again.Connection.StartAsync(TestContext.Current.CancellationToken);
        await again.Connection.InvokeAsync(NodeProtocol.Inventory, Inventory("Neoverse V3"), TestContext.Current.CancellationToken);
        await again.SyncAsync();
        var node = (await client.GetFromJsonAsync<Page<NodeView>>("/v1/nodes"))!.Items.Single();
        Assert.Equal("Neoverse V3", (await client.GetFromJsonAsync<NodeReadinessView>($"/v1/nodes/{node.Id}/readiness"))!.Inventory!.Cpus.Single().Name);
    }

    [Fact]
    public async Task Bootstrap_WhenRunAgain_LetsTheMachineThatReportsNextBeTheNode()
    {
        var token = Path.Combine(Surroundings.NewDirectory("again"), "node.token");
        await File.WriteAllTextAsync(token, service.NodeToken, TestContext.Current.CancellationToken);
        await using var second = new StandInNode(service.Factory, service.NodeToken, 2) { Installation = Guid.NewGuid() };
        await RefusedAsync(second.StartAsync);
        await ProvisionAsync(token);
        await second.SyncAsync();
        await RefusedAsync(Node.SyncAsync);
        await ProvisionAsync(token);
        await Node.SyncAsync();
    }

    private async Task ProvisionAsync(string token)
    {
        await using var db = Migrations.Database.Open(service.ConnectionString);
        await Migrations.Bootstrap.RunAsync(db, null, token, "standin", TimeProvider.System, CancellationToken.None);
    }

    [Fact]
    public async Task Tell_LogsOnceAMinuteAndStoresOnceAnHour()
    {
        using var client = service.Client();
        var node = (await client.GetFromJsonAsync<Page<NodeView>>("/v1/nodes"))!.Items.Single();
        var (clock, log) = (new Clock(), new Lines());
        var refused = new RefusedMachines(service.Factory.Services.GetRequiredService<IServiceScopeFactory>(), clock, log);
        var before = await RefusalsAsync();
        for (var second = 0; second < 7200; second += 20)
        {
            await refused.TellAsync(node.Id, TestContext.Current.CancellationToken);
            clock.Now += TimeSpan.FromSeconds(20);
        }
        Assert.Equal((120, before + 2), (log.Count, await RefusalsAsync()));
    }

    private sealed class Clock : TimeProvider
    {
        public DateTimeOffset Now { get; set; } = System.GetUtcNow();
        public override DateTimeOffset GetUtcNow() => Now;
    }

    private sealed class Lines : ILogger<RefusedMachines>
    {
        public int Count { get; private set; }
        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;
        public bool IsEnabled(LogLevel logLevel) => true;
        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) => Count++;
    }
}
