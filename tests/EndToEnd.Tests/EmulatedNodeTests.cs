using System.Net.Http.Json;
using System.Text;
using Contracts;
using Testing;
using Xunit;

namespace EndToEnd.Tests;

/// <summary>The worker's production path on an arm64 host with KVM, VFIO and an SMMU, emulated in QEMU; its guests are real, one level deeper.</summary>
public sealed class EmulatedNodeTests(EmulatedNode node) : IClassFixture<EmulatedNode>, IAsyncLifetime
{
    private readonly RunningService _service = node.Service;
    private const string Secret = "sandbox-tenant-secret-5f2c";

    /// <summary>What a test that failed has left is not the next one's failure.</summary>
    public async ValueTask InitializeAsync()
    {
        if (await node.ViewAsync() is null)
            return;
        foreach (var left in (await _service.Client.GetFromJsonAsync<Page<SandboxView>>("/v1/sandboxes"))!.Items)
            (await _service.Client.DeleteAsync($"/v1/sandboxes/{left.Id}")).EnsureSuccessStatusCode();
        await Eventually.Async(async () =>
        {
            var devices = (await _service.Client.GetFromJsonAsync<Page<DeviceView>>("/v1/devices"))!.Items;
            foreach (var quarantined in devices.Where(d => d.Phase == DevicePhase.Quarantined))
                await _service.Client.PostAsync($"/v1/devices/{quarantined.Id}/release", null);
            return devices.All(d => d.Phase == DevicePhase.Available);
        }, "the node's devices are free", EmulatedNode.Patience);
    }

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    private static bool Is(SandboxView view, ConditionType type, ConditionStatus status, string? reason = null) =>
        view.Conditions.Any(c => c.Type == type && c.Status == status && (reason is null || c.Reason == reason));

    private async Task<SandboxView> CreateAsync(string name, string @class, Viommu viommu, string? userData = null)
    {
        using var response = await _service.Client.PostAsJsonAsync("/v1/sandboxes", new
        {
            name, image = "guest", memoryMib = 384, viommu = viommu.ToString(), node = EmulatedNode.Name, userData, accelerators = new[] { new { @class } },
        });
        Assert.True(response.IsSuccessStatusCode, await response.Content.ReadAsStringAsync());
        return (await response.Content.ReadFromJsonAsync<SandboxView>())!;
    }

    private async Task<SandboxView> UntilAsync(Guid id, Func<SandboxView, bool> condition, string what)
    {
        try
        {
            return await _service.UntilAsync(id, v => v.Phase == Phase.Failed || condition(v), what, EmulatedNode.Patience) is { } view && condition(view)
                ? view : throw new InvalidOperationException($"it failed before {what}: {(await _service.FindAsync(id))?.Failure}");
        }
        catch (Exception problem) when (problem is TimeoutException or InvalidOperationException)
        {
            await using var console = await ConsoleViewer.OpenAsync(_service, id);
            await Eventually.Async(() => console.Text.Length > 0, "the console shows anything").ContinueWith(_ => { }, TaskScheduler.Default);
            throw new InvalidOperationException($"{problem.Message}\nconsole:\n{console.Text}\nworker:\n{node.Tail("log/worker.log")}", problem);
        }
    }

    /// <summary>What a text for Prometheus says of the host's SMMU events, of all sandboxes that had any.</summary>
    private static string EventsOf(string metrics) => string.Join('\n', metrics.Split('\n').Where(line => line.StartsWith("sandbox_host_smmu_events_total{", StringComparison.Ordinal) && !line.EndsWith(" 0", StringComparison.Ordinal)));

    private Task<SandboxView> RunningAsync(Guid id) => UntilAsync(id, v => v.Phase == Phase.Running && Is(v, ConditionType.GuestReady, ConditionStatus.True), "it runs");

    private Task<DeviceView> FreeAsync(string @class) => Eventually.GetAsync(async () => await node.DeviceAsync(@class) is { Phase: DevicePhase.Available } free ? free : null, $"{@class} is free", EmulatedNode.Patience);

    /// <summary>Settings that a worker in the node begins with from now on.</summary>
    private async Task RestartWorkerAsync(string settings)
    {
        node.Configure(settings);
        await node.ShellAsync("killall -9 Sandbox.Worker");
        await node.ReadyAsync();
    }

