using System.Net;
using System.Net.Http.Json;
using Contracts;
using Microsoft.AspNetCore.SignalR.Client;
using Testing;
using Xunit;

namespace Api.Tests.Storms;

/// <summary>Storms that a node reports, and what comes of them.</summary>
public sealed class StormTests(ServiceFixture service) : IClassFixture<ServiceFixture>, IAsyncLifetime
{
    private StandInNode? _node;
    private HttpClient? _client;
    private long _eventsBefore;
    private StandInNode Node => _node!;
    private HttpClient Client => _client!;

    public async ValueTask InitializeAsync()
    {
        (_node, _client) = (await service.NodeAsync(edu: 1), service.Client());
        _eventsBefore = await service.ScalarAsync("SELECT max(number) FROM events");
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var sandbox in (await Client.GetFromJsonAsync<Page<SandboxView>>("/v1/sandboxes?limit=1000"))!.Items)
            (await Client.DeleteAsync($"/v1/sandboxes/{sandbox.Id}")).Dispose();
        await Node.SyncAsync();
        foreach (var planned in Node.Plan.Sandboxes.ToList()) await Node.SayAsync(planned.Id, VmState.Absent);
        (await Client.PostAsync($"/v1/devices/{(await EduAsync()).Id}/release", null)).Dispose();
        await Node.DisposeAsync();
        Client.Dispose();
    }

    private async Task<DeviceView> EduAsync() => (await Client.DevicesAsync()).Single(d => d.Address == "edu-0");

    private async Task<Guid> RunningAsync(string name, StormAction action)
    {
        using var response = await Client.PostAsJsonAsync("/v1/sandboxes", new { name, image = "guest", accelerators = new[] { new { @class = "edu" } }, faultStorm = new { perSecond = 100, action } });
        Assert.Equal(HttpStatusCode.Created, response.StatusCode);
        var id = (await response.Content.ReadFromJsonAsync<SandboxView>())!.Id;
        await PlannedAsync(id);
        await Node.SayAsync(id, VmState.Running);
        return id;
    }

    private Task PlannedAsync(Guid id, int incarnation = 1) => Eventually.Async(async () =>
        (await Node.SyncAsync()).Sandboxes.Any(s => s.Id == id && s.Incarnation == incarnation && s.Desired == DesiredState.Running && s.Spec.Devices.Count == 1), "it is planned");

    private async Task<SandboxView> ViewAsync(Guid id) => (await Client.FindAsync(id))!;

    private static Condition? StormOf(SandboxView view) => view.Conditions.FirstOrDefault(c => c.Type == ConditionType.FaultStorm);

    private async Task<List<(string Type, string Reason)>> EventsAsync(Guid subject) =>
        [.. (await Client.GetFromJsonAsync<Page<EventView>>($"/v1/events?subject={subject}&after={_eventsBefore}&limit=1000"))!.Items.Select(e => (e.Type, e.Reason))];

    private async Task<HttpResponseMessage> PutAsync(Guid id, object policy) => await Client.PutAsJsonAsync($"/v1/sandboxes/{id}/storm-policy", policy);

    [Fact]
    public async Task Storm_WhenThePolicyDoesNothing_IsTold()
    {
        var id = await RunningAsync("told", StormAction.None);
        await Node.SayStormAsync(id, ConditionStatus.True, "FaultStorm");
        var view = await ViewAsync(id);
        Assert.Equal((Phase.Running, DesiredState.Running, ConditionStatus.True, null), (view.Phase, view.Desired, StormOf(view)!.Status, view.Failure));
        await Node.SayStormAsync(id, ConditionStatus.False, "NoFaultStorm");
        Assert.Equal([("sandbox.conditionChanged", "FaultStorm"), ("sandbox.conditionChanged", "NoFaultStorm")], (await EventsAsync(id)).Where(e => e.Reason.EndsWith("FaultStorm", StringComparison.Ordinal)));
        Assert.Equal(DevicePhase.Assigned, (await EduAsync()).Phase);
    }

    [Fact]
    public async Task Storm_WhenThePolicyStops_StopsOnceAndSaysWhy()
    {
        var id = await RunningAsync("stopped", StormAction.Stop);
        await Node.SayStormAsync(id, ConditionStatus.True, "FaultStorm");
        // The answer to the report that brings the storm is the plan to stop.
        Assert.Equal(DesiredState.Stopped, Node.Plan.Sandboxes.Single(s => s.Id == id).Desired);
        var view = await ViewAsync(id);
        Assert.Equal((Phase.Stopping, DesiredState.Stopped, 2, "FaultStorm"), (view.Phase, view.Desired, view.Generation, view.Failure!.Reason));
        Assert.Contains("It was 500 a second.", view.Failure.Message, StringComparison.Ordinal);
        await Node.SyncAsync();
        await Node.SayStormAsync(id, ConditionStatus.True, "FaultStorm", state: VmState.Stopping);
        await Node.SayStormAsync(id, ConditionStatus.False, "EndedInStorm", state: VmState.Stopped);
        view = await ViewAsync(id);
        Assert.Equal((Phase.Stopped, 2, "FaultStorm", "EndedInStorm"), (view.Phase, view.Generation, view.Failure!.Reason, StormOf(view)!.Reason));
        Assert.Single(await EventsAsync(id), e => e == ("sandbox.phaseChanged", "FaultStorm"));
        Assert.Equal((DevicePhase.Available, null), ((await EduAsync()).Phase, (await EduAsync()).Quarantine));
    }

    [Theory]
    [InlineData("StoppedAsPlanned")]
    [InlineData("StoppedByUser")]
    public async Task Storm_WhenItHasStopped_TheEndIsToldAsItsDoing(string toldByNode)
    {
        var id = await RunningAsync($"whose-{toldByNode.ToLowerInvariant()}", StormAction.Stop);
        await Node.SayStormAsync(id, ConditionStatus.True, "FaultStorm");
        await Node.SayAsync(id, VmState.Stopped);
        Node.Sandboxes[id] = Node.Sandboxes[id] with { Conditions = [new Condition(ConditionType.VmmRunning, ConditionStatus.False, toldByNode, "The guest was stopped as its plan said.", TimeProvider.System.GetUtcNow())] };
        await Node.SyncAsync();
        await Node.SyncAsync();
        var view = await ViewAsync(id);
        Assert.Equal(("FaultStorm", view.Failure!.Message), view.Conditions.Where(c => c.Type == ConditionType.VmmRunning).Select(c => (c.Reason, c.Message)).Single());
        Assert.DoesNotContain(await EventsAsync(id), e => e.Reason == toldByNode);
    }

    [Fact]
    public async Task Stop_ByItsUser_TheEndIsToldAsPlanned()
    {
        var id = await RunningAsync("by-user", StormAction.Stop);
        (await Client.PostAsync($"/v1/sandboxes/{id}/stop", null)).Dispose();
        await Node.SyncAsync();
        await Node.SayAsync(id, VmState.Stopped);
        Node.Sandboxes[id] = Node.Sandboxes[id] with { Conditions = [new Condition(ConditionType.VmmRunning, ConditionStatus.False, "StoppedAsPlanned", "The guest was stopped as its plan said.", TimeProvider.System.GetUtcNow())] };
        await Node.SyncAsync();
        Assert.Equal("StoppedAsPlanned", (await ViewAsync(id)).Conditions.Single(c => c.Type == ConditionType.VmmRunning).Reason);
    }

    /// <summary>A version that moves while nothing happens would make If-Match useless.</summary>
    [Fact]
    public async Task ETag_OfOneThatRuns_StaysWhileItsNodeSaysTheSame()
    {
        var id = await RunningAsync("stays", StormAction.None);
        var at = TimeProvider.System.GetUtcNow();
        // Times more exact than the database keeps them.
        var exact = at.AddTicks(7 - (at.Ticks % 10));
        Node.Sandboxes[id] = Node.Sandboxes[id] with { ExecAt = exact, GuestReadyAt = exact, Guest = new GuestFacts("1", "6.12", "b", 1, 1), Probe = [], Conditions = [new Condition(ConditionType.GuestReady, ConditionStatus.True, "AgentReady", "It is.", exact)] };
        await Node.SyncAsync();
        async Task<string> TagAsync()
        {
            using var response = await Client.GetAsync($"/v1/sandboxes/{id}");
            return response.Headers.ETag!.Tag;
        }
        var before = await TagAsync();
        foreach (var version in (string[])["7.3", "7.4"])
        {
            // Another report, so that it is applied in full.
            Node.QemuVersion = version;
            await Node.SyncAsync();
            await Node.SyncAsync();
        }
        Assert.Equal(before, await TagAsync());
    }

    [Fact]
    public async Task Start_AfterAStorm_BeginsWithoutIt()
    {
        var id = await RunningAsync("again", StormAction.Stop);
        await Node.SayStormAsync(id, ConditionStatus.True, "FaultStorm");
        await Node.SayStormAsync(id, ConditionStatus.False, "EndedInStorm", state: VmState.Stopped);
        (await Client.PostAsync($"/v1/sandboxes/{id}/start", null)).Dispose();
        // What the node still says of the last run is that run's.
        await PlannedAsync(id, incarnation: 2);
        var view = await ViewAsync(id);
        Assert.Equal((DesiredState.Running, null, null), (view.Desired, view.Failure, StormOf(view)));
        await Node.SayStormAsync(id, ConditionStatus.True, "FaultStorm");
        Assert.Equal(2, (await EventsAsync(id)).Count(e => e == ("sandbox.phaseChanged", "FaultStorm")));
    }

    [Fact]
    public async Task Storm_WhenThePolicyQuarantines_TakesTheDevicesOutUntilTheyAreReleased()
    {
        var id = await RunningAsync("quarantined", StormAction.Quarantine);
        await Node.SayStormAsync(id, ConditionStatus.True, "FaultStorm");
        await Node.SayStormAsync(id, ConditionStatus.True, "FaultStorm", state: VmState.Stopping);
        Assert.Equal((DevicePhase.Assigned, "FaultStorm"), ((await EduAsync()).Phase, (await EduAsync()).Quarantine!.Reason));
        await Node.SayStormAsync(id, ConditionStatus.False, "EndedInStorm", state: VmState.Stopped);
        var edu = await EduAsync();
        Assert.Equal((Phase.Stopped, DevicePhase.Quarantined, "FaultStorm"), ((await ViewAsync(id)).Phase, edu.Phase, edu.Quarantine!.Reason));
        Assert.Single(await EventsAsync(edu.Id), e => e == ("device.quarantineChanged", "FaultStorm"));
        (await Client.PostAsync($"/v1/devices/{edu.Id}/release", null)).Dispose();
        await Node.SyncAsync();
        Assert.Equal((DevicePhase.Available, null), ((await EduAsync()).Phase, (await EduAsync()).Quarantine));
    }

    [Fact]
    public async Task Release_WhileTheStormIsStillReported_Holds()
    {
        var id = await RunningAsync("released", StormAction.Quarantine);
        await Node.SayStormAsync(id, ConditionStatus.True, "FaultStorm");
        using (var response = await Client.PostAsync($"/v1/devices/{(await EduAsync()).Id}/release", null)) Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        await Node.SayStormAsync(id, ConditionStatus.True, "FaultStorm", state: VmState.Stopping);
        Assert.Null((await EduAsync()).Quarantine);
    }

    [Fact]
    public async Task Storm_OfARunThatHasEndedMeanwhile_QuarantinesItsDevices()
    {
        var id = await RunningAsync("fast", StormAction.Quarantine);
        Node.Held["edu-0"] = id;
        Node.Sandboxes[id] = Node.Sandboxes[id] with { State = VmState.Failed, Failure = new Failure("GuestPanicked", "m", "r", TimeProvider.System.GetUtcNow()) };
        Node.JudgeStorm(id, ConditionStatus.False, "EndedInStorm");
        await Node.SyncAsync();
        Assert.Equal((Phase.Failed, "GuestPanicked"), ((await ViewAsync(id)).Phase, (await ViewAsync(id)).Failure!.Reason));
        Assert.Equal("FaultStorm", (await EduAsync()).Quarantine!.Reason);
    }

    [Fact]
    public async Task Storm_ByAPolicyThatHoldsNoMore_IsNotTakenIn()
    {
        var id = await RunningAsync("old", StormAction.Stop);
        var old = (await ViewAsync(id)).FaultStorm;
        using (await PutAsync(id, new { perSecond = 1000, action = "stop" })) { }
        await Node.SayStormAsync(id, ConditionStatus.True, "FaultStorm", by: old);
        Assert.Equal((Phase.Running, null), ((await ViewAsync(id)).Phase, StormOf(await ViewAsync(id))));
    }

    [Fact]
    public async Task Put_OfAnActionInAStorm_Acts()
    {
        var id = await RunningAsync("late", StormAction.None);
        await Node.SayStormAsync(id, ConditionStatus.True, "FaultStorm");
        var judgedBy = (await ViewAsync(id)).FaultStorm;
        using (await PutAsync(id, new { perSecond = 100, action = "stop" })) { }
        await Node.SayStormAsync(id, ConditionStatus.True, "FaultStorm", by: judgedBy);
        Assert.Equal(DesiredState.Stopped, (await ViewAsync(id)).Desired);
    }

    [Fact]
    public async Task Stop_ByTheUserInAStorm_IsNotTheStorms()
    {
        var id = await RunningAsync("mine", StormAction.Stop);
        (await Client.PostAsync($"/v1/sandboxes/{id}/stop", null)).Dispose();
        await Node.SayStormAsync(id, ConditionStatus.True, "FaultStorm", state: VmState.Stopping);
        await Node.SayStormAsync(id, ConditionStatus.False, "EndedInStorm", state: VmState.Stopped);
        Assert.Equal((Phase.Stopped, null), ((await ViewAsync(id)).Phase, (await ViewAsync(id)).Failure));
    }

    [Fact]
    public async Task Storm_ReportedToTwoReplicasAtOnce_ActsOnce()
    {
        var id = await RunningAsync("replicas", StormAction.Quarantine);
        await using var replica = service.NewReplica();
        await using var other = new StandInNode(replica, service.NodeToken, 1) { Installation = service.Installation };
        other.Held["edu-0"] = id;
        other.Sandboxes[id] = Node.Sandboxes[id];
        await other.StartAsync();
        Node.JudgeStorm(id, ConditionStatus.True, "FaultStorm");
        other.Sandboxes[id] = Node.Sandboxes[id];
        await Task.WhenAll(Node.SyncAsync(), other.SyncAsync());
        Assert.Equal((Phase.Stopping, 2), ((await ViewAsync(id)).Phase, (await ViewAsync(id)).Generation));
        Assert.Single(await EventsAsync(id), e => e == ("sandbox.phaseChanged", "FaultStorm"));
        Assert.Single(await EventsAsync(id), e => e == ("sandbox.conditionChanged", "FaultStorm"));
        Assert.Single(await EventsAsync((await EduAsync()).Id), e => e == ("device.quarantineChanged", "FaultStorm"));
    }

    [Fact]
    public async Task Get_OfMetrics_TellsTheStormWithItsOrigin()
    {
        var id = await RunningAsync("gauge", StormAction.None);
        foreach (var (status, expected) in (IEnumerable<(ConditionStatus, string?)>)[(ConditionStatus.True, "1"), (ConditionStatus.False, "0"), (ConditionStatus.Unknown, null)])
        {
            await Node.SayStormAsync(id, status, $"Of{status}");
            Assert.True(await Node.TellAsync(Faults.FaultBytes.Of(new FaultSample(id, 1, TimeProvider.System.GetUtcNow(),
                [new(FaultSource.VmmMinor, 7, null, false, Origin.Hardware), new(FaultSource.IoPageFaults, 7, null, false, Origin.Simulated), new(FaultSource.SmmuEvents, 7, null, false, Origin.Emulated)]))));
            var text = await Client.GetStringAsync("/metrics");
            var line = text.Split('\n').SingleOrDefault(l => l.StartsWith("sandbox_fault_storm{", StringComparison.Ordinal));
            Assert.Equal(expected is null ? null : $"sandbox_fault_storm{{sandbox=\"{id}\",origin=\"simulated\"}} {expected}", line);
        }
    }
}
