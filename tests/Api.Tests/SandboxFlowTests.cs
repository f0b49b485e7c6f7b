using System.Net;
using System.Net.Http.Json;
using Api.Tests.Faults;
using Contracts;
using Microsoft.AspNetCore.SignalR.Client;
using Testing;
using Xunit;

namespace Api.Tests;

/// <summary>The straight line, with a node that the test plays.</summary>
public sealed class SandboxFlowTests(ServiceFixture service) : IClassFixture<ServiceFixture>, IAsyncLifetime
{
    private StandInNode? _node;
    private StandInNode Node => _node!;

    public async ValueTask InitializeAsync() => _node = await service.NodeAsync();

    public async ValueTask DisposeAsync()
    {
        // Each test leaves an empty service behind.
        using var client = service.Client();
        foreach (var sandbox in (await client.GetFromJsonAsync<Page<SandboxView>>("/v1/sandboxes?limit=1000"))!.Items)
            (await client.DeleteAsync($"/v1/sandboxes/{sandbox.Id}")).Dispose();
        await Node.SyncAsync();
        foreach (var planned in Node.Plan.Sandboxes.ToList()) await Node.SayAsync(planned.Id, VmState.Absent);
        await Node.DisposeAsync();
    }

    private async Task PlannedAsync(Guid id, int incarnation = 1) => await Eventually.Async(async () =>
        (await Node.SyncAsync()).Sandboxes.Any(s => s.Id == id && s.Incarnation == incarnation && s.Desired == DesiredState.Running), $"the node is to run {id}");

    [Fact]
    public async Task Create_WhenNodeRunsIt_GoesThroughThePhasesInOrder()
    {
        using var client = service.Client();
        var id = (await client.CreateAsync("line", edu: 1)).Id;
        await PlannedAsync(id);
        Assert.False(Node.Plan.Sandboxes.Single(s => s.Id == id).Launched);
        Assert.Single(Node.Plan.Sandboxes.Single(s => s.Id == id).Spec.Devices);
        foreach (var state in (VmState[])[VmState.Preparing, VmState.Booting, VmState.Running]) await Node.SayAsync(id, state);
        await Node.SyncAsync();
        var view = (await client.FindAsync(id))!;
        Assert.Equal([Phase.Pending, Phase.Scheduled, Phase.Preparing, Phase.Booting, Phase.Running], view.Phases.Select(p => p.Phase));
        Assert.True(Node.Plan.Sandboxes.Single(s => s.Id == id).Launched);
        Assert.Equal(DevicePhase.Assigned, (await client.DevicesAsync()).Single(d => d.SandboxId == id).Phase);
    }

    [Fact]
    public async Task Sync_WhenReportedTwice_ChangesNothingTheSecondTime()
    {
        using var client = service.Client();
        var id = (await client.CreateAsync("twice")).Id;
        await PlannedAsync(id);
        await Node.SayAsync(id, VmState.Running);
        var (view, events, revision) = (await client.FindAsync(id), await service.ScalarAsync("SELECT count(*) FROM events"), (await Node.SyncAsync()).Revision);
        await Node.SyncAsync();
        Assert.Equal(revision, Node.Plan.Revision);
        Assert.Equal(events, await service.ScalarAsync("SELECT count(*) FROM events"));
        Assert.Equivalent(view, await client.FindAsync(id));
    }

    [Fact]
    public async Task Report_WhenOfAnOldIncarnation_IsIgnored()
    {
        using var client = service.Client();
        var id = (await client.CreateAsync("stale")).Id;
        await PlannedAsync(id);
        await Node.SayAsync(id, VmState.Running);
        await Node.SayAsync(id, VmState.Failed, new Failure("VmmKilled", "m", "r", TimeProvider.System.GetUtcNow()), incarnation: 0);
        Assert.Equal(Phase.Running, (await client.FindAsync(id))!.Phase);
    }

