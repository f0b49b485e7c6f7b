using Contracts;
using Worker.Hardware.Assignment;
using Xunit;
using static Worker.Tests.Hardware.Assignment.AssignmentHost;

namespace Worker.Tests.Hardware.Assignment;

/// <summary>Devices that could not be made ready or clean: what is told of them, that it outlives the worker, and how it ends.</summary>
public sealed class QuarantineTests : IDisposable
{
    private readonly AssignmentHost _host = new();
    private readonly Guid _first = Guid.NewGuid(), _second = Guid.NewGuid();
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    public void Dispose() => _host.Dispose();

    private static void OtherIds(AssignmentHost host, string address)
    {
        var config = new ConfigBytes(0x10DE9999).Express().Build();
        File.WriteAllBytes(host.Path(ConfigOf(address)), config);
    }

    /// <summary>What goes wrong with either device, and the code for it.</summary>
    private static readonly Dictionary<string, (Action<AssignmentHost, string> Break, string Reason)> Breaks = new()
    {
        ["the driver does not let go"] = ((h, a) => h.Kernel.StuckUnbinding.Add(a), "UnbindHangs"),
        ["the kernel refuses to unbind"] = ((h, a) => h.Kernel.RefusesUnbinding.Add(a), "UnbindRefused"),
        ["no driver takes it"] = ((h, a) => h.Kernel.RefusesProbe.Add(a), "BindFailed"),
        ["its method cannot be chosen"] = ((h, a) => h.Kernel.RefusesMethod.Add(a), "ResetFailed"),
        ["its reset is refused"] = ((h, a) => h.Kernel.RefusesReset.Add(a), "ResetFailed"),
        ["it still masters the bus"] = ((h, a) => h.Kernel.KeepsMastering.Add(a), "ResetNotVerified"),
        ["it comes back as another"] = (OtherIds, "ResetNotVerified"),
        ["it comes back with half a header"] = ((h, a) => File.WriteAllBytes(h.Path(ConfigOf(a)), [0xDE, 0x10, 0x42, 0x23, 0, 0]), "ResetNotVerified"),
        ["its data stay"] = ((h, a) => h.Kernel.KeepsData.Add(a), "DeviceNotErased"),
        ["a namespace is detached"] = ((h, a) => h.Kernel.HidesNamespace.Add(a), "NamespacesOutOfReach"),
    };

    public static TheoryData<string> BreakNames => [.. Breaks.Keys];

    [Theory]
    [MemberData(nameof(BreakNames))]
    public async Task Prepare_WhenOneThingFails_QuarantinesThatDeviceForGoodAndNoOther(string name)
    {
        var (fails, reason) = Breaks[name];
        var (device, other) = (Nvme, Gpu);
        var worker = _host.Worker(Nvme, Gpu);
        Assert.Null(worker.TryHold(_first, device));
        fails(_host, device);
        var problem = await Assert.ThrowsAsync<DeviceException>(() => worker.PrepareAsync(device, Vmm.Qemu, User, Ct));
        Assert.Equal((reason, true), (problem.Problem.Reason, problem.Quarantines));
        Assert.Contains(AssignmentReasons.All, r => r.Code == reason && r.Remedy == problem.Problem.Remedy);
        Assert.DoesNotContain(_host.Kernel.Owners, o => o.Value is not null);
        await worker.ReleaseAsync(_first, device, Ct);
        Assert.Empty(worker.HeldBy(_first));

        var told = QuarantineOf(worker, device);
        Assert.Equal((reason, _host.Time.GetUtcNow()), (told?.Reason, told?.At));
        _host.Time.Advance(TimeSpan.FromDays(1));
        var next = _host.Worker(Nvme, Gpu);
        Assert.Equal(told, QuarantineOf(next, device));
        Assert.Equal(reason, next.TryHold(_second, device)?.Reason);
        Assert.Null(QuarantineOf(next, other));
        Assert.Null(next.TryHold(_second, other));
        await next.PrepareAsync(other, Vmm.Qemu, User, Ct);
    }

    [Theory]
    [InlineData("its reset is refused")]
    [InlineData("it still masters the bus")]
    [InlineData("it comes back as another")]
    [InlineData("its data stay")]
    [InlineData("a namespace is detached")]
    [InlineData("the driver does not let go")]
    public async Task Release_WhenOneThingFails_FreesTheSandboxAndNotTheDevice(string name)
    {
        var (fails, reason) = Breaks[name];
        var worker = _host.Worker(Nvme);
        Assert.Null(worker.TryHold(_first, Nvme));
        await worker.PrepareAsync(Nvme, Vmm.Qemu, User, Ct);
        _host.Tenant(Nvme);
        fails(_host, Nvme);
        await worker.ReleaseAsync(_first, Nvme, Ct);
        Assert.Empty(worker.HeldBy(_first));
        Assert.Equal(reason, worker.TryHold(_second, Nvme)?.Reason);
        Assert.Equal(reason, QuarantineOf(_host.Worker(Nvme), Nvme)?.Reason);
        Assert.DoesNotContain(_host.Kernel.Owners, o => o.Value is not null);
    }

