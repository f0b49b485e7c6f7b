using Contracts;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Worker.Checks;
using Worker.Hardware;
using Worker.Tests.Hardware.Assignment;
using Worker.Vms;
using Xunit;

namespace Worker.Tests.Vms;

/// <summary>Manager and runners with a VMM whose guest the test plays; processes, directories and records are real.</summary>
public sealed class VmManagerTests : IAsyncLifetime
{
    private readonly TemporaryDirectory _root = new();
    private readonly FakeTimeProvider _time = new(new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero));
    private readonly FakeVmm _vmm = new();
    private readonly Guid _id = Guid.NewGuid();
    private readonly CgroupTree _cgroups = CgroupTree.Open($"sandbox-tests-{Guid.NewGuid():N}");
    private EmulatedDevices _devices = null!;
    private VmManager _manager = null!;
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
    }

    private void StartWorker(string bootId = "host-boot")
    {
        _devices = new EmulatedDevices(WorkerOptions.DefaultDevices, 1);
        _manager = new VmManager(_root.FullPath, new VmSurroundings(
            _vmm, NodeWith.Devices(_devices, _root.FullPath, _time), new UserIds(false, 0, 0), _cgroups, bootId, _time, NullLogger.Instance));
        _manager.Start();
    }

    /// <summary>What a SIGKILL leaves: nothing is told, nothing is written.</summary>
    private async Task RestartWorkerAsync(string bootId = "host-boot")
    {
        await _manager.DisposeAsync();
        StartWorker(bootId);
    }

    private PlannedSandbox Planned(DesiredState desired = DesiredState.Running, int incarnation = 1, bool launched = false, params string[] devices) =>
        new(_id, "x", incarnation, desired, launched, new SandboxSpec("guest", 1, 128, Viommu.Smmuv3, devices, null, [], Vmm.Qemu));

    private void Apply(params PlannedSandbox[] plan) => _manager.Apply(new NodePlan(++_revision, plan, [], []));

    private VmView? View => _manager.Snapshot().Views.FirstOrDefault(v => v.Sandbox.Id == _id);
    private string SandboxDirectory => RuntimeDirectory.Of(_root.FullPath, _id).FullPath;

    private Task<VmView> UntilAsync(VmState state, int incarnation = 1) => Eventually.GetAsync(() =>
    {
        // Real processes end in real time; the runners' timer is moved by hand.
        _time.Advance(TimeSpan.FromMilliseconds(250));
        return View is { } view && view.Sandbox.State == state && view.Sandbox.Incarnation == incarnation ? view : null;
    }, $"the state is {state}");

    private async Task<FakeVm> StartAsync(VmState until, params string[] devices)
    {
        var before = _vmm.Starts;
        Apply(Planned(devices: devices));
        await Eventually.TrueAsync(() => _vmm.Starts > before && View?.Sandbox.ExecAt is not null, "the VMM is executed");
        var vm = _vmm.Current!;
        if (until >= VmState.Booting)
        {
            await vm.ConfirmAsync();
            await UntilAsync(VmState.Booting);
        }
        if (until >= VmState.Running)
        {
            await vm.ReadyAsync();
            await UntilAsync(VmState.Running);
        }
        if (until >= VmState.Stopping)
        {
            Apply(Planned(DesiredState.Stopped, devices: devices));
            await UntilAsync(VmState.Stopping);
        }
        return vm;
    }

    public static TheoryData<VmState> LiveStates => [VmState.Preparing, VmState.Booting, VmState.Running, VmState.Stopping];

    [Theory]
    [MemberData(nameof(LiveStates))]
    public async Task Delete_InEachPhase_LeavesNothing(VmState phase)
    {
        var vm = await StartAsync(phase, "edu-0", "nvme-0");
        Assert.Equal(["edu-0", "nvme-0"], View!.HeldDevices);
        Apply(Planned(DesiredState.Deleted));
        var absent = await UntilAsync(VmState.Absent);
        Assert.Empty(absent.HeldDevices);
        Assert.True(vm.HasExited);
        Assert.True(vm.Disposed);
        Assert.False(Directory.Exists(SandboxDirectory));
        Assert.True(_devices.TryHold(Guid.NewGuid(), ["edu-0", "nvme-0"], _time.GetUtcNow(), out _));
    }

    [Theory]
    [MemberData(nameof(LiveStates))]
    public async Task Kill_InEachPhase_EndsTheSandboxAndFreesTheDevice(VmState phase)
    {
        var vm = await StartAsync(phase, "nvme-1");
        vm.End();
        var expected = phase == VmState.Stopping ? VmState.Stopped : VmState.Failed;
        var ended = await UntilAsync(expected);
        Assert.Empty(ended.HeldDevices);
        Assert.Equal(phase switch { VmState.Stopping => null, VmState.Preparing => "VmmStartFailed", _ => "VmmKilled" }, ended.Sandbox.Failure?.Reason);
        Assert.Null(ended.Sandbox.VmmPid);
        Assert.False(Directory.Exists(Path.Combine(SandboxDirectory, "vmm")));
    }

    [Theory]
    [InlineData(EndCause.GuestPoweredOff, VmState.Stopped, null)]
    [InlineData(EndCause.GuestPanicked, VmState.Failed, "GuestPanicked")]
    [InlineData(EndCause.GuestReset, VmState.Failed, "GuestReset")]
    public async Task Guest_WhenItEnds_ItsVmmIsEndedToo(EndCause cause, VmState state, string? reason)
    {
        var vm = await StartAsync(VmState.Running);
        await vm.TellAsync(n => new VmGuestEnded(n, cause, _time.GetUtcNow()));
        var ended = await UntilAsync(state);
        Assert.Equal(reason, ended.Sandbox.Failure?.Reason);
        Assert.True(vm.HasExited);
    }

    [Fact]
    public async Task Start_WhenReady_ConfiguresUntilTheAgentSaysSoAndReportsConditions()
    {
        var vm = await StartAsync(VmState.Running, "edu-0");
        await Eventually.TrueAsync(() => vm.WasAsked(nameof(AgentConfigure)), "it is told its configuration");
        // The agent died before it had read that: the next worker tells it again.
        await RestartWorkerAsync();
        await _vmm.Current!.ReadyAsync();
        await Eventually.TrueAsync(() => _vmm.Current!.WasAsked(nameof(AgentConfigure)), "it is told again");
        await _vmm.Current!.SayAsync(new AgentConfigured(false, null));
        await _vmm.Current!.SayAsync(new AgentProbe([]));
        await Eventually.TrueAsync(() => View?.Sandbox.Probe is not null, "both are taken in");
        await RestartWorkerAsync();
        var adopted = _vmm.Current!;
        Assert.NotSame(vm, adopted);
        await adopted.ReadyAsync();
        await adopted.SayAsync(new AgentProbe([new ProbeResult("0000:01:00.0", "1234", "11e8", ProbeOutcome.Passed, "Passed", "ok", "0xffff", true, true, "sent", false, false, false, "arm-smmu-v3", 5)]));
        var proven = await Eventually.GetAsync(() => View?.Sandbox is { Probe.Count: 1 } s ? s : null, "the probe is reported");
        Assert.False(adopted.WasAsked(nameof(AgentConfigure)));
        Assert.Equal(ConditionStatus.True, proven.Conditions.Single(c => c.Type == ConditionType.SvaReady).Status);
        Assert.Equal(ConditionStatus.True, proven.Conditions.Single(c => c.Type == ConditionType.DevicesReady).Status);
        Assert.Equal("boot-1", proven.Guest!.BootId);
    }

    [Fact]
    public async Task Start_WhenImageHasNoAgent_RunsOnceConfirmed()
    {
        _vmm.HasAgent = false;
        Apply(Planned());
        await Eventually.TrueAsync(() => _vmm.Current is not null, "it is started");
        await _vmm.Current!.ConfirmAsync();
        await UntilAsync(VmState.Running);
    }

    [Fact]
    public async Task Adopt_Twice_KeepsProcessDevicesAndMilestones()
    {
        var vm = await StartAsync(VmState.Running, "edu-2");
        var before = View!;
        for (var round = 0; round < 2; round++)
        {
            await RestartWorkerAsync();
            var first = View!;
            Assert.Equal((before.Sandbox.VmmPid, before.Sandbox.ExecAt, before.Sandbox.GuestReadyAt, VmState.Running), (first.Sandbox.VmmPid, first.Sandbox.ExecAt, first.Sandbox.GuestReadyAt, first.Sandbox.State));
            Assert.Equal(["edu-2"], first.HeldDevices);
            Assert.False(_devices.TryHold(Guid.NewGuid(), ["edu-2"], _time.GetUtcNow(), out var failure));
            Assert.Equal("DeviceBusy", failure!.Reason);
        }
        Apply(Planned(devices: "edu-2"));
        Assert.Equal(1, _vmm.Starts);
        Assert.False(vm.HasExited);
    }

    [Fact]
    public async Task Adopt_WhenVmmEndedMeanwhile_TellsWhatItLeft()
    {
        var vm = await StartAsync(VmState.Running);
        await _manager.DisposeAsync();
        vm.End();
        await Eventually.TrueAsync(() => vm.HasExited, "it is dead");
        _vmm.Left = EndCause.GuestPoweredOff;
        StartWorker();
        await UntilAsync(VmState.Stopped);
    }

    [Fact]
    public async Task Adopt_WhenHostWasRestarted_IsLost()
    {
        await StartAsync(VmState.Running, "edu-0");
        await _manager.DisposeAsync();
        _vmm.KillAll();
        StartWorker("another-boot");
        var lost = await UntilAsync(VmState.Failed);
        Assert.Equal("VmmLost", lost.Sandbox.Failure!.Reason);
    }

    [Fact]
    public async Task Adopt_WhenRecordIsUnreadable_PlanDecides()
    {
        await StartAsync(VmState.Running);
        await _manager.DisposeAsync();
        File.WriteAllText(Path.Combine(SandboxDirectory, "state.json"), "{\"id\":");
        StartWorker();
        Assert.Null(View);
        Apply(Planned(launched: true));
        var lost = await UntilAsync(VmState.Failed);
        Assert.Equal("VmmLost", lost.Sandbox.Failure!.Reason);
    }

    [Fact]
    public async Task Adopt_WhenWorkerDiedBeforeExec_EndsAsFailedAndNextIncarnationStarts()
    {
        await _manager.DisposeAsync();
        var directory = RuntimeDirectory.Of(_root.FullPath, _id);
        directory.Create();
        VmFiles.Write(directory, Planned(devices: "nvme-0").Spec);
        VmFiles.Write(directory, new VmRecord(_id, 1, VmState.Preparing) { HostBootId = "host-boot", HeldDevices = ["nvme-0"] });
        directory.CreateVmmDirectory(null);
        File.WriteAllText(Path.Combine(directory.VmmDirectory, "nvme-0.img"), "half");
        StartWorker();
        var failed = await UntilAsync(VmState.Failed);
        Assert.Equal("VmmStartFailed", failed.Sandbox.Failure!.Reason);
        Assert.Empty(failed.HeldDevices);
        Apply(Planned(incarnation: 2, devices: "nvme-0"));
        await UntilAsync(VmState.Preparing, 2);
    }

    [Fact]
    public async Task Orphan_WhenPlanDoesNotNameIt_IsDestroyedOnlyThen()
    {
        var vm = await StartAsync(VmState.Running);
        await RestartWorkerAsync();
        _time.Advance(TimeSpan.FromSeconds(30));
        Assert.False(vm.HasExited);
        Apply();
        await Eventually.TrueAsync(() => { _time.Advance(TimeSpan.FromMilliseconds(250)); return !Directory.Exists(SandboxDirectory) && View is null; }, "it is gone");
        Assert.True(vm.HasExited);
    }

    [Fact]
    public async Task Incarnation_WhenHigher_EndsTheOldGuestFirst()
    {
        var old = await StartAsync(VmState.Running, "edu-0");
        Apply(Planned(incarnation: 2, devices: "edu-0"));
        await UntilAsync(VmState.Preparing, 2);
        Assert.True(old.HasExited);
        // It is Preparing before its VMM is started.
        await Eventually.TrueAsync(() => _vmm.Starts == 2, "the new one is started");
        // What the old guest still had to say is no news of the new one.
        await old.ReadyAsync();
        await old.TellAsync(n => new VmGuestEnded(n, EndCause.GuestPanicked, _time.GetUtcNow()));
        await _vmm.Current!.ConfirmAsync();
        await UntilAsync(VmState.Booting, 2);
    }

    [Theory]
    [InlineData(true, VmState.Failed, "VmmLost")]
    [InlineData(false, VmState.Stopped, null)]
    public async Task Plan_WhenNothingIsKnownOfALaunchedOrStoppedOne_StartsNothing(bool running, VmState state, string? reason)
    {
        Apply(Planned(running ? DesiredState.Running : DesiredState.Stopped, launched: true));
        var ended = await UntilAsync(state);
        Assert.Equal(reason, ended.Sandbox.Failure?.Reason);
        Assert.Equal(0, _vmm.Starts);
        await RestartWorkerAsync();
        Assert.Equal(state, View!.Sandbox.State);
    }

    [Fact]
    public async Task Start_WhenDeviceIsBusyOrMissing_FailsWithoutTakingAny()
    {
        await StartAsync(VmState.Running, "edu-0");
        foreach (var (device, reason) in ((string, string)[])[("edu-0", "DeviceBusy"), ("gpu-9", "DeviceMissing")])
        {
            var other = Planned(devices: ["edu-1", device]) with { Id = Guid.NewGuid() };
            await RefusedAsync(other, reason);
        }
        Assert.True(_devices.TryHold(Guid.NewGuid(), ["edu-1"], _time.GetUtcNow(), out _));

        async Task RefusedAsync(PlannedSandbox other, string reason)
        {
            Apply(Planned(devices: "edu-0"), other);
            var failed = await Eventually.GetAsync(() => _manager.Snapshot().Views.FirstOrDefault(v => v.Sandbox.Id == other.Id && v.Sandbox.State == VmState.Failed), "it fails");
            Assert.Equal(reason, failed.Sandbox.Failure!.Reason);
        }
    }

    [Fact]
    public async Task Start_WhenVmmRefuses_FailsWithItsReason()
    {
        _vmm.Refusal = new VmStartException(NodeReasons.ImageMissing, "m");
        Apply(Planned(devices: "edu-0"));
        var failed = await UntilAsync(VmState.Failed);
        Assert.Equal(("ImageMissing", "There is no such image on the node. m", NodeReasons.ImageMissing.Remedy), (failed.Sandbox.Failure!.Reason, failed.Sandbox.Failure.Message, failed.Sandbox.Failure.Remedy));
        Assert.Empty(failed.HeldDevices);
    }

    [Fact]
    public async Task Stop_WhenGuestDoesNotListen_IsQuitThenKilled()
    {
        var vm = await StartAsync(VmState.Stopping);
        await Eventually.TrueAsync(() => vm.WasAsked("powerdown"), "the button is pressed");
        _time.Advance(TimeSpan.FromSeconds(3));
        await Eventually.TrueAsync(() => { _time.Advance(TimeSpan.FromMilliseconds(250)); return vm.WasAsked(nameof(AgentPowerOff)); }, "the agent is asked");
        _time.Advance(TimeSpan.FromSeconds(8));
        await Eventually.TrueAsync(() => { _time.Advance(TimeSpan.FromMilliseconds(1)); return vm.WasAsked("quit") || vm.WasAsked("kill"); }, "the VMM is asked");
        var stopped = await UntilAsync(VmState.Stopped);
        Assert.Null(stopped.Sandbox.Failure);
    }

    [Fact]
    public async Task Boot_WhenAgentIsSilent_IsAConditionOnly()
    {
        await StartAsync(VmState.Booting);
        _time.Advance(TimeSpan.FromSeconds(121));
        var late = await Eventually.GetAsync(() => View is { Sandbox: { } s } && s.Conditions.Any(c => c.Reason == "BootTimeout") ? s : null, "the condition is set");
        Assert.Equal(VmState.Booting, late.State);
    }

    [Fact]
    public async Task Boot_WhenAgentIsSilent_AndItsPolicyStartsItAgain_Fails()
    {
        await StartAsync(VmState.Booting);
        _time.Advance(TimeSpan.FromSeconds(599));
        Apply(Planned() with { EndsUnready = true });
        await Eventually.TrueAsync(() => _manager.Snapshot().AppliedPlanRevision == _revision, "the plan is applied");
        Assert.Equal(VmState.Booting, View!.Sandbox.State);
        _time.Advance(TimeSpan.FromSeconds(2));
        var failed = await UntilAsync(VmState.Failed);
        Assert.Equal("GuestNeverReady", failed.Sandbox.Failure!.Reason);
        Assert.True(_vmm.Current!.HasExited);
    }

    [Fact]
    public async Task Boot_WhenAPolicyComesAfterTheTimeout_FailsToo()
    {
        await StartAsync(VmState.Booting);
        _time.Advance(TimeSpan.FromSeconds(601));
        await Eventually.TrueAsync(() => View!.Sandbox.Conditions.Any(c => c.Reason == "BootTimeout"), "the condition is set");
        Apply(Planned() with { EndsUnready = true });
        Assert.Equal("GuestNeverReady", (await UntilAsync(VmState.Failed)).Sandbox.Failure!.Reason);
    }

    [Fact]
    public async Task Absent_WhenPlanNamesADeletedOneThatWasNeverHere_IsReported()
    {
        Apply(Planned(DesiredState.Deleted));
        await UntilAsync(VmState.Absent);
        Assert.False(Directory.Exists(SandboxDirectory));
    }
}