    [Fact]
    public async Task Node_WhenJoined_ShowsItsFunctionsAsLspciTells()
    {
        SkipReason.WithoutEmulatedNode();
        var view = (await node.ViewAsync())!;
        Assert.Equal((Acceleration.Kvm, "arm64"), (view.Facts!.Acceleration, view.Facts.Architecture));
        var inventory = await Eventually.GetAsync(async () => (await _service.Client.GetFromJsonAsync<NodeReadinessView>($"/v1/nodes/{view.Id}/readiness"))!.Inventory, "the inventory is there", EmulatedNode.Patience);
        var told = await node.ShellAsync("lspci -Dnmm | awk '$2 !~ /\"06/'");
        var lines = told.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => line.Replace("\"", "", StringComparison.Ordinal).Split(' ')).ToList();
        Assert.Equal(4, lines.Count);
        Assert.Equal(["1234:11e8", "1b36:0010", "8086:10c9", "1af4:1041"], inventory.Functions.Select(f => $"{f.VendorId}:{f.DeviceId}"));
        Assert.Equal(lines.Select(l => (l[0], l[1], l[2], l[3])), inventory.Functions.Select(f => (f.Address, f.ClassCode[..4], f.VendorId, f.DeviceId)));
        foreach (var function in inventory.Functions)
        {
            var detail = await node.ShellAsync($"lspci -vvv -s {function.Address}; readlink /sys/bus/pci/devices/{function.Address}/iommu_group");
            Assert.Equal(detail.Contains("Address Translation Service", StringComparison.Ordinal), function.Capabilities.Ats);
            Assert.Equal(detail.Contains("Process Address Space ID", StringComparison.Ordinal), function.Capabilities.Pasid);
            Assert.Equal(detail.Contains("Single Root I/O Virtualization", StringComparison.Ordinal), function.Capabilities.Sriov);
            Assert.Equal(detail.Contains("Advanced Error Reporting", StringComparison.Ordinal), function.Capabilities.Aer);
            Assert.Equal(detail.Contains("FLReset+", StringComparison.Ordinal), function.Capabilities.Flr);
            Assert.EndsWith($"/{function.IommuGroup}", detail.Split('\n')[^1], StringComparison.Ordinal);
            Assert.Equal(Origin.Emulated, function.Verdict.Origin);
        }
        Assert.True(inventory.Functions.Single(f => f.VendorId == "1af4").Capabilities.Ats);
        Assert.Equal(4, inventory.Functions.Select(f => f.IommuGroup).Distinct().Count());
    }

    [Theory]
    [InlineData("Container")]
    [InlineData("Iommufd")]
    public async Task Nvme_OneTenantAfterTheOther_FindsNothing(string access)
    {
        SkipReason.WithoutEmulatedNode();
        await RestartWorkerAsync($"Worker__Passthrough__1__Access={access}");
        var first = await CreateAsync($"first-{access.ToLowerInvariant()}", "nvme", Viommu.None,
            $"#!/bin/sh\nfor at in 0 5000 16000; do echo {Secret} | dd of=/dev/nvme0n1 bs=4096 seek=$at conv=sync 2>/dev/null; done; sync\necho \"found $(grep -c {Secret[..7]} /dev/nvme0n1) lines, it ended\"\n");
        var running = await RunningAsync(first.Id);
        Assert.Equal((Acceleration.Kvm, Origin.Emulated), (running.Acceleration, running.Origin));
        await using (var console = await ConsoleViewer.OpenAsync(_service, first.Id))
            await console.UntilAsync("found 3 lines, it ended", EmulatedNode.Patience);
        Assert.Equal((DevicePhase.Assigned, first.Id), await node.DeviceAsync("nvme") is var held ? (held.Phase, held.SandboxId!.Value) : default);
        Assert.Equal("vfio-pci", await node.ShellAsync($"basename $(readlink /sys/bus/pci/devices/{held.Address}/driver)"));
        Assert.True(await DiskHasAsync(Secret));
        var open = await node.ShellAsync("for fd in /proc/$(pidof qemu-system-aarch64)/fd/*; do readlink $fd; done | grep -e vfio -e iommu | sort -u");
        Assert.Equal(access == "Iommufd", open.Contains("/dev/vfio/devices/", StringComparison.Ordinal) && open.Contains("/dev/iommu", StringComparison.Ordinal));
        Assert.Equal(access == "Container", open.Contains("/dev/vfio/vfio", StringComparison.Ordinal));

        (await _service.Client.PostAsync($"/v1/sandboxes/{first.Id}/stop", null)).EnsureSuccessStatusCode();
        await UntilAsync(first.Id, v => v.Phase == Phase.Stopped, "it is stopped");
        await FreeAsync("nvme");
        Assert.False(await DiskHasAsync(Secret), "what the first tenant wrote is still on the disk");

        var second = await CreateAsync($"second-{access.ToLowerInvariant()}", "nvme", Viommu.None,
            "#!/bin/sh\necho \"left=[$(tr -d '\\000' </dev/nvme0n1 | wc -c)] it ended\"\n");
        await RunningAsync(second.Id);
        await using (var console = await ConsoleViewer.OpenAsync(_service, second.Id))
        {
            await console.UntilAsync("] it ended", EmulatedNode.Patience);
            Assert.Contains("left=[0] it ended", console.Text, StringComparison.Ordinal);
        }
        await _service.DeleteAsync(first.Id);
        await _service.DeleteAsync(second.Id);
        await FreeAsync("nvme");
    }

    [Fact]
    public async Task Edu_BehindVirtioIommu_SharesAddressesAndItsStrayAccessIsTheHostsEvent()
    {
        SkipReason.WithoutEmulatedNode();
        await TracedAsync();
        var quiet = await CreateAsync("quiet", "nvme", Viommu.None);
        var created = await CreateAsync("virtio", "edu", Viommu.Virtio);
        var view = await UntilAsync(created.Id, v => v.Conditions.Any(c => c.Type == ConditionType.SvaReady && c.Status != ConditionStatus.Unknown), "the probe ends");
        Assert.True(Is(view, ConditionType.SvaReady, ConditionStatus.True, "SharedAddressProbePassedWithoutPasid"), System.Text.Json.JsonSerializer.Serialize(view));
        Assert.Equal(VerdictClass.PassthroughOnly, view.Verdict!.Class);
        Assert.Equal("sent", view.Probe!.Single().UnmappedAccess);
        var reading = await Eventually.GetAsync(async () => (await _service.FaultsAsync(created.Id)).SelectMany(s => s.Readings).FirstOrDefault(r => r.Source == "hostSmmu.events.F_TRANSLATION"), "the host's event is counted", EmulatedNode.Patience);
        Assert.Equal((1L, Origin.Emulated), (reading.Value, reading.Origin));
        // The log may tell it first, and is never exact: it is when the probe has it too.
        await Eventually.Async(async () => await LatestAsync(created.Id, "hostSmmu.events.F_TRANSLATION") is { Value: 1, LowerBound: false }, "the probe has counted it", EmulatedNode.Patience);
        Assert.Matches(@"\{ dev: 0000:01:00\.0 +, id: +16, sid-decoded: +0 \} hitcount: +1\b", await node.ShellAsync("cat /sys/kernel/tracing/instances/sandbox_*/events/sandbox_*/smmu_event/hist"));
        await RunningAsync(quiet.Id);
        var none = await LatestAsync(quiet.Id, FaultSource.HostSmmuEvents);
        Assert.Equal((0L, false), (none.Value, none.LowerBound));
        // No emulator raises a recoverable fault: that the kernel was told of none is known.
        foreach (var source in (string[])[FaultSource.IoPageFaults, FaultSource.IoPageFaultsSuccess, FaultSource.IoPageFaultsInvalid, FaultSource.IoPageFaultsFailure])
            Assert.Equal((0L, false), await LatestAsync(created.Id, source) is var pages ? (pages.Value, pages.LowerBound) : default);
        var guest = await LatestAsync(created.Id, FaultSource.KvmGuestFaults);
        Assert.Equal((true, false, Origin.Emulated), (guest.Value > 0, guest.LowerBound, guest.Origin));
        await Eventually.Async(async () => (await LatestAsync(created.Id, FaultSource.KvmGuestFaults)).Value > guest.Value, "the guest's aborts grow", EmulatedNode.Patience);
        await _service.DeleteAsync(quiet.Id);
        Assert.All((await _service.FaultsAsync(created.Id)).SelectMany(s => s.Readings), r => Assert.Equal(Origin.Emulated, r.Origin));
        // What the guest's own SMMU would tell is not there to be told.
        var guests = (await _service.FaultsAsync(created.Id)).SelectMany(s => s.Readings).First(r => r.Source == FaultSource.SmmuEvents);
        Assert.Equal((null, "NoSmmu"), (guests.Value, guests.NullReason));
        // The host's KVM tells of its guest, and the guest's IOMMU of no device that the host translates for.
        var told = (await _service.FaultsAsync(created.Id))[^1].Readings.ToDictionary(r => r.Source);
        foreach (var source in (string[])[FaultSource.KvmExits, FaultSource.KvmMmioExits])
            Assert.True(told[source] is { Value: > 0, NullReason: null }, $"{told[source]}");
        Assert.NotNull(told[FaultSource.KvmTlbFlushes].Value);
        Assert.Equal((0L, null), (told[FaultSource.VirtioIommuEvents].Value, told[FaultSource.VirtioIommuEvents].NullReason));
        // It has no monitor of its SMMU.
        Assert.Equal((null, "NoSmmuPmu"), (told[FaultSource.HostSmmuTlbMisses].Value, told[FaultSource.HostSmmuTlbMisses].NullReason));
        Assert.Contains("event: F_TRANSLATION", await node.ShellAsync("dmesg | grep F_TRANSLATION | tail -n 1"), StringComparison.Ordinal);

        // When the worker is killed, its keeper leaves nothing in the kernel. The next worker takes the guest over, and counts nothing twice.
        Assert.Contains("smmu_event", await node.ShellAsync(TracingState), StringComparison.Ordinal);
        guest = await LatestAsync(created.Id, FaultSource.KvmGuestFaults);
        await node.ShellAsync("kill -STOP $(pidof run-worker); for p in $(pidof Sandbox.Worker); do grep -q trace /proc/$p/cmdline || kill -9 $p; done");
        await Eventually.Async(async () => await node.ShellAsync(LivingWorkers) is "", "the keeper is gone", EmulatedNode.Patience);
        Assert.Equal("", await node.ShellAsync(TracingState));
        node.Configure("Worker__MetricsAddress=127.0.0.1:9464");
        await node.ShellAsync("kill -CONT $(pidof run-worker)");
        await node.ReadyAsync();
        var before = (await _service.FaultsAsync(created.Id)).Count;
        await Eventually.Async(async () => (await _service.FaultsAsync(created.Id)).Count > before + 3, "telemetry goes on", EmulatedNode.Patience);
        var adopted = (await _service.FindAsync(created.Id))!;
        Assert.Equal((Phase.Running, view.Incarnation, view.Guest), (adopted.Phase, adopted.Incarnation, adopted.Guest));
        // What happened while nobody traced is not known.
        await TracedAsync();
        var goesOn = await LatestAsync(created.Id, "hostSmmu.events.F_TRANSLATION");
        Assert.Equal((1L, true), (goesOn.Value, goesOn.LowerBound));
        // The guest's probe has sent one; node and API say so, of this sandbox and of no other.
        var one = $"sandbox_host_smmu_events_total{{sandbox=\"{created.Id}\",bound=\"lower\",origin=\"emulated\"}} 1";
        await Eventually.Async(async () => EventsOf(await node.ShellAsync("wget -qO- http://127.0.0.1:9464/metrics")) == one, "the node tells the one event", EmulatedNode.Patience);
        await Eventually.Async(async () => EventsOf(await _service.Client.GetStringAsync("/metrics")) == one, "the API tells the one event", EmulatedNode.Patience);
        await Eventually.Async(async () => await LatestAsync(created.Id, FaultSource.KvmGuestFaults) is { LowerBound: true } later && later.Value > guest.Value, "the guest's aborts go on", EmulatedNode.Patience);
        await _service.DeleteAsync(created.Id);
        await FreeAsync("edu");
        await FreeAsync("nvme");
    }

    [Fact]
    public async Task Tracing_WhenKeeperAndWorkerAreKilled_IsTakenAwayByTheNextOrByShuttingDown()
    {
        SkipReason.WithoutEmulatedNode();
        await TracedAsync();
        var whole = await node.ShellAsync(TracingState);
        await node.ShellAsync("kill -STOP $(pidof run-worker); killall -9 Sandbox.Worker");
        await Eventually.Async(async () => await node.ShellAsync(LivingWorkers) is "", "both are gone", EmulatedNode.Patience);
        Assert.Equal(whole, await node.ShellAsync(TracingState));
        await node.ShellAsync("kill -CONT $(pidof run-worker)");
        await node.ReadyAsync();
        await TracedAsync();
        Assert.Equal(whole, await node.ShellAsync(TracingState));

        await node.ShellAsync("kill -STOP $(pidof run-worker); killall -9 Sandbox.Worker");
        await Eventually.Async(async () => await node.ShellAsync(LivingWorkers) is "", "both are gone", EmulatedNode.Patience);
        await node.ShellAsync("Sandbox.Worker shut-down --state-directory /var/lib/sandbox/node");
        Assert.Equal("", await node.ShellAsync(TracingState));
        await node.ShellAsync("kill -CONT $(pidof run-worker)");
        await node.ReadyAsync();
    }

    /// <summary>The set-up of recoverable page faults, with functions that the emulated node's kernel does call.</summary>
    [Fact]
    public async Task Tracing_OfTwoFunctions_TellsALatencyHistogram()
    {
        SkipReason.WithoutEmulatedNode();
        const string plan = """{"probes":[{"name":"t_in","function":"ksys_read","atReturn":false,"fields":[]},{"name":"t_out","function":"ksys_read","atReturn":true,"fields":[{"name":"label","fetch":"$comm","type":"string"}]},{"name":"t_no","function":"no_such_function","atReturn":false,"fields":[]}],"""
            + """ "tables":[{"name":"reads","event":"t_out","keys":["label"],"size":1024},{"name":"missing","event":"t_no","keys":["common_pid"],"size":128}],"latencies":[{"name":"times","in":"t_in","out":"t_out","by":["common_pid"],"label":"label","size":1024}]}""";
        await TracedAsync();
        var before = await node.ShellAsync(TracingState);
        var told = await node.ShellAsync($"mkdir -p /tmp/t; {{ echo '{plan}'; sleep 1; cat /proc/version; sleep 3; }} | Sandbox.Worker trace --state-directory /tmp/t 2>/dev/null");
        var tables = told.Split('\n').Where(line => line.StartsWith('{')).SelectMany(line => System.Text.Json.JsonDocument.Parse(line).RootElement.GetProperty("tables").EnumerateArray()).ToList();
        var rows = tables.Where(t => t.GetProperty("name").GetString() == "times").SelectMany(t => t.GetProperty("rows").EnumerateArray()).ToList();
        Assert.True(rows.Count > 0, told);
        Assert.All(rows, row =>
        {
            // What is in the bucket of 2^p microseconds took no more than that each, and together more than half of it.
            var (power, count, sum) = (int.Parse(row.GetProperty("keys")[1].GetString()!, System.Globalization.CultureInfo.InvariantCulture), row.GetProperty("count").GetInt64(), row.GetProperty("sum").GetInt64());
            Assert.InRange(sum, power == 0 ? 0 : count << (power - 1), count << power);
        });
        Assert.Contains(tables, t => t.GetProperty("name").GetString() == "reads" && t.GetProperty("rows").GetArrayLength() > 0);
        Assert.All(tables.Where(t => t.GetProperty("name").GetString() == "missing"), t => Assert.Equal("TracePointMissing", t.GetProperty("problem").GetString()));
        // The worker's own keeper was at work all the time, and only its state is there.
        Assert.Equal(before, await node.ShellAsync(TracingState));
    }

    /// <summary>Those that nobody has waited for are none.</summary>
    private const string LivingWorkers = "grep -lsa '[S]andbox.Worker' /proc/[0-9]*/cmdline";

    private const string TracingState = "cd /sys/kernel/tracing && ls instances && cat kprobe_events synthetic_events | sort";

    /// <summary>Until the worker's keeper has set up all, so that what begins now is traced from its beginning.</summary>
    private Task TracedAsync() => Eventually.Async(
        async () => await node.ShellAsync("cat /sys/kernel/tracing/instances/sandbox_*/events/kvm/kvm_guest_fault/trigger /sys/kernel/tracing/instances/sandbox_*/events/synthetic/*/trigger | grep -c ^hist:") is "2", "tracing is set up", EmulatedNode.Patience);

    private async Task<FaultReadingView> LatestAsync(Guid id, string source) => await Eventually.GetAsync(
        async () => (await _service.FaultsAsync(id)).SelectMany(s => s.Readings).LastOrDefault(r => r.Source == source && r.Value is not null), $"{source} is told", EmulatedNode.Patience);

    [Fact]
    public async Task Nvme_BehindAcceleratedSmmu_IsTranslatedByBothStages()
    {
        SkipReason.WithoutEmulatedNode();
        await RestartWorkerAsync("");
        await node.TraceAsync("smmuv3_translate_success", true);
        var created = await CreateAsync("nested", "nvme", Viommu.Smmuv3, "#!/bin/sh\necho \"read $(dd if=/dev/nvme0n1 bs=1M count=4 2>/dev/null | wc -c) bytes, it ended\"\n");
        await RunningAsync(created.Id);
        await using (var console = await ConsoleViewer.OpenAsync(_service, created.Id))
            await console.UntilAsync("read 4194304 bytes, it ended", EmulatedNode.Patience);
        await node.TraceAsync("smmuv3_translate_success", false);
        // Stream id of bus 2, device 0, function 0; stage 3 is QEMU's word for stage 1 over stage 2.
        var device = await node.DeviceAsync("nvme");
        Assert.StartsWith("0000:02:00.0", device.Address, StringComparison.Ordinal);
        Assert.NotEqual(0, await CountTraceAsync("smmuv3_translate_success", "stage=3", "sid=0x200"));
        await _service.DeleteAsync(created.Id);
        await FreeAsync("nvme");
    }

    [Fact]
    public async Task Power_WhenCut_TheGuestIsLostAndItsDeviceIsNobodysUntilItIsClean()
    {
        SkipReason.WithoutEmulatedNode();
        var created = await CreateAsync("cut", "nvme", Viommu.None, $"#!/bin/sh\necho {Secret} | dd of=/dev/nvme0n1 bs=4096 conv=sync 2>/dev/null; sync; echo \"written, it ended\"\n");
        await RunningAsync(created.Id);
        await using (var console = await ConsoleViewer.OpenAsync(_service, created.Id))
            await console.UntilAsync("written, it ended", EmulatedNode.Patience);
        await node.CutPowerAsync();
        await UntilAsync(created.Id, v => v.Phase == Phase.Lost, "it is lost");
        var waiting = await CreateAsync("waits", "nvme", Viommu.None);
        Assert.Equal(created.Id, (await node.DeviceAsync("nvme")).SandboxId);
        Assert.True(await DiskHasAsync(Secret));
        node.Start();
        await node.ReadyAsync();
        var ended = await _service.UntilAsync(created.Id, v => v.Phase == Phase.Failed, "it failed", EmulatedNode.Patience);
        Assert.Equal("VmmLost", ended.Failure!.Reason);
        var placed = await RunningAsync(waiting.Id);
        // Both by the API's clock: the node's begins anew with the second that its RTC knows.
        Assert.True(placed.Phases.First(p => p.Phase == Phase.Scheduled).At >= ended.Phases[^1].At, "the second was placed before the first had ended");
        Assert.False(await DiskHasAsync(Secret), "what the lost guest wrote is still on the disk");
        Assert.Equal(waiting.Id, (await node.DeviceAsync("nvme")).SandboxId);
        await _service.DeleteAsync(created.Id);
        await _service.DeleteAsync(waiting.Id);
        await FreeAsync("nvme");
    }

    [Fact]
    public async Task Device_WhenQuarantined_IsHandedOutAgainOnlyAfterItsRelease()
    {
        SkipReason.WithoutEmulatedNode();
        var device = await FreeAsync("edu");
        (await _service.Client.PostAsJsonAsync($"/v1/devices/{device.Id}/quarantine", new { message = "looks odd" })).EnsureSuccessStatusCode();
        var created = await CreateAsync("refused", "edu", Viommu.None);
        await _service.UntilAsync(created.Id, v => Is(v, ConditionType.Placed, ConditionStatus.False), "it is refused");
        (await _service.Client.PostAsync($"/v1/devices/{device.Id}/release", null)).EnsureSuccessStatusCode();
        await RunningAsync(created.Id);
        await _service.DeleteAsync(created.Id);
        await FreeAsync("edu");
    }

    private async Task<bool> DiskHasAsync(string text)
    {
        var wanted = Encoding.ASCII.GetBytes(text);
        await using var disk = new FileStream(node.DiskFile, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        var content = new byte[disk.Length];
        await disk.ReadExactlyAsync(content);
        return content.AsSpan().IndexOf(wanted) >= 0;
    }

    private async Task<int> CountTraceAsync(params string[] words)
    {
        var found = 0;
        await foreach (var line in File.ReadLinesAsync(node.TraceLog))
            if (words.All(word => line.Contains(word, StringComparison.Ordinal)))
                found++;
        return found;
    }
}