    [Fact]
    public async Task Release_WhenTheGroupCannotBeBound_TakesTheNodeFromTheTenantNevertheless()
    {
        var worker = _host.Worker(Gpu);
        Assert.Null(worker.TryHold(_first, Gpu));
        var node = (await worker.PrepareAsync(Gpu, Vmm.Qemu, User, Ct)).DeviceNode;
        // Somebody bound the parked one by hand, and its driver holds on to it.
        File.Delete(_host.Path($"sys/bus/pci/devices/{Audio}/driver"));
        File.CreateSymbolicLink(_host.Path($"sys/bus/pci/devices/{Audio}/driver"), "../../../bus/pci/drivers/snd_hda_intel");
        _host.Kernel.StuckUnbinding.Add(Audio);
        await worker.ReleaseAsync(_first, Gpu, Ct);
        Assert.Equal("UnbindHangs", QuarantineOf(worker, Gpu)?.Reason);
        Assert.Null(_host.Kernel.Owners[node]);
    }

    [Fact]
    public async Task Release_WhenTheGroupIsGone_ChangesTheOwnerOfNoDirectory()
    {
        var worker = _host.Worker(Gpu);
        Assert.Null(worker.TryHold(_first, Gpu));
        await worker.PrepareAsync(Gpu, Vmm.Qemu, User, Ct);
        File.Delete(_host.Path($"sys/bus/pci/devices/{Gpu}/iommu_group"));
        await worker.ReleaseAsync(_first, Gpu, Ct);
        Assert.DoesNotContain(_host.Kernel.Owners.Keys, Directory.Exists);
    }

    [Theory]
    [InlineData("VfioDeviceMissing")]
    [InlineData("VfioDeviceNotGiven")]
    public async Task Prepare_WhenTheNodeIsMissingOrNotGiven_IsNoFaultOfTheDevice(string reason)
    {
        if (reason == "VfioDeviceMissing")
            foreach (var path in (string[])["dev/iommu", "dev/vfio/vfio"])
                File.Delete(_host.Path(path));
        else
            _host.Kernel.RefusesOwner.Add("vfio0");
        var worker = _host.Worker(Gpu);
        Assert.Null(worker.TryHold(_first, Gpu));
        var problem = await Assert.ThrowsAsync<DeviceException>(() => worker.PrepareAsync(Gpu, Vmm.Qemu, User, Ct));
        Assert.Equal((reason, false), (problem.Problem.Reason, problem.Quarantines));
        await worker.ReleaseAsync(_first, Gpu, Ct);
        Assert.Null(QuarantineOf(worker, Gpu));
    }

    [Fact]
    public async Task Prepare_WhenSomethingIsWrongByNow_SaysSoAndTouchesNothing()
    {
        var worker = _host.Worker(Gpu);
        Assert.Null(worker.TryHold(_first, Gpu));
        _host.Files.Text($"sys/bus/pci/devices/{Gpu}/reset_method", "pm");
        var problem = await Assert.ThrowsAsync<DeviceException>(() => worker.PrepareAsync(Gpu, Vmm.Qemu, User, Ct));
        Assert.Equal(("NoUsableReset", false), (problem.Problem.Reason, problem.Quarantines));
        Directory.Delete(_host.Path($"sys/bus/pci/devices/{Gpu}"), recursive: true);
        Assert.Equal("DeviceMissing", (await Assert.ThrowsAsync<DeviceException>(() => worker.PrepareAsync(Gpu, Vmm.Qemu, User, Ct))).Problem.Reason);
        Assert.Empty(_host.Kernel.Done);
    }

    /// <summary>A worker whose NVMe controller is quarantined, because its data stayed.</summary>
    private async Task<(AssignedDevices Worker, Failure Quarantine)> QuarantinedAsync()
    {
        _host.Kernel.KeepsData.Add(Nvme);
        var worker = _host.Worker(Nvme);
        Assert.Null(worker.TryHold(_first, Nvme));
        await Assert.ThrowsAsync<DeviceException>(() => worker.PrepareAsync(Nvme, Vmm.Qemu, User, Ct));
        await worker.ReleaseAsync(_first, Nvme, Ct);
        _host.Kernel.Done.Clear();
        _host.Time.Advance(TimeSpan.FromMinutes(1));
        return (worker, QuarantineOf(worker, Nvme)!);
    }

    [Fact]
    public async Task Lift_OfThisQuarantine_CleansAndFreesTheDeviceForGood()
    {
        var (worker, quarantine) = await QuarantinedAsync();
        _host.Kernel.KeepsData.Clear();
        await worker.LiftAsync(new PlannedDevice(Nvme, quarantine.At), Ct);
        Assert.Contains($"erase {Nvme}", _host.Kernel.Done);
        Assert.Null(QuarantineOf(worker, Nvme));
        Assert.Null(worker.TryHold(_second, Nvme));
        Assert.Null(QuarantineOf(_host.Worker(Nvme), Nvme));
    }

