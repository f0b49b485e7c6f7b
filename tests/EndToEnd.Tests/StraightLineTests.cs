using System.Net;
using System.Net.Http.Json;
using System.Text;
using Contracts;
using Microsoft.AspNetCore.SignalR;
using Microsoft.AspNetCore.SignalR.Client;
using Testing;
using Xunit;

[assembly: AssemblyFixture(typeof(Testing.RunningService))]
[assembly: CollectionBehavior(DisableTestParallelization = true)]

namespace EndToEnd.Tests;

/// <summary>Real guests under the real service; everything that may die, is killed.</summary>
public sealed class StraightLineTests(RunningService service)
{
    private static bool Is(SandboxView view, ConditionType type, ConditionStatus status) => view.Conditions.Any(c => c.Type == type && c.Status == status);

    private async Task<SandboxView> RunningAsync(string name, params string[] classes)
    {
        var id = (await service.CreateAsync(name, classes)).Id;
        return await service.UntilAsync(id, v => v.Phase == Phase.Running && Is(v, ConditionType.GuestReady, ConditionStatus.True), $"{name} runs");
    }

    [Fact]
    public async Task Create_WithEduAndNvme_SharesAddressesAndCountsTheStrayAccess()
    {
        var id = (await service.CreateAsync("line", "edu", "nvme")).Id;
        var view = await service.UntilAsync(id, v => Is(v, ConditionType.SvaReady, ConditionStatus.True), "the probe passes");
        Assert.Equal("SharedAddressProbePassedWithoutPasid", view.Conditions.Single(c => c.Type == ConditionType.SvaReady).Reason);
        Assert.Equal(VerdictClass.PassthroughOnly, view.Verdict!.Class);
        Assert.Equal("DeviceHasNoPasid", view.Verdict.Links.Single(l => l.Link == VerdictLinkName.Device).Reason);
        Assert.All(view.Verdict.Links.Where(l => l.Status != LinkStatus.Pass), l => Assert.False(string.IsNullOrEmpty(l.Remedy)));
        Assert.Equal(Origin.Emulated, view.Origin);
        Assert.Equal([Phase.Pending, Phase.Scheduled, Phase.Preparing, Phase.Booting, Phase.Running], view.Phases.Select(p => p.Phase));
        var probe = view.Probe!.Single(p => p.VendorId.EndsWith("1234", StringComparison.Ordinal));
        Assert.True(probe.DeviceReadMatched is true && probe.DeviceWroteMatched is true);
        await Eventually.Async(async () => (await service.FaultsAsync(id)).Any(s => s.Readings.Any(r => r.Source == "smmu.events.F_TRANSLATION" && r.Value == 1)
            && s.Readings.Any(r => r.Source == FaultSource.GuestMinor && r.Value > 0)), "the stray access is counted", RunningService.Patience);
        foreach (var reading in (await service.FaultsAsync(id)).SelectMany(s => s.Readings))
            Assert.True(reading.Value is null != reading.NullReason is null, reading.ToString());
        // The node and the API tell Prometheus the same of it.
        var event1 = $"\nsandbox_smmu_events_by_type_total{{sandbox=\"{id}\",type=\"F_TRANSLATION\",bound=\"exact\",origin=\"emulated\"}} 1\n";
        Assert.Contains(event1, await service.Client.GetStringAsync("/metrics"), StringComparison.Ordinal);
        Assert.Contains(event1, await service.Client.GetStringAsync(service.WorkerMetrics), StringComparison.Ordinal);
        await service.DeleteAsync(id);
        await service.NothingIsLeftAsync(id);
    }