    [Fact]
    public async Task Fail_WhenVmmDies_StoresTheReasonAndFreesTheDeviceOnlyWhenClean()
    {
        using var client = service.Client();
        var id = (await client.CreateAsync("dies", edu: 1)).Id;
        await PlannedAsync(id);
        await Node.SayAsync(id, VmState.Running);
        var address = Node.Plan.Sandboxes.Single(s => s.Id == id).Spec.Devices[0];
        var planned = Node.Plan.Sandboxes.Single(s => s.Id == id);
        Node.Sandboxes[id] = new ReportedSandbox(id, planned.Incarnation, VmState.Failed, [], new Failure("VmmKilled", "The VMM was killed.", "Start it again.", TimeProvider.System.GetUtcNow()), null, null, null, null, null, null, null);
        await Node.SyncAsync();
        var view = (await client.FindAsync(id))!;
        Assert.Equal(("VmmKilled", Phase.Failed), (view.Failure!.Reason, view.Phase));
        Assert.Equal(DevicePhase.Cleaning, (await client.DevicesAsync()).Single(d => d.Address == address).Phase);
        Node.Held[address] = null;
        await Node.SyncAsync();
        var device = (await client.DevicesAsync()).Single(d => d.Address == address);
        Assert.Equal((DevicePhase.Available, (Guid?)null), (device.Phase, device.SandboxId));
    }

    [Fact]
    public async Task Place_WhenFiveWantTwoDevices_TwoGetOneEachAndThreeSayWhy()
    {
        using var client = service.Client();
        await using var second = service.NewReplica();
        using var other = service.Client(second);
        var ids = await Task.WhenAll(Enumerable.Range(0, 5).Select(async i => (await (i % 2 == 0 ? client : other).CreateAsync($"want{i}", edu: 1)).Id));
        await Eventually.Async(async () =>
        {
            // However long it takes: a node that says nothing gets nothing.
            await Node.SyncAsync();
            var views = await Task.WhenAll(ids.Select(i => client.FindAsync(i)));
            return views.Count(v => v!.Phase == Phase.Scheduled) == 2 && views.Count(v => v!.Conditions.Any(c => c.Reason == "NoFreeDevice")) == 3;
        }, "two are placed and three refused");
        var held = (await client.DevicesAsync()).Select(d => d.SandboxId).ToList();
        Assert.Equal(2, held.Distinct().Count(h => h is not null));
    }

    [Fact]
    public async Task Place_WhileTheNodeReports_KeepsEveryDeviceItGave()
    {
        using var client = service.Client();
        for (var round = 0; round < 60; round++)
        {
            var creating = client.CreateAsync($"race{round}", edu: 2);
            var planned = await Eventually.GetAsync(async () => (await Node.SyncAsync()).Sandboxes.FirstOrDefault(s => s.Desired == DesiredState.Running), "it is planned");
            Assert.Equal(2, planned.Spec.Devices.Count);
            Assert.Equal(2, (await Node.SyncAsync()).Sandboxes.Single().Spec.Devices.Count);
            (await client.DeleteAsync($"/v1/sandboxes/{(await creating).Id}")).Dispose();
            await Node.SyncAsync();
            await Node.SayAsync(planned.Id, VmState.Absent);
        }
    }

    [Fact]
    public async Task Start_WhenTheLastGuestsDeviceIsNotCleanYet_GivesOnlyWhatWasAskedFor()
    {
        using var client = service.Client();
        var id = (await client.CreateAsync("again", edu: 1)).Id;
        await PlannedAsync(id);
        var first = Node.Plan.Sandboxes.Single().Spec.Devices.Single();
        await Node.SayAsync(id, VmState.Running);
        Node.KeepsDevices = true;
        await Node.SayAsync(id, VmState.Failed, new Failure("VmmKilled", "It was killed.", "Start it again.", TimeProvider.System.GetUtcNow()));
        (await client.PostAsync($"/v1/sandboxes/{id}/start", null)).EnsureSuccessStatusCode().Dispose();
        await PlannedAsync(id, incarnation: 2);
        Assert.NotEqual(first, Assert.Single(Node.Plan.Sandboxes.Single().Spec.Devices));
        Assert.Equal(DevicePhase.Cleaning, (await client.DevicesAsync()).Single(d => d.Address == first).Phase);
        Node.KeepsDevices = false;
        Node.Held[first] = null;
        await Node.SyncAsync();
        Assert.Equal(DevicePhase.Available, (await client.DevicesAsync()).Single(d => d.Address == first).Phase);
    }

