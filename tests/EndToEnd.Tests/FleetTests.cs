using System.Net.Http.Json;
using Contracts;
using Testing;
using Xunit;

namespace EndToEnd.Tests;

/// <summary>Simulated nodes in one process, on a service of their own; the process, and the API under it, are killed.</summary>
public sealed class FleetTests : IAsyncLifetime
{
    private const int Nodes = 5;
    private static readonly string[] Names = [.. Enumerable.Range(1, Nodes).Select(n => $"sim-{n:0000}")];
    private readonly RunningService _service = new() { HasWorker = false };
    private ProcessUnderTest _fleet = null!;

    public async ValueTask InitializeAsync()
    {
        await _service.InitializeAsync();
        _fleet = _service.StartFleet(Nodes);
        await ReadyAsync();
    }

    public async ValueTask DisposeAsync()
    {
        await _fleet.DisposeAsync();
        await _service.DisposeAsync();
    }

    private async Task<IReadOnlyList<NodeView>> NodesAsync(string query = "") => (await _service.Client.GetFromJsonAsync<Page<NodeView>>($"/v1/nodes{query}"))!.Items;

    private async Task<IReadOnlyList<DeviceView>> DevicesAsync() => (await _service.Client.GetFromJsonAsync<Page<DeviceView>>("/v1/devices"))!.Items;

    private async Task ReadyAsync()
    {
        try
        {
            await Eventually.Async(async () => (await NodesAsync("?phase=Ready")).Count == Nodes, "all nodes are ready", RunningService.Patience);
        }
        catch (TimeoutException e)
        {
            throw new TimeoutException($"{e.Message}; the fleet printed:\n{_fleet.Output}", e);
        }
    }

    private async Task<Guid> CreateAsync(string name, string node)
    {
        using var response = await _service.Client.PostAsJsonAsync("/v1/sandboxes",
            new { name, image = "guest", vmm = "simulated", node, memoryMib = 128, accelerators = new[] { new { @class = "sva" } }, userData = """{"accessesPerSecond":500,"workingSetMib":1}""" });
        Assert.True(response.IsSuccessStatusCode, await response.Content.ReadAsStringAsync());
        return (await response.Content.ReadFromJsonAsync<SandboxView>())!.Id;
    }

    private Task<SandboxView> RunningAsync(Guid id) =>
        _service.UntilAsync(id, v => v.Phase == Phase.Running && v.Conditions.Any(c => c is { Type: ConditionType.SvaReady, Status: ConditionStatus.True }), "it runs and shares addresses");

    private Task CountedAsync(Guid id, Func<FaultSampleView, bool> which, string what) =>
        Eventually.Async(async () => (await _service.FaultsAsync(id)).Any(s => which(s) && s.Readings.Any(r => r.Source == FaultSource.IoPageFaults && r.Value > 0)), what, RunningService.Patience);

    [Fact]
    public async Task Fleet_WhenItIsKilled_ComesBackAsTheSameNodesAndSaysWhatIsLost()
    {
        // The service knows one node more, whose worker never came.
        var nodes = await NodesAsync("?phase=Ready");
        Assert.Equal(Names, nodes.Select(n => n.Name));
        Assert.All(nodes, n => Assert.Equal((Origin.Simulated, Acceleration.None, null, 4), (n.Facts!.Origin, n.Facts.Acceleration, n.Facts.VmmVersion, n.DeviceCount)));
        Assert.True((await _service.Client.GetFromJsonAsync<NodeReadinessView>($"/v1/nodes/{nodes[0].Id}/readiness"))!.CanRunSandboxes);
        Assert.All(await DevicesAsync(), d => Assert.Equal(("sva", Origin.Simulated), (d.Class, d.Origin)));

        var ids = new List<Guid>();
        foreach (var name in Names) ids.Add(await CreateAsync($"on-{name}", name));
        foreach (var (id, name) in ids.Zip(Names))
        {
            var view = await RunningAsync(id);
            Assert.Equal((name, Origin.Simulated, Acceleration.None), (view.NodeName, view.Origin, view.Acceleration));
            await CountedAsync(id, s => s.Readings.All(r => r.Origin == Origin.Simulated), "its page faults are counted, as simulated ones");
        }

        await _fleet.KillAsync();
        await Eventually.Async(async () => (await NodesAsync("?phase=Unreachable")).Count == Nodes, "the nodes are missed", RunningService.Patience);
        Assert.Equal(Phase.Lost, (await _service.FindAsync(ids[0]))!.Phase);
        // Devices of a node that cannot be seen are not handed out again.
        Assert.Equal(Nodes, (await DevicesAsync()).Count(d => d.Phase == DevicePhase.Assigned));

        _fleet = _service.StartFleet(Nodes);
        await ReadyAsync();
        Assert.Equal(nodes.Select(n => (n.Id, n.Name)), (await NodesAsync("?phase=Ready")).Select(n => (n.Id, n.Name)));
        foreach (var id in ids)
            Assert.Equal("VmmLost", (await _service.UntilAsync(id, v => v.Phase == Phase.Failed, "its loss is told")).Failure!.Reason);
        await Eventually.Async(async () => (await DevicesAsync()).All(d => d.Phase == DevicePhase.Available), "the devices are free", RunningService.Patience);

        (await _service.Client.PostAsync($"/v1/sandboxes/{ids[0]}/start", null)).EnsureSuccessStatusCode().Dispose();
        Assert.Equal(2, (await RunningAsync(ids[0])).Incarnation);

        foreach (var name in Names)
        {
            var directory = Path.Combine(_service.FleetDirectory, "nodes", name);
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Path.Combine(directory, "node.token")));
            Assert.False(File.Exists(Path.Combine(directory, "join.token")));
        }
    }

    [Fact]
    public async Task Samples_WhileTheApiIsAway_WaitAndAreStored()
    {
        var id = await CreateAsync("waits", Names[0]);
        await RunningAsync(id);
        await CountedAsync(id, _ => true, "samples arrive");
        await _service.Api.KillAsync();
        var killed = TimeProvider.System.GetUtcNow();
        await Eventually.Async(() => Task.FromResult(TimeProvider.System.GetUtcNow() - killed > TimeSpan.FromSeconds(3)), "some samples are taken while nobody takes them in");
        var back = TimeProvider.System.GetUtcNow();
        _service.StartApi();
        await _service.HealthyAsync();
        await CountedAsync(id, s => s.At > killed && s.At < back, "what was sampled meanwhile is stored");
    }

    [Fact]
    public async Task Fleet_ToldToEnd_EndsItsGuestsAndSaysSo()
    {
        var id = await CreateAsync("ends", Names[1]);
        await RunningAsync(id);
        Assert.Equal(0, await _fleet.TerminateAsync(RunningService.Patience));
        var ended = await _service.UntilAsync(id, v => v.Phase == Phase.Stopped, "its end is told before the fleet ends");
        Assert.Equal("NodeShutDown", ended.Conditions.Single(c => c.Type == ConditionType.VmmRunning).Reason);
    }
}