    [Fact]
    public async Task Create_OfASimulatedMachine_TellsItsPageFaultsAsSimulatedEverywhere()
    {
        using var response = await service.Client.PostAsJsonAsync("/v1/sandboxes", new { name = "simulated", image = "guest", memoryMib = 256, vmm = "Simulated", accelerators = new[] { new { @class = "sva" } }, userData = "{\"workload\":\"forkAndWrite\",\"seed\":7}" });
        Assert.True(response.IsSuccessStatusCode, await response.Content.ReadAsStringAsync());
        var id = (await response.Content.ReadFromJsonAsync<SandboxView>())!.Id;
        var view = await service.UntilAsync(id, v => v.Phase == Phase.Running && Is(v, ConditionType.SvaReady, ConditionStatus.True), "its probe passes");
        Assert.Equal((Origin.Simulated, VerdictClass.GuestSvaDeviceFaults, Origin.Simulated), (view.Origin, view.Verdict!.Class, view.Verdict.Origin));
        Assert.Equal(Origin.Simulated, Assert.Single(view.Devices).Origin);
        var sample = await Eventually.GetAsync(async () => (await service.FaultsAsync(id)).FirstOrDefault(s => s.Readings.Any(r => r is { Source: FaultSource.IoPageFaults, LatencyIncrease.Count: > 0 })), "page requests are served", RunningService.Patience);
        Assert.All(sample.Readings, r => Assert.Equal(Origin.Simulated, r.Origin));
        Assert.NotNull(sample.Readings.Single(r => r.Source == FaultSource.IoPageFaults).LatencyIncrease!.P99);
        foreach (var metrics in (string[])[await service.Client.GetStringAsync("/metrics"), await service.Client.GetStringAsync(service.WorkerMetrics)])
        {
            Assert.Contains($"\nsandbox_io_page_fault_duration_seconds_count{{sandbox=\"{id}\",bound=\"exact\",origin=\"simulated\"}} ", metrics, StringComparison.Ordinal);
            Assert.All(metrics.Split('\n').Where(l => l.Contains(id.ToString(), StringComparison.Ordinal) && !l.StartsWith("sandbox_fault_source_unobserved", StringComparison.Ordinal)), l => Assert.Contains("origin=\"simulated\"", l, StringComparison.Ordinal));
        }
        await service.DeleteAsync(id);
        await service.NothingIsLeftAsync(id);
    }

    [Fact]
    public async Task Storm_OfASimulatedMachine_StopsItByItsPolicyAndIsTold()
    {
        using var response = await service.Client.PostAsJsonAsync("/v1/sandboxes", new { name = "stormy", image = "guest", memoryMib = 256, vmm = "Simulated", accelerators = new[] { new { @class = "sva" } }, userData = "{\"workload\":\"storm\"}", faultStorm = new { perSecond = 100, windowSeconds = 5, action = "Stop" } });
        Assert.True(response.IsSuccessStatusCode, await response.Content.ReadAsStringAsync());
        var id = (await response.Content.ReadFromJsonAsync<SandboxView>())!.Id;
        var stopped = await service.UntilAsync(id, v => v.Phase is Phase.Stopped or Phase.Failed, "the storm stops it");
        Assert.Equal("FaultStorm", stopped.Failure!.Reason);
        Assert.Equal((Phase.Stopped, "EndedInStorm"), (stopped.Phase, stopped.Conditions.Single(c => c.Type == ConditionType.FaultStorm).Reason));
        Assert.DoesNotContain((await service.Client.GetFromJsonAsync<Page<DeviceView>>("/v1/devices"))!.Items, d => d.Phase == DevicePhase.Quarantined);
        await service.DeleteAsync(id);
        await service.NothingIsLeftAsync(id);
    }

    [Fact]
    public async Task Worker_WhenKilled_GuestRunsOnAndTheNextOneAdoptsIt()
    {
        var view = await RunningAsync("adopted", "edu");
        await Eventually.Async(async () => (await service.FaultsAsync(view.Id)).Count > 2, "samples are stored", RunningService.Patience);
        var pids = service.ProcessesOf(view.Id);
        Assert.NotEmpty(pids);
        await service.Worker.KillAsync();
        Assert.Equal(pids, service.ProcessesOf(view.Id));
        var before = await service.FaultsAsync(view.Id);
        service.StartWorker();
        await Eventually.Async(async () => (await service.FaultsAsync(view.Id)).Count > before.Count + 3, "telemetry goes on", RunningService.Patience);
        Assert.Equal(pids, service.ProcessesOf(view.Id));
        var after = (await service.FindAsync(view.Id))!;
        Assert.Equal((Phase.Running, view.Incarnation, view.Guest), (after.Phase, after.Incarnation, after.Guest));
        foreach (var source in (string[])[FaultSource.VmmMinor, FaultSource.SmmuEvents, FaultSource.GuestMinor])
        {
            var values = (await service.FaultsAsync(view.Id)).Select(s => s.Readings.Single(r => r.Source == source).Value).OfType<long>().ToList();
            Assert.Equal(values.Order(), values);
        }
        await service.DeleteAsync(view.Id);
        await service.NothingIsLeftAsync(view.Id);
    }

