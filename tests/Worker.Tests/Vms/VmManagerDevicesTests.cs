using Contracts;
using Microsoft.Extensions.Logging.Abstractions;
using Worker.Hardware;
using Worker.Hardware.Assignment;
using Worker.Tests.Hardware.Assignment;
using Worker.Vms;
using Xunit;
using static Worker.Tests.Hardware.Assignment.AssignmentHost;

namespace Worker.Tests.Vms;

/// <summary>Sandboxes with functions of the host: manager, runners, records and device processes are real, VMM and kernel are played.</summary>
public sealed class VmManagerDevicesTests : IAsyncLifetime
{
    private readonly TemporaryDirectory _root = new();
    private readonly AssignmentHost _host = new();
    private readonly FakeVmm _vmm = new();
    private readonly Guid _id = Guid.NewGuid(), _other = Guid.NewGuid();
    private readonly CgroupTree _cgroups = CgroupTree.Open($"sandbox-tests-{Guid.NewGuid():N}");
    private NodeDevices _devices = null!;
    private VmManager _manager = null!;
    /// <summary>Records are flushed to the disk at every step, and disks may be slow.</summary>
    private const int Patience = 60;
    private long _revision;

    public ValueTask InitializeAsync()
    {
        StartWorker();
        return ValueTask.CompletedTask;
    }

    public async ValueTask DisposeAsync()
    {
        await _manager.DisposeAsync();
        _vmm.KillAll();
        foreach (var id in _cgroups.Existing())
            _cgroups.Of(id)!.Remove();
        _cgroups.RemoveParent();
        _root.Dispose();
        _host.Dispose();
        Assert.Empty(_vmm.Violations);
    }

    private void StartWorker(string bootId = "host-boot")
    {
        _devices = new NodeDevices(new EmulatedDevices(WorkerOptions.DefaultDevices, 1), _host.Worker(Nvme, Gpu), AssignmentHost.Qemu, Acceleration.Kvm, _ => false);
        _manager = new VmManager(_root.FullPath, new VmSurroundings(_vmm, _devices, new UserIds(false, 0, 0), _cgroups, bootId, _host.Time, NullLogger.Instance));
        _manager.Start();
    }

    private async Task KillWorkerAsync() => await _manager.DisposeAsync();

    private static PlannedSandbox Planned(Guid id, DesiredState desired = DesiredState.Running, int incarnation = 1, params string[] devices) =>
        new(id, "x", incarnation, desired, false, new SandboxSpec("guest", 1, 128, Viommu.None, devices, null, [], Vmm.Qemu));

    private void Apply(params PlannedSandbox[] plan) => _manager.Apply(new NodePlan(++_revision, plan, [], []));

    private VmView? View(Guid id) => _manager.Snapshot().Views.FirstOrDefault(v => v.Sandbox.Id == id);

    private ReportedDevice Reported(string address) => _devices.Report(_manager.Snapshot()).Single(d => d.Address == address);

    private int Count(string done) => _host.Kernel.Done.Count(d => d == done);

    private Task<VmView> UntilAsync(Guid id, VmState state, int incarnation = 1) => Eventually.GetAsync(() =>
    {
        _host.Time.Advance(TimeSpan.FromMilliseconds(250));
        return View(id) is { } view && view.Sandbox.State == state && view.Sandbox.Incarnation == incarnation ? view : null;
    }, $"the state is {state}", Patience);

    private static Task TrueAsync(Func<bool> condition, string what) => Eventually.TrueAsync(condition, what, Patience);

