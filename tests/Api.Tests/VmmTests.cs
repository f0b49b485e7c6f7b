using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using Contracts;
using Testing;
using Xunit;

namespace Api.Tests;

/// <summary>Sandboxes of either VMM, and of one wanted node.</summary>
public sealed class VmmTests(ServiceFixture service) : IClassFixture<ServiceFixture>, IAsyncLifetime
{
    private StandInNode? _node;
    private HttpClient? _client;
    private StandInNode Node => _node!;
    private HttpClient Client => _client!;

    public async ValueTask InitializeAsync() => (_node, _client) = (await service.NodeAsync(), service.Client());

    public async ValueTask DisposeAsync()
    {
        foreach (var sandbox in (await Client.GetFromJsonAsync<Page<SandboxView>>("/v1/sandboxes?limit=1000"))!.Items)
            (await Client.DeleteAsync($"/v1/sandboxes/{sandbox.Id}")).Dispose();
        await Node.SyncAsync();
        foreach (var planned in Node.Plan.Sandboxes.ToList()) await Node.SayAsync(planned.Id, VmState.Absent);
        await Node.DisposeAsync();
        Client.Dispose();
    }

    private async Task<SandboxView> CreateAsync(object create)
    {
        using var response = await Client.PostAsJsonAsync("/v1/sandboxes", create);
        Assert.Equal(HttpStatusCode.Created, response.StatusCode);
        return (await response.Content.ReadFromJsonAsync<SandboxView>())!;
    }

    private Task RefusedAsync(Guid id, string reason) =>
        Eventually.Async(async () => (await Client.FindAsync(id))!.Conditions.Any(c => c.Type == ConditionType.Placed && c.Reason == reason), $"it is refused for {reason}");

    private Task<PlannedSandbox> PlannedAsync(Guid id) =>
        Eventually.GetAsync(async () => (await Node.SyncAsync()).Sandboxes.FirstOrDefault(s => s.Id == id && s.Desired == DesiredState.Running), "it is planned");