    [Fact]
    public async Task Delete_WhenNodeSaysAbsent_IsGoneAndTheDeviceFree()
    {
        using var client = service.Client();
        var id = (await client.CreateAsync("goes", edu: 1)).Id;
        await PlannedAsync(id);
        await Node.SayAsync(id, VmState.Running);
        Assert.Equal(HttpStatusCode.Accepted, (await client.DeleteAsync($"/v1/sandboxes/{id}")).StatusCode);
        await Node.SyncAsync();
        Assert.Equal(Phase.Deleting, (await client.FindAsync(id))!.Phase);
        Assert.Equal(DesiredState.Deleted, Node.Plan.Sandboxes.Single(s => s.Id == id).Desired);
        await Node.SayAsync(id, VmState.Absent);
        Node.Sandboxes.Remove(id);
        Assert.Null(await client.FindAsync(id));
        Assert.DoesNotContain(await client.DevicesAsync(), d => d.SandboxId == id);
    }

    [Fact]
    public async Task Stop_ThenStart_IsPlacedAnewWithTheNextIncarnation()
    {
        using var client = service.Client();
        var id = (await client.CreateAsync("again", edu: 1)).Id;
        await PlannedAsync(id);
        await Node.SayAsync(id, VmState.Running);
        Assert.Equal("wrong_phase", await (await client.PostAsync($"/v1/sandboxes/{id}/start", null)).CodeAsync());
        (await client.PostAsync($"/v1/sandboxes/{id}/stop", null)).EnsureSuccessStatusCode();
        await Node.SyncAsync();
        await Node.SayAsync(id, VmState.Stopped);
        Assert.Equal(Phase.Stopped, (await client.FindAsync(id))!.Phase);
        Assert.DoesNotContain(await client.DevicesAsync(), d => d.SandboxId == id);
        (await client.PostAsync($"/v1/sandboxes/{id}/start", null)).EnsureSuccessStatusCode();
        await PlannedAsync(id, incarnation: 2);
        Assert.False(Node.Plan.Sandboxes.Single(s => s.Id == id).Launched);
    }

    [Fact]
    public async Task Get_WhenWaitingForAPhase_AnswersWhenItIsReached()
    {
        using var client = service.Client();
        var id = (await client.CreateAsync("wait")).Id;
        await PlannedAsync(id);
        var waiting = client.FindAsync(id, "?waitFor=Running&timeoutSeconds=30");
        Assert.False(waiting.IsCompleted);
        await Node.SayAsync(id, VmState.Running);
        Assert.Equal(Phase.Running, (await waiting)!.Phase);
    }

    [Fact]
    public async Task Events_WhenManyAreWrittenAtOnce_HaveNoGapAndNoDouble()
    {
        using var client = service.Client();
        await Task.WhenAll(Enumerable.Range(0, 20).Select(i => client.CreateAsync($"many{i}")));
        var numbers = (await client.GetFromJsonAsync<Page<EventView>>("/v1/events?limit=1000"))!.Items.Select(e => e.Number).ToList();
        Assert.Equal(Enumerable.Range(1, numbers.Count).Select(n => (long)n), numbers);
    }

