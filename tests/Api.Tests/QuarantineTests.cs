using System.Net;
using System.Net.Http.Json;
using Api.Sandboxes;
using Contracts;
using Microsoft.AspNetCore.SignalR.Client;
using Microsoft.Extensions.DependencyInjection;
using Testing;
using Xunit;

namespace Api.Tests;

/// <summary>Devices that are taken out of service, by an operator or by their node, and put back.</summary>
public sealed class QuarantineTests(ServiceFixture service) : IClassFixture<ServiceFixture>, IAsyncLifetime
{
    private StandInNode? _node;
    private HttpClient? _client;
    private StandInNode Node => _node!;
    private HttpClient Client => _client!;

    public async ValueTask InitializeAsync() => (_node, _client) = (await service.NodeAsync(edu: 1), service.Client());

    public async ValueTask DisposeAsync()
    {
        Node.Quarantined.Clear();
        await Node.SyncAsync();
        using (await Client.PostAsync($"/v1/devices/{(await EduAsync()).Id}/release", null)) { }
        foreach (var sandbox in (await Client.GetFromJsonAsync<Page<SandboxView>>("/v1/sandboxes?limit=1000"))!.Items)
            (await Client.DeleteAsync($"/v1/sandboxes/{sandbox.Id}")).Dispose();
        await Node.SyncAsync();
        foreach (var planned in Node.Plan.Sandboxes.ToList()) await Node.SayAsync(planned.Id, VmState.Absent);
        await Node.DisposeAsync();
        Client.Dispose();
    }

    private async Task<DeviceView> EduAsync() => (await Client.DevicesAsync()).Single(d => d.Address == "edu-0");

    private async Task<DeviceView> DoAsync(string verb, object? body = null)
    {
        using var response = await Client.PostAsJsonAsync($"/v1/devices/{(await EduAsync()).Id}/{verb}", body ?? new { });
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        return (await response.Content.ReadFromJsonAsync<DeviceView>())!;
    }

    private async Task PlannedAsync(Guid id) =>
        await Eventually.Async(async () => (await Node.SyncAsync()).Sandboxes.Any(s => s.Id == id && s.Desired == DesiredState.Running), $"the node is to run {id}");

    private async Task<Guid> RunningAsync(string name)
    {
        var id = (await Client.CreateAsync(name, edu: 1)).Id;
        await PlannedAsync(id);
        await Node.SayAsync(id, VmState.Running);
        return id;
    }

    private Task<long> EventsAsync(string reason) => service.ScalarAsync($"SELECT count(*) FROM events WHERE type = 'device.quarantineChanged' AND reason = '{reason}'");

    private static Failure Found(string reason) => new(reason, "It did not come clean.", "Look at it.", TimeProvider.System.GetUtcNow().AddTicks(3));

    [Fact]
    public async Task Quarantine_OfAFreeDevice_HoldsAtOnce_AndReleaseHandsItOutAgain()
    {
        var (events, releases) = (await EventsAsync("QuarantinedByOperator"), await EventsAsync("ReleasedByOperator"));
        var device = await DoAsync("quarantine", new { message = "smells of smoke" });
        Assert.Equal((DevicePhase.Quarantined, "QuarantinedByOperator", "smells of smoke"), (device.Phase, device.Quarantine!.Reason, device.Quarantine.Message));
        Assert.NotEmpty(device.Quarantine.Remedy);
        Assert.Equal((IReadOnlyList<Viommu>)[Viommu.Smmuv3, Viommu.None], device.Viommus);
        Assert.Equivalent(device, await DoAsync("quarantine", new { message = "another word" }));
        Assert.Equal(events + 1, await EventsAsync("QuarantinedByOperator"));
        await Node.SyncAsync();
        Assert.Equal(DevicePhase.Quarantined, (await EduAsync()).Phase);

        var id = (await Client.CreateAsync("waits", edu: 1)).Id;
        await Eventually.Async(async () => (await Client.FindAsync(id))!.Conditions.Any(c => c.Reason == "NotEnoughDevices"), "it waits");
        var released = await DoAsync("release");
        Assert.Null(released.Quarantine);
        Assert.Equal(releases + 1, await EventsAsync("ReleasedByOperator"));
        await PlannedAsync(id);
        using var again = await Client.PostAsync($"/v1/devices/{device.Id}/release", null);
        Assert.Equal((HttpStatusCode.Conflict, "not_quarantined"), (again.StatusCode, await again.CodeAsync()));
    }