    [Theory]
    [InlineData("Smmuv3")]
    [InlineData("Virtio")]
    public async Task Create_OfKvmtoolWithAnIommu_IsRefusedAtBothFields(string viommu)
    {
        using var response = await Client.PostAsJsonAsync("/v1/sandboxes", new { name = "k", image = "guest", vmm = "kvmtool", viommu });
        Assert.Equal((HttpStatusCode.UnprocessableEntity, "validation_failed"), (response.StatusCode, await response.CodeAsync()));
        using var problem = JsonDocument.Parse(await response.Content.ReadAsStringAsync());
        Assert.Equal(["viommu", "vmm"], problem.RootElement.GetProperty("errors").EnumerateObject().Select(e => e.Name).Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task Create_WhenTheVmmIsLeftOut_IsQemusBehindAnSmmu_AndKvmtoolHasNoIommu()
    {
        var qemu = await CreateAsync(new { name = "qemu", image = "guest" });
        Assert.Equal((Vmm.Qemu, Viommu.Smmuv3, null), (qemu.Vmm, qemu.Viommu, qemu.WantedNode));
        var kvmtool = await CreateAsync(new { name = "kvmtool", image = "guest", vmm = "kvmtool", node = "standin" });
        Assert.Equal((Vmm.Kvmtool, Viommu.None, "standin"), (kvmtool.Vmm, kvmtool.Viommu, kvmtool.WantedNode));
        Assert.Equal(Vmm.Kvmtool, (await CreateAsync(new { name = "none", image = "guest", vmm = "Kvmtool", viommu = "None" })).Vmm);
        Assert.Equal(Vmm.Qemu, (await PlannedAsync(qemu.Id)).Spec.Vmm);
    }

    [Fact]
    public async Task Place_OfKvmtool_WaitsForANodeThatHasItAndADeviceThatFits()
    {
        var id = (await CreateAsync(new { name = "fits", image = "guest", vmm = "kvmtool", accelerators = new[] { new { @class = "edu" } } })).Id;
        await RefusedAsync(id, "VmmNotOnNode");
        Node.KvmtoolVersion = "3.18.0";
        await Node.SyncAsync();
        await RefusedAsync(id, "NoSuitableDevice");
        Node.FitsKvmtool = true;
        await Node.SyncAsync();
        Assert.True((await Client.DevicesAsync())[0].FitsKvmtool);
        var planned = await PlannedAsync(id);
        Assert.Equal((Vmm.Kvmtool, Viommu.None, 1), (planned.Spec.Vmm, planned.Spec.Viommu, planned.Spec.Devices.Count));
    }

    [Fact]
    public async Task Create_OfASimulationWithoutIommuOrDevice_IsRefusedAtEach()
    {
        using var response = await Client.PostAsJsonAsync("/v1/sandboxes", new { name = "s", image = "guest", vmm = "simulated", viommu = "none" });
        Assert.Equal((HttpStatusCode.UnprocessableEntity, "validation_failed"), (response.StatusCode, await response.CodeAsync()));
        using var problem = JsonDocument.Parse(await response.Content.ReadAsStringAsync());
        Assert.Equal(["accelerators", "viommu"], problem.RootElement.GetProperty("errors").EnumerateObject().Select(e => e.Name).Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task Place_OfASimulation_TakesSimulatedDevicesOnly_AndTheyNobodyElse()
    {
        var accelerators = new[] { new { @class = "edu" } };
        var id = (await CreateAsync(new { name = "simulation", image = "guest", vmm = "simulated", accelerators, userData = """{"seed":7}""" })).Id;
        await RefusedAsync(id, "VmmNotOnNode");
        (Node.DeviceOrigin, Node.DeviceViommus, Node.FitsKvmtool, Node.KvmtoolVersion) = (Origin.Simulated, [Viommu.Smmuv3, Viommu.None], true, "3.18.0");
        await Node.SyncAsync();
        var planned = await PlannedAsync(id);
        Assert.Equal((Vmm.Simulated, Viommu.Smmuv3, 1, """{"seed":7}"""), (planned.Spec.Vmm, planned.Spec.Viommu, planned.Spec.Devices.Count, planned.Spec.UserData));
        Assert.Equal((Origin.Simulated, Vmm.Simulated, Acceleration.None), ((await Client.FindAsync(id))!.Origin, (await Client.FindAsync(id))!.Vmm, (await Client.FindAsync(id))!.Acceleration));
        // Whatever a node says that they fit besides.
        foreach (var vmm in (string[])["qemu", "kvmtool"])
            await RefusedAsync((await CreateAsync(new { name = vmm, image = "guest", vmm, accelerators })).Id, "NoSuitableDevice");
    }

    [Fact]
    public async Task Place_OfQemu_WaitsForADeviceThatFitsItsIommu()
    {
        Node.DeviceViommus = [Viommu.None];
        await Node.SyncAsync();
        var id = (await Client.CreateAsync("behind-smmu", edu: 1)).Id;
        await RefusedAsync(id, "NoSuitableDevice");
        Node.DeviceViommus = [Viommu.Smmuv3];
        await Node.SyncAsync();
        await PlannedAsync(id);
    }

    [Fact]
    public async Task Place_WhenAnotherNodeIsWanted_SaysSo()
    {
        await RefusedAsync((await CreateAsync(new { name = "elsewhere", image = "guest", node = "elsewhere" })).Id, "OtherNodeWanted");
        await PlannedAsync((await CreateAsync(new { name = "here", image = "guest", node = "standin" })).Id);
    }

    [Theory]
    [InlineData("7.2", null, true)]
    [InlineData(null, "3.18.0", true)]
    [InlineData(null, null, false)]
    public async Task Readiness_TakesEitherVmm(string? qemu, string? kvmtool, bool canRun)
    {
        (Node.QemuVersion, Node.KvmtoolVersion) = (qemu, kvmtool);
        await Node.SyncAsync();
        var node = (await Client.GetFromJsonAsync<Page<NodeView>>("/v1/nodes"))!.Items.Single();
        Assert.Equal(canRun, (await Client.GetFromJsonAsync<NodeReadinessView>($"/v1/nodes/{node.Id}/readiness"))!.CanRunSandboxes);
    }
}