    [Fact]
    public async Task Node_WhenShutDown_ItsGuestsAreStoppedAndStartAgain()
    {
        var view = await RunningAsync("down", "edu");
        await service.Worker.TerminateAsync();
        Assert.NotEmpty(service.ProcessesOf(view.Id));
        await service.ShutNodeDownAsync();
        Assert.Empty(service.ProcessesOf(view.Id));
        Assert.False(RunningService.CgroupIsLeft(view.Id));
        service.StartWorker();
        var stopped = await service.UntilAsync(view.Id, v => v.Phase == Phase.Stopped, "it is stopped");
        Assert.Null(stopped.Failure);
        Assert.Equal("NodeShutDown", await LastReasonAsync(view.Id));
        Assert.True(Is(stopped, ConditionType.DevicesReady, ConditionStatus.False));
        (await service.Client.PostAsync($"/v1/sandboxes/{view.Id}/start", null)).EnsureSuccessStatusCode();
        await service.UntilAsync(view.Id, v => v.Phase == Phase.Running && v.Incarnation == view.Incarnation + 1, "it runs again");
        await service.DeleteAsync(view.Id);
        await service.NothingIsLeftAsync(view.Id);
    }

    [Fact]
    public async Task Vmm_WhenKilled_IsFailedWithinFiveSecondsAndTheDeviceIsFree()
    {
        var view = await RunningAsync("shot", "edu");
        foreach (var pid in service.ProcessesOf(view.Id)) System.Diagnostics.Process.GetProcessById(pid).Kill();
        var failed = await service.UntilAsync(view.Id, v => v.Phase == Phase.Failed, "it is failed", TimeSpan.FromSeconds(5));
        Assert.Equal("VmmKilled", failed.Failure!.Reason);
        Assert.False(string.IsNullOrEmpty(failed.Failure.Remedy));
        await Eventually.Async(async () => (await service.Client.GetFromJsonAsync<Page<DeviceView>>("/v1/devices"))!.Items.All(d => d.Phase == DevicePhase.Available), "its device is free");
        (await service.Client.PostAsync($"/v1/sandboxes/{view.Id}/start", null)).EnsureSuccessStatusCode();
        var again = await service.UntilAsync(view.Id, v => v.Phase == Phase.Running && v.Incarnation == view.Incarnation + 1, "it runs again");
        Assert.Null(again.Failure);
        await service.DeleteAsync(view.Id);
        await service.NothingIsLeftAsync(view.Id);
    }

    [Fact]
    public async Task Api_WhenKilledDuringCreates_LosesAndDoublesNothing()
    {
        var names = Enumerable.Range(0, 12).Select(i => $"burst{i}").ToList();
        var creates = names.Select(name => Eventually.Async(async () =>
        {
            using var response = await service.Client.PostAsJsonAsync("/v1/sandboxes", new { name, image = "guest", memoryMib = 256, accelerators = new[] { new { @class = "nvme", count = 2 } } });
            return response.StatusCode is HttpStatusCode.Created or HttpStatusCode.Conflict;
        }, $"{name} is taken in", RunningService.Patience)).ToList();
        await Task.WhenAny(creates);
        await service.Api.KillAsync();
        service.StartApi();
        await Task.WhenAll(creates);
        var stored = (await service.Client.GetFromJsonAsync<Page<SandboxView>>("/v1/sandboxes?limit=1000"))!.Items;
        Assert.Equal(names.Order(), stored.Where(s => s.Name.StartsWith("burst", StringComparison.Ordinal)).Select(s => s.Name).Order());
        // Both nvme devices go to one of them; nobody else has one.
        await Eventually.Async(async () => (await service.Client.GetFromJsonAsync<Page<SandboxView>>("/v1/sandboxes?limit=1000"))!.Items.Count(s => s.Phase == Phase.Running) == 1, "one of them runs", RunningService.Patience);
        var holders = (await service.Client.GetFromJsonAsync<Page<DeviceView>>("/v1/devices"))!.Items.Where(d => d.Class == "nvme").Select(d => d.SandboxId).Distinct().ToList();
        Assert.NotNull(Assert.Single(holders));
        foreach (var sandbox in stored.OrderByDescending(s => s.Phase == Phase.Pending)) await service.DeleteAsync(sandbox.Id);
        foreach (var sandbox in stored) await service.NothingIsLeftAsync(sandbox.Id);
    }