    [Fact]
    public async Task Quarantine_OfAHeldDevice_LetsItsGuestGoOn_AndHoldsAfterTheTenancy()
    {
        var id = await RunningAsync("goes-on");
        var device = await DoAsync("quarantine");
        Assert.Equal((DevicePhase.Assigned, (Guid?)id, "QuarantinedByOperator"), (device.Phase, device.SandboxId, device.Quarantine!.Reason));
        await Node.SyncAsync();
        Assert.Equal((Phase.Running, DevicePhase.Assigned), ((await Client.FindAsync(id))!.Phase, (await EduAsync()).Phase));
        Assert.Equal(["edu-0"], Node.Plan.Sandboxes.Single().Spec.Devices);

        Node.KeepsDevices = true;
        (await Client.PostAsync($"/v1/sandboxes/{id}/stop", null)).EnsureSuccessStatusCode().Dispose();
        await Node.SyncAsync();
        await Node.SayAsync(id, VmState.Stopped);
        Assert.Equal(DevicePhase.Cleaning, (await EduAsync()).Phase);
        Assert.Equal(DevicePhase.Cleaning, (await DoAsync("quarantine")).Phase);
        Node.KeepsDevices = false;
        Node.Held["edu-0"] = null;
        await Node.SyncAsync();
        Assert.Equal((DevicePhase.Quarantined, (Guid?)null), ((await EduAsync()).Phase, (await EduAsync()).SandboxId));
        Assert.Equal(DevicePhase.Available, (await DoAsync("release")).Phase);
    }

    [Fact]
    public async Task Release_WhileItIsHeld_EndsTheWishOnly()
    {
        var id = await RunningAsync("kept");
        await DoAsync("quarantine");
        var device = await DoAsync("release");
        Assert.Equal((DevicePhase.Assigned, (Guid?)id, null), (device.Phase, device.SandboxId, device.Quarantine));
        await Node.SyncAsync();
        Assert.Equal(Phase.Running, (await Client.FindAsync(id))!.Phase);
    }

    [Fact]
    public async Task Release_OfWhatTheNodeQuarantined_IsInThePlanUntilTheNodeHasLiftedIt()
    {
        var (first, second) = (Found("FlrFailed"), Found("BarStuck"));
        Node.Quarantined["edu-0"] = first;
        await Node.SyncAsync();
        Assert.Equal((DevicePhase.Quarantined, "FlrFailed"), ((await EduAsync()).Phase, (await EduAsync()).Quarantine!.Reason));
        Assert.Empty(Node.Plan.Devices);

        var nudged = new TaskCompletionSource();
        using (Node.Connection.On(NodeProtocol.PlanChanged, nudged.TrySetResult))
        {
            Assert.Equal(DevicePhase.Quarantined, (await DoAsync("release")).Phase);
            await nudged.Task.WaitAsync(TimeSpan.FromSeconds(20), TestContext.Current.CancellationToken);
        }
        var revision = Node.Plan.Revision;
        await Node.SyncAsync();
        // To the tick: the node compares it with its own.
        Assert.Equal(new PlannedDevice("edu-0", first.At), Assert.Single(Node.Plan.Devices));
        Assert.True(Node.Plan.Revision > revision);
        var events = await EventsAsync("ReleasedByOperator");
        await DoAsync("release");
        Assert.Equal(events, await EventsAsync("ReleasedByOperator"));

        Node.Quarantined["edu-0"] = second;
        await Node.SyncAsync();
        Assert.Empty(Node.Plan.Devices);
        Assert.Equal((DevicePhase.Quarantined, "BarStuck"), ((await EduAsync()).Phase, (await EduAsync()).Quarantine!.Reason));
        await DoAsync("release");
        Assert.Equal(second.At, Assert.Single((await Node.SyncAsync()).Devices).LiftQuarantineOf);
        Node.Quarantined.Clear();
        await Node.SyncAsync();
        Assert.Empty(Node.Plan.Devices);
        Assert.Equal((DevicePhase.Available, null), ((await EduAsync()).Phase, (await EduAsync()).Quarantine));
    }

