using System.Net;
using System.Net.Http.Json;
using Contracts;
using Testing;
using Xunit;

namespace Api.Tests;

/// <summary>Devices that a node, which goes on reporting, no longer has.</summary>
public sealed class VanishedDeviceTests(ServiceFixture service) : IClassFixture<ServiceFixture>, IAsyncLifetime
{
    private StandInNode? _node;
    private HttpClient? _client;
    private StandInNode Node => _node!;
    private HttpClient Client => _client!;

    public async ValueTask InitializeAsync() => (_node, _client) = (await service.NodeAsync(edu: 1), service.Client());

    public async ValueTask DisposeAsync()
    {
        Node.Held["edu-0"] = null;
        Node.KeepsDevices = false;
        foreach (var sandbox in (await Client.GetFromJsonAsync<Page<SandboxView>>("/v1/sandboxes?limit=1000"))!.Items)
            (await Client.DeleteAsync($"/v1/sandboxes/{sandbox.Id}")).Dispose();
        await Node.SyncAsync();
        foreach (var planned in Node.Plan.Sandboxes.ToList()) await Node.SayAsync(planned.Id, VmState.Absent);
        await Node.DisposeAsync();
        Client.Dispose();
    }

    private async Task<DeviceView> EduAsync() => (await Client.DevicesAsync()).Single(d => d.Address == "edu-0");

    private async Task<Guid> PlannedAsync(string name)
    {
        var id = (await Client.CreateAsync(name, edu: 1)).Id;
        await Eventually.Async(async () => (await Node.SyncAsync()).Sandboxes.Any(s => s.Id == id && s.Desired == DesiredState.Running), $"the node is to run {id}");
        return id;
    }

    private async Task SeenVanishedAsync()
    {
        var device = await EduAsync();
        Assert.Equal((DevicePhase.Quarantined, (Guid?)null, "DeviceVanished"), (device.Phase, device.SandboxId, device.Quarantine?.Reason));
        Assert.NotEmpty(device.Quarantine!.Remedy);
        var before = await service.ScalarAsync("SELECT count(*) FROM events WHERE type LIKE 'device.%'");
        await Node.SyncAsync();
        Assert.Equivalent(device, await EduAsync());
        Assert.Equal(before, await service.ScalarAsync("SELECT count(*) FROM events WHERE type LIKE 'device.%'"));
    }

    [Fact]
    public async Task Vanished_UnderAGuest_StaysItsUntilItHasEnded_AndComesBackByTheNodesWord()
    {
        var id = await PlannedAsync("loses-it");
        await Node.SayAsync(id, VmState.Running);
        Node.Held.Clear();
        Node.KeepsDevices = true;
        await Node.SyncAsync();
        Assert.Equal((DevicePhase.Assigned, (Guid?)id, null), ((await EduAsync()).Phase, (await EduAsync()).SandboxId, (await EduAsync()).Quarantine));

        (await Client.PostAsync($"/v1/sandboxes/{id}/stop", null)).EnsureSuccessStatusCode().Dispose();
        await Node.SyncAsync();
        await Node.SayAsync(id, VmState.Stopped);
        await SeenVanishedAsync();

        var waits = (await Client.CreateAsync("waits", edu: 1)).Id;
        await Eventually.Async(async () => (await Client.FindAsync(waits))!.Conditions.Any(c => c.Reason == "NotEnoughDevices"), "it waits");
        Node.Held["edu-0"] = id;
        await Node.SyncAsync();
        Assert.Equal((DevicePhase.Cleaning, null), ((await EduAsync()).Phase, (await EduAsync()).Quarantine));
        Node.Held["edu-0"] = null;
        await Eventually.Async(async () => (await Node.SyncAsync()).Sandboxes.Any(s => s.Id == waits && s.Spec.Devices.Count == 1), "it is handed out again");
    }

    [Fact]
    public async Task Vanished_BeforeItsGuestStarted_IsTakenFromIt()
    {
        var id = await PlannedAsync("never-had-it");
        Node.Held.Clear();
        Node.KeepsDevices = true;
        await Node.SayAsync(id, VmState.Failed, new Failure("DeviceMissing", "The node has no such device.", "Look.", TimeProvider.System.GetUtcNow()));
        Assert.Equal(Phase.Failed, (await Client.FindAsync(id))!.Phase);
        await SeenVanishedAsync();
    }

    [Fact]
    public async Task Vanished_WhileFree_IsShownUntilItIsReleased()
    {
        Node.Held.Clear();
        await Node.SyncAsync();
        await SeenVanishedAsync();
        var id = (await EduAsync()).Id;
        using (var released = await Client.PostAsync($"/v1/devices/{id}/release", null)) Assert.Equal(HttpStatusCode.OK, released.StatusCode);
        Assert.DoesNotContain(await Client.DevicesAsync(), d => d.Id == id);
        await Node.SyncAsync();
        Assert.Empty(Node.Plan.Devices);
        Assert.DoesNotContain(await Client.DevicesAsync(), d => d.Id == id);
        using (var again = await Client.PostAsync($"/v1/devices/{id}/release", null)) Assert.Equal("not_quarantined", await again.CodeAsync());
        Node.Held["edu-0"] = null;
        await Node.SyncAsync();
        Assert.Equal((DevicePhase.Available, null), ((await EduAsync()).Phase, (await EduAsync()).Quarantine));
    }
}