    [Fact]
    public async Task Database_WhenRestarted_TheApiRecoversByItself()
    {
        var api = service.Api.Id;
        await service.Database.RestartAsync();
        await service.HealthyAsync();
        Assert.Equal((api, false), (service.Api.Id, service.Api.HasExited));
        var view = await RunningAsync("after");
        await service.DeleteAsync(view.Id);
        await service.NothingIsLeftAsync(view.Id);
    }

    [Theory]
    [InlineData("poweroff", Phase.Stopped, "GuestPoweredOff")]
    [InlineData("echo c > /proc/sysrq-trigger", Phase.Failed, "GuestPanicked")]
    public async Task Guest_WhenItEndsByItself_IsToldApart(string command, Phase phase, string reason)
    {
        var view = await RunningAsync($"ends-{phase.ToString().ToLowerInvariant()}");
        await using var console = await ConsoleViewer.OpenAsync(service, view.Id);
        await console.UntilAsync("#");
        Assert.True((await console.Hub.InvokeAsync<ConsoleWriter>("ConsoleAcquire", view.Id, false)).Acquired);
        await using var other = await ConsoleViewer.ConnectAsync(service);
        Assert.False((await other.InvokeAsync<ConsoleWriter>("ConsoleAcquire", view.Id, false)).Acquired);
        await Assert.ThrowsAsync<HubException>(() => other.InvokeAsync("ConsoleWrite", view.Id, Encoding.ASCII.GetBytes("x")));
        await console.Hub.InvokeAsync("ConsoleWrite", view.Id, Encoding.ASCII.GetBytes(command + "\n"));
        var ended = await service.UntilAsync(view.Id, v => v.Phase is Phase.Stopped or Phase.Failed, "the guest ended");
        Assert.Equal((phase, reason), (ended.Phase, ended.Failure?.Reason ?? (await LastReasonAsync(view.Id))));
        await service.DeleteAsync(view.Id);
        await service.NothingIsLeftAsync(view.Id);
    }

    [Theory]
    [InlineData(Phase.Pending)]
    [InlineData(Phase.Scheduled)]
    [InlineData(Phase.Booting)]
    [InlineData(Phase.Running)]
    [InlineData(Phase.Stopping)]
    public async Task Delete_InAnyPhase_LeavesNothing(Phase phase)
    {
        var id = (await service.CreateAsync($"del-{phase.ToString().ToLowerInvariant()}", "edu", "nvme")).Id;
        // Pending and Scheduled last milliseconds: there the delete races with the placement, and either side may win.
        if (phase is Phase.Booting or Phase.Running or Phase.Stopping) await service.UntilAsync(id, v => v.Phase == (phase == Phase.Booting ? Phase.Booting : Phase.Running), $"it is {phase}");
        else if (phase == Phase.Scheduled) await service.UntilAsync(id, v => v.Phase != Phase.Pending, "it is placed");
        if (phase == Phase.Stopping) (await service.Client.PostAsync($"/v1/sandboxes/{id}/stop", null)).EnsureSuccessStatusCode();
        await service.DeleteAsync(id);
        await service.NothingIsLeftAsync(id);
    }

    [Fact]
    public async Task Stop_Start_Restart_EachIsANewGuest()
    {
        var view = await RunningAsync("cycle", "edu");
        (await service.Client.PostAsync($"/v1/sandboxes/{view.Id}/stop", null)).EnsureSuccessStatusCode();
        var stopped = await service.UntilAsync(view.Id, v => v.Phase == Phase.Stopped, "it is stopped");
        Assert.Empty(stopped.Devices);
        (await service.Client.PostAsync($"/v1/sandboxes/{view.Id}/start", null)).EnsureSuccessStatusCode();
        var started = await service.UntilAsync(view.Id, v => v.Phase == Phase.Running, "it runs again");
        (await service.Client.PostAsync($"/v1/sandboxes/{view.Id}/restart", null)).EnsureSuccessStatusCode();
        var restarted = await service.UntilAsync(view.Id, v => v.Phase == Phase.Running && v.Incarnation == 3, "it runs a third time");
        Assert.Equal(3, new[] { view.Guest!.BootId, started.Guest!.BootId, restarted.Guest!.BootId }.Distinct().Count());
        await service.DeleteAsync(view.Id);
        await service.NothingIsLeftAsync(view.Id);
    }

    private async Task<string?> LastReasonAsync(Guid id) =>
        (await service.Client.GetFromJsonAsync<Page<EventView>>($"/v1/events?subject={id}&limit=1000"))!.Items.Last(e => e.Type == "sandbox.phaseChanged").Reason;
}