    [Fact]
    public async Task Release_WhenBothHaveQuarantinedIt_EndsBoth_AndTheNodesWhenItSaysSo()
    {
        await DoAsync("quarantine");
        Node.Quarantined["edu-0"] = Found("FlrFailed");
        await Node.SyncAsync();
        Assert.Equal("FlrFailed", (await EduAsync()).Quarantine!.Reason);
        Assert.Equal(DevicePhase.Quarantined, (await DoAsync("release")).Phase);
        Node.Quarantined.Clear();
        await Node.SyncAsync();
        Assert.Equal(DevicePhase.Available, (await EduAsync()).Phase);
    }

    [Fact]
    public async Task Quarantine_WhileItIsBeingPlacedAndReported_LosesNeither()
    {
        for (var round = 0; round < 40; round++)
        {
            var quarantining = DoAsync("quarantine");
            var creating = Client.CreateAsync($"race{round}", edu: 1);
            var found = round % 2 == 0 ? null : Found("FlrFailed");
            if (found is not null) Node.Quarantined["edu-0"] = found;
            await Node.SyncAsync();
            await quarantining;
            var id = (await creating).Id;
            Assert.Equal(1, await service.ScalarAsync("SELECT count(*) FROM devices WHERE operator_quarantine IS NOT NULL"));
            Assert.Equal(0, await service.ScalarAsync("SELECT count(*) FROM devices WHERE phase <> 'Assigned' AND phase <> 'Cleaning' AND sandbox_id IS NOT NULL OR phase = 'Available'"));
            Assert.Equal(found is null ? 0 : 1, await service.ScalarAsync("SELECT count(*) FROM devices WHERE quarantine->>'reason' = 'FlrFailed'"));
            (await Client.DeleteAsync($"/v1/sandboxes/{id}")).Dispose();
            await Node.SyncAsync();
            foreach (var planned in Node.Plan.Sandboxes.ToList()) await Node.SayAsync(planned.Id, VmState.Absent);
            Node.Sandboxes.Clear();
            Node.Quarantined.Clear();
            await DoAsync("release");
            await Node.SyncAsync();
        }
    }

    /// <summary>The scheduler is held between its picture of the fleet and its choice by a lock on what it reads last.</summary>
    [Fact]
    public async Task Quarantine_AfterTheSchedulerHasSeenItFree_StillKeepsItFromBeingHandedOut()
    {
        await DoAsync("quarantine");
        var id = (await Client.CreateAsync("stale-picture", edu: 1)).Id;
        await Eventually.Async(async () => (await Client.FindAsync(id))!.Conditions.Any(c => c.Reason == "NotEnoughDevices"), "it waits");
        await using (var connection = new Npgsql.NpgsqlConnection(service.ConnectionString))
        {
            await connection.OpenAsync(TestContext.Current.CancellationToken);
            await using var held = await connection.BeginTransactionAsync(TestContext.Current.CancellationToken);
            await using (var hold = new Npgsql.NpgsqlCommand("LOCK TABLE node_images IN ACCESS EXCLUSIVE MODE", connection, held)) await hold.ExecuteNonQueryAsync(TestContext.Current.CancellationToken);
            Assert.Equal(DevicePhase.Available, (await DoAsync("release")).Phase);
            await Eventually.Async(async () => await service.ScalarAsync("SELECT count(*) FROM pg_locks WHERE relation = 'node_images'::regclass AND NOT granted") > 0, "the scheduler has read the devices");
            Assert.Equal(DevicePhase.Quarantined, (await DoAsync("quarantine")).Phase);
            await held.CommitAsync(TestContext.Current.CancellationToken);
        }
        var passed = service.Factory.Services.GetRequiredService<SandboxScheduler>();
        var last = passed.LastPassAt;
        await Eventually.Async(() => Task.FromResult(passed.LastPassAt > last), "the scheduler has passed");
        Assert.Equal((Phase.Pending, DevicePhase.Quarantined, (Guid?)null), ((await Client.FindAsync(id))!.Phase, (await EduAsync()).Phase, (await EduAsync()).SandboxId));
    }
}