    [Fact]
    public async Task Faults_WhenOfAForeignSandboxOrDishonest_AreRefusedAndTheRestIsStored()
    {
        using var client = service.Client();
        var id = (await client.CreateAsync("faults")).Id;
        await PlannedAsync(id);
        await Node.SayAsync(id, VmState.Running);
        var now = TimeProvider.System.GetUtcNow();
        var good = FaultSamplesEncoding.EncodeReadings([new("guest.minorFaults", 7, null, false, Origin.Emulated), new("smmu.tlbHits", null, "TraceCostTooHigh", false, Origin.Emulated)]);
        Assert.True(await Node.TellAsync(FaultBytes.Batch(
            FaultBytes.Sample(id, now, good), FaultBytes.Sample(id, now.AddSeconds(1), FaultBytes.Readings(FaultBytes.Reading("guest.minorFaults", 1))),
            FaultBytes.Sample(id, now.AddYears(5), good), FaultBytes.Sample(Guid.NewGuid(), now, good))));
        Assert.True(await Node.TellAsync([1, 2, 3]));
        var page = await Eventually.GetAsync(async () => await client.GetFromJsonAsync<Page<FaultSampleView>>($"/v1/sandboxes/{id}/faults") is { Items.Count: > 0 } p ? p : null, "the sample is stored");
        var sample = Assert.Single(page.Items);
        Assert.Equal(7, sample.Readings[0].Value);
        Assert.Null(sample.Readings[1].Value);
        Assert.Equal("TraceCostTooHigh", sample.Readings[1].NullReason);
        Assert.Equal(1, await service.ScalarAsync($"SELECT count(*) FROM fault_samples WHERE sandbox_id = '{id}'"));
    }

    [Fact]
    public async Task Readiness_IsWhatTheNodeToldLast_AndNothingElseIsTaken()
    {
        using var client = service.Client();
        var node = (await client.GetFromJsonAsync<Page<NodeView>>("/v1/nodes"))!.Items.Single();
        var capabilities = new FunctionCapabilities(true, null, false, null, null, null, null, true);
        var verdict = new Verdict(VerdictClass.Unknown, "ConfigSpaceTruncated", "Not read.", Origin.Hardware, [new VerdictLink(VerdictLinkName.Device, LinkStatus.Unknown, "ConfigSpaceTruncated", "Not read.", "Run as root.")]);
        FunctionFacts Function(string address) => new(address, "10de", "2342", "030200", "vfio-pci", 9, "smmu3.0x1", 0, null, ["flr"], capabilities, verdict);
        NodeInventory Inventory(params FunctionFacts[] functions) => new(TimeProvider.System.GetUtcNow(), [new CpuKind("Neoverse V2", 0x41, 0xD4F, 72)], [], [], [], functions);

        await Node.Connection.InvokeAsync(NodeProtocol.Inventory, Inventory(Function("0009:01:00.0")));
        await Node.Connection.InvokeAsync(NodeProtocol.Inventory, Inventory(Function("0009:01:00.0"), Function("0009:02:00.0")));
        foreach (var bad in (NodeInventory?[])[null, Inventory(Function("")), Inventory(Function(new string('x', 2000))), Inventory(Function("0009:01:00.0") with { Verdict = null! }), Inventory() with { Cpus = null! }])
            Assert.Contains("invalid_inventory", (await Assert.ThrowsAsync<Microsoft.AspNetCore.SignalR.HubException>(() => Node.Connection.InvokeAsync(NodeProtocol.Inventory, bad))).Message, StringComparison.Ordinal);

        var ready = (await client.GetFromJsonAsync<NodeReadinessView>($"/v1/nodes/{node.Id}/readiness"))!;
        Assert.Equal((NodePhase.Ready, true, 2), (ready.Phase, ready.CanRunSandboxes, ready.Inventory!.Functions.Count));
        Assert.Equal("Neoverse V2", ready.Inventory.Cpus.Single().Name);
        var function = ready.Inventory.Functions[0];
        Assert.Equal((true, null, false), (function.Capabilities.Ats, function.Capabilities.Pri, function.Capabilities.Pasid));
        Assert.Equal(LinkStatus.Unknown, function.Verdict.Links.Single().Status);
    }

    [Fact]
    public async Task Create_WhenOnePlaceIsLeftAndManyAskAtOnce_OneGetsIt()
    {
        using var client = service.Client();
        await using var connection = new Npgsql.NpgsqlConnection(service.ConnectionString);
        await connection.OpenAsync(TestContext.Current.CancellationToken);
        await using (var limit = new Npgsql.NpgsqlCommand("UPDATE projects SET max_sandboxes = 1", connection))
            await limit.ExecuteNonQueryAsync(TestContext.Current.CancellationToken);
        try
        {
            var answers = await Task.WhenAll(Enumerable.Range(0, 12).Select(async n =>
            {
                using var response = await client.PostAsJsonAsync("/v1/sandboxes", new { name = $"last{n}", image = "guest" });
                return response.StatusCode;
            }));
            Assert.Equal((1, 11), (answers.Count(a => a == HttpStatusCode.Created), answers.Count(a => a == HttpStatusCode.Conflict)));
        }
        finally
        {
            await using var limit = new Npgsql.NpgsqlCommand("UPDATE projects SET max_sandboxes = 20000", connection);
            await limit.ExecuteNonQueryAsync(CancellationToken.None);
        }
    }