    private TaskCompletionSource Hang(string address) => _host.Kernel.Hanging[address] = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);

    private async Task<FakeVm> RunAsync(params string[] devices)
    {
        var before = _vmm.Starts;
        Apply(Planned(_id, devices: devices));
        await TrueAsync(() => _vmm.Starts > before && View(_id)?.Sandbox.ExecAt is not null, "the VMM is executed");
        var vm = _vmm.Current!;
        await vm.ConfirmAsync();
        await vm.ReadyAsync();
        await UntilAsync(_id, VmState.Running);
        return vm;
    }

    [Fact]
    public async Task Start_PreparesEachDeviceBeforeTheVmm()
    {
        string[]? before = null;
        _vmm.Starting = launch => before = [.. _host.Kernel.Done];
        var vm = await RunAsync(Gpu, Nvme);
        Assert.Equal([$"reset flr {Gpu}", $"reset flr {Nvme}"], before!.Where(d => d.StartsWith("reset", StringComparison.Ordinal)));
        Assert.Equal([Gpu, Nvme], vm.Launch.Devices.Select(d => d.Assigned!.Address.ToString()));
        Assert.Equal([Gpu, Nvme], View(_id)!.HeldDevices);
        Assert.Equal("DevicesPrepared", View(_id)!.Sandbox.Conditions.Single(c => c.Type == ConditionType.DevicesReady).Reason);
    }

    [Fact]
    public async Task Stop_WhenTheDeviceCannotBeCleaned_SaysSoInsteadOfClean()
    {
        await RunAsync(Gpu, Nvme);
        _host.Kernel.RefusesReset.Add(Nvme);
        Apply(Planned(_id, DesiredState.Stopped, devices: [Gpu, Nvme]));
        var stopped = await UntilAsync(_id, VmState.Stopped);
        var condition = stopped.Sandbox.Conditions.Single(c => c.Type == ConditionType.DevicesReady);
        Assert.Equal(("NotCleaned", ConditionStatus.False), (condition.Reason, condition.Status));
        Assert.Contains($"{Nvme} is quarantined: {AssignmentReasons.ResetFailed.Code}.", condition.Message, StringComparison.Ordinal);
        Assert.DoesNotContain(Gpu, condition.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Start_WhenTheDeviceIsNotThere_IsNotToldToBeCleanAndGivenBack()
    {
        Apply(Planned(_id, devices: "00ff:00:00.0"));
        var failed = await UntilAsync(_id, VmState.Failed);
        Assert.DoesNotContain(failed.Sandbox.Conditions, c => c.Reason == "Released");
    }

    [Fact]
    public async Task Start_WhenPreparationFails_FailsWithItsReasonAndTheDeviceIsQuarantined()
    {
        _host.Kernel.RefusesReset.Add(Nvme);
        Apply(Planned(_id, devices: Nvme));
        var failed = await UntilAsync(_id, VmState.Failed);
        Assert.Equal((AssignmentReasons.ResetFailed.Code, AssignmentReasons.ResetFailed.Remedy), (failed.Sandbox.Failure!.Reason, failed.Sandbox.Failure.Remedy));
        Assert.Empty(failed.HeldDevices);
        Assert.Equal(0, _vmm.Starts);
        var device = Reported(Nvme);
        Assert.Equal((DevicePhase.Quarantined, AssignmentReasons.ResetFailed.Code, null), (device.Phase, device.Quarantine?.Reason, device.HeldBy));
        Assert.Equal(DevicePhase.Available, Reported(Gpu).Phase);
        // The next sandbox is told the same, and another device is still given away.
        Apply(Planned(_id, devices: Nvme), Planned(_other, devices: Nvme));
        Assert.Equal(AssignmentReasons.ResetFailed.Code, (await UntilAsync(_other, VmState.Failed)).Sandbox.Failure!.Reason);
        Apply(Planned(_id, incarnation: 2, devices: Gpu), Planned(_other, devices: Nvme));
        await TrueAsync(() => _vmm.Starts == 1, "it starts with another device");
    }

    [Fact]
    public async Task Report_OfADevice_FollowsItsSandbox()
    {
        Assert.Equal((DevicePhase.Available, null), (Reported(Nvme).Phase, Reported(Nvme).HeldBy));
        var preparing = Hang(Nvme);
        Apply(Planned(_id, devices: Nvme));
        await TrueAsync(() => Reported(Nvme) is { Phase: DevicePhase.Assigned } d && d.HeldBy == _id, "it is assigned while it is prepared");
        preparing.SetResult();
        await TrueAsync(() => View(_id)?.Sandbox.ExecAt is not null, "the VMM is executed");
        Assert.Equal(DevicePhase.Assigned, Reported(Nvme).Phase);
        var cleaning = Hang(Nvme);
        _vmm.Current!.End();
        await TrueAsync(() => { _host.Time.Advance(TimeSpan.FromMilliseconds(250)); return Reported(Nvme).Phase == DevicePhase.Cleaning; }, "it is being cleaned");
        Assert.Equal(_id, Reported(Nvme).HeldBy);
        cleaning.SetResult();
        await UntilAsync(_id, VmState.Failed);
        Assert.Equal((DevicePhase.Available, null, null), (Reported(Nvme).Phase, Reported(Nvme).HeldBy, Reported(Nvme).Quarantine));
    }

    [Fact]
    public void Report_TellsWhatADeviceIs()
    {
        var device = Reported(Gpu);
        Assert.Equal(("acc", "10de", "2342", Origin.Hardware), (device.Class, device.VendorId, device.DeviceId, device.Origin));
        Assert.Contains("IOMMU group 9", device.Description, StringComparison.Ordinal);
        Assert.Contains(Viommu.None, device.Viommus);
    }

    [Fact]
    public async Task Adopt_WhenTheWorkerDiedInPreparing_CleansOnceAndTheNextIncarnationStarts()
    {
        Hang(Nvme);
        Apply(Planned(_id, devices: Nvme));
        await TrueAsync(() => View(_id)?.HeldDevices.Count > 0, "it is being prepared");
        await KillWorkerAsync();
        _host.Kernel.Hanging.Clear();
        StartWorker();
        Assert.Equal([Nvme], View(_id)!.HeldDevices);
        var failed = await UntilAsync(_id, VmState.Failed);
        Assert.Equal("VmmStartFailed", failed.Sandbox.Failure!.Reason);
        Assert.Equal((1, 0), (Count($"erase {Nvme}"), _vmm.Starts));
        Apply(Planned(_id, incarnation: 2, devices: Nvme));
        await TrueAsync(() => _vmm.Starts == 1, "the next starts");
        Assert.Equal(1, Count($"erase {Nvme}"));
    }

    [Fact]
    public async Task Adopt_WhenTheWorkerDiedInRunning_LeavesTheDeviceAloneUntilTheGuestEnds()
    {
        var vm = await RunAsync(Nvme);
        string[] before = [.. _host.Kernel.Done];
        await KillWorkerAsync();
        StartWorker();
        Apply(Planned(_id, devices: Nvme), Planned(_other, devices: Nvme));
        Assert.Equal("DeviceBusy", (await UntilAsync(_other, VmState.Failed)).Sandbox.Failure!.Reason);
        Assert.Equal(before, _host.Kernel.Done);
        Assert.Equal(DevicePhase.Assigned, Reported(Nvme).Phase);
        Assert.False(vm.HasExited);
        vm.End();
        await UntilAsync(_id, VmState.Failed);
        Assert.Equal(2, Count($"erase {Nvme}"));
        Assert.Equal(DevicePhase.Available, Reported(Nvme).Phase);
    }

    [Fact]
    public async Task Adopt_WhenTheWorkerDiedInCleaning_CleansAndTellsTheSameEnd()
    {
        var vm = await RunAsync(Nvme);
        Hang(Nvme);
        await vm.TellAsync(n => new VmGuestEnded(n, EndCause.GuestPoweredOff, _host.Time.GetUtcNow()));
        await TrueAsync(() => { _host.Time.Advance(TimeSpan.FromMilliseconds(250)); return vm.HasExited && Count($"reset flr {Nvme}") == 2; }, "it is being cleaned");
        await KillWorkerAsync();
        _host.Kernel.Hanging.Clear();
        StartWorker();
        Assert.Equal((Nvme, VmState.Stopping), (Assert.Single(View(_id)!.HeldDevices), View(_id)!.Sandbox.State));
        var stopped = await UntilAsync(_id, VmState.Stopped);
        Assert.Null(stopped.Sandbox.Failure);
        Assert.Equal(2, Count($"erase {Nvme}"));
        Assert.Equal(DevicePhase.Available, Reported(Nvme).Phase);
    }

    [Fact]
    public async Task Adopt_WhenTheHostWasRestarted_IsLostAndTheDeviceIsClean()
    {
        await RunAsync(Nvme);
        await KillWorkerAsync();
        _vmm.KillAll();
        _host.Kernel.Reboot();
        StartWorker("another-boot");
        var lost = await UntilAsync(_id, VmState.Failed);
        Assert.Equal("VmmLost", lost.Sandbox.Failure!.Reason);
        Assert.Equal((2, "vfio-pci"), (Count($"erase {Nvme}"), _host.Kernel.DriverOf(Nvme)));
        Assert.Equal((DevicePhase.Available, null), (Reported(Nvme).Phase, Reported(Nvme).Quarantine));
    }

    [Fact]
    public async Task Plan_WhenItLiftsAQuarantine_TheDeviceIsCleanedAndGivenAway()
    {
        _host.Kernel.KeepsData.Add(Nvme);
        Apply(Planned(_id, devices: Nvme));
        await UntilAsync(_id, VmState.Failed);
        var quarantine = Reported(Nvme).Quarantine!;
        _host.Kernel.KeepsData.Clear();
        _manager.Apply(new NodePlan(++_revision, [Planned(_id, devices: Nvme)], [], [new PlannedDevice(Nvme, quarantine.At)]));
        await TrueAsync(() => Reported(Nvme).Phase == DevicePhase.Available, "it is free");
        Apply(Planned(_id, incarnation: 2, devices: Nvme));
        await TrueAsync(() => _vmm.Starts == 1, "it is given away");
    }

    [Fact]
    public async Task Delete_WhileADeviceIsPrepared_LeavesItCleanAndFree()
    {
        var preparing = Hang(Nvme);
        Apply(Planned(_id, devices: Nvme));
        await TrueAsync(() => View(_id)?.HeldDevices.Count > 0, "it is being prepared");
        Apply(Planned(_id, DesiredState.Deleted));
        preparing.SetResult();
        await UntilAsync(_id, VmState.Absent);
        Assert.Equal((DevicePhase.Available, null), (Reported(Nvme).Phase, Reported(Nvme).HeldBy));
        Assert.False(Directory.Exists(RuntimeDirectory.Of(_root.FullPath, _id).FullPath));
    }

    [Fact]
    public async Task Incarnations_OfTwoSandboxesInTurns_NeverShareTheDevice()
    {
        for (var round = 1; round <= 4; round++)
        {
            var (with, without) = round % 2 == 0 ? (_other, _id) : (_id, _other);
            Apply(Planned(with, incarnation: round, devices: Nvme), Planned(without, DesiredState.Deleted, round - 1));
            // The one before may still be cleaning: then this one is refused, and asked for again.
            var incarnation = round;
            await TrueAsync(() =>
            {
                _host.Time.Advance(TimeSpan.FromMilliseconds(250));
                if (View(with) is { Sandbox.State: VmState.Failed } failed)
                {
                    Assert.Equal("DeviceBusy", failed.Sandbox.Failure!.Reason);
                    Apply(Planned(with, incarnation: incarnation = failed.Sandbox.Incarnation + 10, devices: Nvme), Planned(without, DesiredState.Deleted, round - 1));
                }
                return View(with)?.Sandbox.ExecAt is not null;
            }, "it has the device");
        }
        Assert.Equal(4, _vmm.Starts);
    }

    [Fact]
    public async Task Release_WhenAModelStaysHeld_CleansTheFunctionOnce()
    {
        using var root = new TemporaryDirectory();
        var directory = RuntimeDirectory.Of(root.FullPath, _id);
        directory.Create();
        directory.CreateVmmDirectory(null);
        Assert.True(_devices.TryHold(_id, ["nvme-0", Nvme], _host.Time.GetUtcNow(), out _));
        await _devices.PrepareAsync(directory, ["nvme-0", Nvme], Vmm.Qemu, User, TestContext.Current.CancellationToken);
        // Its scratch file is still there: the runner comes back for it.
        Assert.False(await _devices.ReleaseAsync(directory, _id, ["nvme-0", Nvme], TestContext.Current.CancellationToken));
        Assert.True(_devices.TryHold(_other, [Nvme], _host.Time.GetUtcNow(), out _));
        string[] before = [.. _host.Kernel.Done];
        Assert.False(await _devices.ReleaseAsync(directory, _id, ["nvme-0", Nvme], TestContext.Current.CancellationToken));
        directory.RemoveVmmDirectory();
        Assert.True(await _devices.ReleaseAsync(directory, _id, ["nvme-0", Nvme], TestContext.Current.CancellationToken));
        Assert.Equal(before, _host.Kernel.Done);
        Assert.Equal([Nvme], _devices.HeldBy(_other));
    }

    [Fact]
    public void TryHold_WhenOneOfSeveralIsRefused_HoldsNone()
    {
        Assert.True(_devices.TryHold(_other, [Gpu], _host.Time.GetUtcNow(), out _));
        Assert.False(_devices.TryHold(_id, ["edu-0", Nvme, Gpu], _host.Time.GetUtcNow(), out var failure));
        Assert.Equal("DeviceBusy", failure!.Reason);
        Assert.Empty(_devices.HeldBy(_id));
        Assert.Equal([Gpu], _devices.HeldBy(_other));
    }
}