    [Fact]
    public async Task Lift_WhenTheWorkerIsAnother_DoesTheSame()
    {
        var (_, quarantine) = await QuarantinedAsync();
        _host.Kernel.KeepsData.Clear();
        var next = _host.Worker(Nvme);
        Assert.Equal(quarantine, QuarantineOf(next, Nvme));
        await next.LiftAsync(new PlannedDevice(Nvme, quarantine.At), Ct);
        Assert.Null(next.TryHold(_second, Nvme));
    }

    [Fact]
    public async Task Lift_OfAnotherQuarantine_DoesNothing()
    {
        var (worker, quarantine) = await QuarantinedAsync();
        _host.Kernel.KeepsData.Clear();
        foreach (var lifted in (PlannedDevice[])[new(Nvme, quarantine.At.AddMilliseconds(1)), new(Nvme, quarantine.At.AddMilliseconds(-1)), new(Gpu, quarantine.At), new("../x", quarantine.At)])
            await worker.LiftAsync(lifted, Ct);
        Assert.Empty(_host.Kernel.Done);
        Assert.Equal(quarantine, QuarantineOf(worker, Nvme));
    }

    [Fact]
    public async Task Lift_WhenItIsStillBroken_IsANewQuarantine()
    {
        var (worker, quarantine) = await QuarantinedAsync();
        await worker.LiftAsync(new PlannedDevice(Nvme, quarantine.At), Ct);
        var again = QuarantineOf(worker, Nvme)!;
        Assert.Equal(("DeviceNotErased", _host.Time.GetUtcNow()), (again.Reason, again.At));
        // The plan that lifted the first says it until the API has seen the second.
        _host.Kernel.KeepsData.Clear();
        _host.Kernel.Done.Clear();
        await worker.LiftAsync(new PlannedDevice(Nvme, quarantine.At), Ct);
        Assert.Empty(_host.Kernel.Done);
        await worker.LiftAsync(new PlannedDevice(Nvme, again.At), Ct);
        Assert.Null(QuarantineOf(worker, Nvme));
    }

    [Fact]
    public async Task Lift_WhenTheHostUsesItByNow_CleansNothingAndSaysWhy()
    {
        var (worker, quarantine) = await QuarantinedAsync();
        _host.Files.Text("sys/kernel/iommu_groups/12/reserved_regions", "0x0 0xfff direct");
        await worker.LiftAsync(new PlannedDevice(Nvme, quarantine.At), Ct);
        Assert.Empty(_host.Kernel.Done);
        Assert.Equal("GroupHasDirectRegion", QuarantineOf(worker, Nvme)?.Reason);
        Directory.Delete(_host.Path($"sys/bus/pci/devices/{Nvme}"), recursive: true);
        _host.Time.Advance(TimeSpan.FromMinutes(1));
        Assert.Empty(worker.Views());
    }

    [Fact]
    public async Task Lift_WhileItIsBeingLifted_IsDoneOnce()
    {
        var (worker, quarantine) = await QuarantinedAsync();
        _host.Kernel.KeepsData.Clear();
        var hangs = _host.Kernel.Hanging[Nvme] = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var first = worker.LiftAsync(new PlannedDevice(Nvme, quarantine.At), Ct);
        await worker.LiftAsync(new PlannedDevice(Nvme, quarantine.At), Ct);
        Assert.False(first.IsCompleted);
        Assert.Equal("DeviceNotErased", worker.TryHold(_second, Nvme)?.Reason);
        hangs.SetResult();
        await first;
        Assert.Single(_host.Kernel.Done, $"erase {Nvme}");
        Assert.Null(worker.TryHold(_second, Nvme));
    }

    [Fact]
    public void Views_OfARefusal_KeepItsTimeAndLoseItWithItsCause()
    {
        var worker = _host.Worker(Gpu);
        Assert.Null(QuarantineOf(worker, Gpu));
        _host.Files.Text($"sys/devices/pci0009:00/{Audio}/net/eth7/flags", "0x1003").Link("sys/class/net/eth7", $"../../devices/pci0009:00/{Audio}/net/eth7");
        _host.Later();
        var told = QuarantineOf(worker, Gpu)!;
        Assert.Equal(("NetworkInUse", _host.Time.GetUtcNow()), (told.Reason, told.At));
        _host.Later();
        Assert.Equal(told, QuarantineOf(worker, Gpu));
        Assert.Equal("NetworkInUse", worker.TryHold(_first, Gpu)?.Reason);
        _host.Files.Text($"sys/devices/pci0009:00/{Audio}/net/eth7/flags", "0x1002");
        _host.Later();
        Assert.Null(QuarantineOf(worker, Gpu));
        Assert.Null(worker.TryHold(_first, Gpu));
    }
}