    [Fact]
    public async Task Sync_WhenAReportIsNotWhole_IsRefusedAndPlacementGoesOn()
    {
        using var client = service.Client();
        var whole = Node.Report();
        foreach (var bad in (NodeReport[])[
            whole with { Facts = whole.Facts with { Viommus = null! } }, whole with { Facts = null! }, whole with { Devices = [null!] }, whole with { Devices = [.. whole.Devices, whole.Devices[0]] },
            whole with { Devices = [whole.Devices[0] with { Verdict = null! }] }, whole with { Images = [whole.Images[0] with { Name = "" }] }, whole with { Facts = whole.Facts with { VcpuCapacity = -1 } },
            whole with { Installation = Guid.Empty }, whole with { Devices = [whole.Devices[0] with { Viommus = null! }] }, whole with { Devices = [whole.Devices[0] with { Viommus = [.. Enumerable.Repeat(Viommu.None, 9)] }] },
            whole with { Devices = [whole.Devices[0] with { Phase = DevicePhase.Quarantined }] }, whole with { Devices = [whole.Devices[0] with { Quarantine = new Failure("", "m", "r", whole.At) }] },
            whole with { Devices = [whole.Devices[0] with { Quarantine = new Failure("FlrFailed", new string('x', 8193), "r", whole.At) }] },
            whole with { Facts = whole.Facts with { KvmtoolVersion = new string('x', 1025) } }, whole with { Facts = whole.Facts with { Viommus = [.. Enumerable.Repeat(Viommu.None, 9)] } }])
            Assert.Contains("invalid_report", (await Assert.ThrowsAsync<Microsoft.AspNetCore.SignalR.HubException>(() => Node.Connection.InvokeAsync<NodePlan>(NodeProtocol.Sync, bad))).Message, StringComparison.Ordinal);
        await PlannedAsync((await client.CreateAsync("still")).Id);
    }

    [Fact]
    public async Task Faults_WhenReadPageByPage_GivesEachSampleOnce()
    {
        using var client = service.Client();
        var id = (await client.CreateAsync("paged")).Id;
        await PlannedAsync(id);
        await Node.SayAsync(id, VmState.Running);
        var now = TimeProvider.System.GetUtcNow();
        await Node.TellAsync([.. Enumerable.Range(0, 5).Select(n => new FaultSample(id, 1, now.AddSeconds(n - 5), [new("guest.minorFaults", n, null, false, Origin.Emulated)]))]);
        await Eventually.Async(async () => (await client.GetFromJsonAsync<Page<FaultSampleView>>($"/v1/sandboxes/{id}/faults"))!.Items.Count == 5, "all are stored");
        var read = new List<long?>();
        for (var next = ""; next is not null;)
        {
            var page = (await client.GetFromJsonAsync<Page<FaultSampleView>>($"/v1/sandboxes/{id}/faults?limit=2{next}"))!;
            read.AddRange(page.Items.Select(s => s.Readings[0].Value));
            next = page.Next is { } cursor ? $"&after={Uri.EscapeDataString(cursor)}" : null;
        }
        Assert.Equal([0, 1, 2, 3, 4], read);
    }

    [Fact]
    public async Task Get_WhenManyAskAtOnce_AllAreAnswered()
    {
        using var client = service.Client();
        var answers = await Task.WhenAll(Enumerable.Range(0, 300).Select(async n =>
        {
            using var response = await client.GetAsync(n % 2 == 0 ? "/v1/nodes" : "/v1/devices");
            return response.StatusCode;
        }));
        Assert.All(answers, status => Assert.Equal(HttpStatusCode.OK, status));
    }
}
