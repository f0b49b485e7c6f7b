using Contracts;
using Microsoft.Extensions.Logging.Abstractions;
using Worker.Faults;
using Worker.Hardware;
using Worker.Tests.Hardware.Assignment;
using Worker.Tests.Vms;
using Worker.Vms;
using Worker.Vms.Simulated;
using Xunit;

namespace Worker.Tests.Simulated;

/// <summary>Manager, runner and process as in production: each simulation is a process of the worker's own program.</summary>
public sealed class SimulatedVmTests : IAsyncLifetime
{
    private const int Patience = 60;
    private static readonly EmulatedDeviceOptions[] Offered = [.. WorkerOptions.DefaultDevices, .. WorkerOptions.DefaultSimulatedDevices];
    // The worker lies beside the tests, with their packages and frameworks.
    private static readonly WorkerProgram Program = new(
        Environment.ProcessPath!, ["exec", "--runtimeconfig", Beside("Sandbox.Worker.Tests.runtimeconfig.json"), "--depsfile", Beside("Sandbox.Worker.Tests.deps.json"), Beside("Sandbox.Worker.dll")]);
    private readonly TemporaryDirectory _root = new();
    private readonly FakeVmm _qemu = new();
    private readonly Guid _id = Guid.NewGuid();
    private readonly CgroupTree _cgroups = CgroupTree.Open($"sandbox-tests-{Guid.NewGuid():N}");
    private NodeDevices _devices = null!;
    private VmManager _manager = null!;
    private long _revision;

    private static string Beside(string name) => Path.Combine(AppContext.BaseDirectory, name);

    private RuntimeDirectory Directory => RuntimeDirectory.Of(_root.FullPath, _id);
    private VmView? View => _manager.Snapshot().Views.FirstOrDefault(view => view.Sandbox.Id == _id);

    public ValueTask InitializeAsync()
    {
        StartWorker();
        return ValueTask.CompletedTask;
    }

    public async ValueTask DisposeAsync()
    {
        await _manager.DestroyAllAsync(TimeSpan.FromSeconds(10));
        await _manager.DisposeAsync();
        _qemu.KillAll();
        _cgroups.RemoveParent();
        _root.Dispose();
    }

    private void StartWorker()
    {
        _devices = NodeWith.Devices(new EmulatedDevices(Offered, 1), _root.FullPath, TimeProvider.System);
        _manager = new VmManager(_root.FullPath, new VmSurroundings(
            new VmmChoice(new Dictionary<Vmm, IVmm> { [Vmm.Qemu] = _qemu, [Vmm.Simulated] = new SimulatedVmm(new ProcessSimulator(Program), TimeProvider.System, NullLogger.Instance) }),
            _devices, new UserIds(false, 0, 0), _cgroups, "host-boot", TimeProvider.System, NullLogger.Instance));
        _manager.Start();
    }

    private async Task RestartWorkerAsync(Func<Task>? meanwhile = null)
    {
        await _manager.DisposeAsync();
        if (meanwhile is not null)
            await meanwhile();
        StartWorker();
    }

    private void Apply(DesiredState desired = DesiredState.Running, int incarnation = 1, Vmm vmm = Vmm.Simulated, string? userData = """{"workload":"random","seed":7,"workingSetMib":2}""", Viommu viommu = Viommu.Smmuv3, StormPolicy? storm = null, params string[] devices) =>
        _manager.Apply(new NodePlan(++_revision, [new PlannedSandbox(_id, "x", incarnation, desired, false, new SandboxSpec("guest", 1, 128, viommu, devices is [] ? ["sva-0"] : devices, userData, [], vmm), storm)], [], []));

    private Task<VmView> UntilAsync(VmState state, int incarnation = 1) => Eventually.GetAsync(
        () => View is { } view && view.Sandbox.State == state && view.Sandbox.Incarnation == incarnation ? view : null, $"the state is {state}", Patience);

    private async Task<ReportedSandbox> StartAsync()
    {
        Apply();
        await UntilAsync(VmState.Running);
        await Eventually.TrueAsync(() => Of(View!.Sandbox, ConditionType.SvaReady).Status == ConditionStatus.True, "the simulated guest's probe has passed", Patience);
        return View!.Sandbox;
    }

    private static async Task SignalAsync(string signal, int pid)
    {
        using var kill = System.Diagnostics.Process.Start("kill", [signal, pid.ToString(System.Globalization.CultureInfo.InvariantCulture)]);
        await kill.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.Equal(0, kill.ExitCode);
    }

    private static Condition Of(ReportedSandbox sandbox, ConditionType type) => sandbox.Conditions.Single(condition => condition.Type == type);

    /// <summary>Null while the simulation has told nothing new.</summary>
    private Dictionary<string, SourceReading>? Sample() => _manager.Sample(TimeProvider.System.GetUtcNow()).SingleOrDefault()?.Readings.ToDictionary(reading => reading.Source);

    private Task<Dictionary<string, SourceReading>> SampleAboveAsync(string source, long value) =>
        Eventually.GetAsync(() => Sample() is { } readings && readings[source].Value > value ? readings : null, $"{source} is above {value}", Patience);

    [Theory]
    [InlineData("/usr/bin/dotnet", "/usr/bin/dotnet", "/opt/worker/Sandbox.Worker.dll")]
    [InlineData("/opt/worker/Sandbox.Worker", "/opt/worker/Sandbox.Worker", null)]
    [InlineData(null, "/opt/worker/Sandbox.Worker", null)]
    public void Program_IsStartedAsTheWorkerWas(string? process, string path, string? argument)
    {
        var program = WorkerProgram.Of(process, "/opt/worker/");
        Assert.Equal(path, program.Path);
        Assert.Equal(argument is null ? [] : [argument], program.Arguments);
    }

    [Fact]
    public async Task Start_ProvesSharedAddresses_AndSaysThatAllOfItIsSimulated()
    {
        var sandbox = await StartAsync();
        Assert.Equal("SimulatedGuestReady", Of(sandbox, ConditionType.GuestReady).Reason);
        Assert.Equal("SharedAddressProbePassed", Of(sandbox, ConditionType.SvaReady).Reason);
        Assert.Equal((VerdictClass.GuestSvaDeviceFaults, Origin.Simulated, "SimulatedDevice"), (sandbox.Verdict!.Class, sandbox.Verdict.Origin, sandbox.Verdict.Reason));
        Assert.All(sandbox.Verdict.Links, link => Assert.Equal(LinkStatus.Pass, link.Status));
        Assert.Equal((ProbeOutcome.Passed, true, "arm-smmu-v3, simulated"), (sandbox.Probe!.Single().Outcome, sandbox.Probe!.Single().Pasid, sandbox.Probe!.Single().IommuDriver));
        Assert.Contains("simulated", sandbox.Guest!.Kernel, StringComparison.Ordinal);
        var readings = await SampleAboveAsync(FaultSource.IoPageFaultsSuccess, 100);
        Assert.All(readings.Values, reading => Assert.Equal(Origin.Simulated, reading.Origin));
        Assert.Equal(readings[FaultSource.IoPageFaults].Latency!.Total, readings[FaultSource.IoPageFaultsSuccess].Value + readings[FaultSource.IoPageFaultsInvalid].Value + readings[FaultSource.IoPageFaultsFailure].Value);
        Assert.True(readings[FaultSource.AtsHits].Value > 0 && readings[FaultSource.AtsRequests].Value >= readings[FaultSource.AtsHits].Value);
        Assert.Equal(0, _qemu.Starts);
    }

    [Fact]
    public async Task Start_BehindVirtioIommu_SharesWithoutPasid()
    {
        Apply(viommu: Viommu.Virtio);
        await UntilAsync(VmState.Running);
        await Eventually.TrueAsync(() => Of(View!.Sandbox, ConditionType.SvaReady).Reason == "SharedAddressProbePassedWithoutPasid", "the probe has passed", Patience);
        Assert.Equal((VerdictClass.PassthroughOnly, Origin.Simulated), (View!.Sandbox.Verdict!.Class, View.Sandbox.Verdict.Origin));
        var sample = await SampleAboveAsync(FaultSource.VirtioIommuEvents, 0);
        // The probe's one access to what is not mapped.
        Assert.Equal((1L, 1L), (sample[FaultSource.VirtioIommuEvents].Value, sample[$"{FaultSource.VirtioIommuEvents}.MAPPING"].Value));
    }

    /// <summary>Its queue holds 64, which the guest's driver empties.</summary>
    [Fact]
    public async Task Storm_BehindVirtioIommu_IsCountedBeyondItsQueue()
    {
        Apply(userData: """{"workload":"storm"}""", viommu: Viommu.Virtio);
        await UntilAsync(VmState.Running);
        await SampleAboveAsync(FaultSource.VirtioIommuEvents, 1000);
    }

    [Fact]
    public async Task Adopt_AfterTheWorkersCrash_GoesOnWithTheSameProcessAndCounters()
    {
        var before = await StartAsync();
        var counted = (await SampleAboveAsync(FaultSource.AtsRequests, 100))[FaultSource.AtsRequests].Value!.Value;
        await RestartWorkerAsync();
        Assert.Equal((VmState.Running, before.VmmPid, before.Guest), (View!.Sandbox.State, View.Sandbox.VmmPid, View.Sandbox.Guest));
        await SampleAboveAsync(FaultSource.AtsRequests, counted);
        Assert.False(_devices.TryHold(Guid.NewGuid(), ["sva-0"], TimeProvider.System.GetUtcNow(), out var failure));
        Assert.Equal("DeviceBusy", failure!.Reason);
    }

    [Fact]
    public async Task Adopt_WhenTheProcessWasNotWrittenDown_FindsItByItsDirectory()
    {
        var before = await StartAsync();
        await RestartWorkerAsync(() =>
        {
            VmFiles.Write(Directory, VmFiles.ReadRecord(Directory)! with { Process = null });
            return Task.CompletedTask;
        });
        Assert.Equal((VmState.Running, before.VmmPid), (View!.Sandbox.State, View.Sandbox.VmmPid));
    }

    [Fact]
    public async Task Sample_WhenNothingNewWasTold_IsNone()
    {
        var sandbox = await StartAsync();
        await SampleAboveAsync(FaultSource.AtsRequests, 0);
        // A process that stands still tells nothing: what it told last is sampled once, and then no more, until it is too old and null.
        await SignalAsync("-STOP", sandbox.VmmPid!.Value);
        await Eventually.TrueAsync(() => Sample() is null && Sample() is null, "nothing new is told", Patience);
        await Eventually.TrueAsync(() => Sample()?[FaultSource.AtsRequests].NullReason == NullReasons.AgentSilent, "the counts are too old", Patience);
        await SignalAsync("-CONT", sandbox.VmmPid!.Value);
        await SampleAboveAsync(FaultSource.AtsRequests, 0);
    }

    [Fact]
    public async Task Latest_OfASamplingThatHeardNothingNew_IsTheLastSample()
    {
        var ct = TestContext.Current.CancellationToken;
        var sandbox = await StartAsync();
        using var sampling = new FaultSampling(_manager, TimeProvider.System, NullLogger<FaultSampling>.Instance);
        await sampling.StartAsync(ct);
        await Eventually.TrueAsync(() => sampling.Latest is [{ } sample] && sample.Readings.Any(r => r.Source == FaultSource.AtsRequests && r.Value > 0), "a sample is taken", Patience);
        await SignalAsync("-STOP", sandbox.VmmPid!.Value);
        while ((await sampling.NextAsync(ct)).Length > 0)
        {
        }
        Assert.Equal(_id, Assert.Single(sampling.Latest).SandboxId);
        await SignalAsync("-CONT", sandbox.VmmPid!.Value);
        await sampling.StopAsync(ct);
    }

    [Fact]
    public async Task Kill_OfTheProcess_IsAFailureAndFreesTheDevice()
    {
        var sandbox = await StartAsync();
        using (var process = ProcessHandle.Open(ProcessIdentity.Of(sandbox.VmmPid!.Value)!))
            process!.Kill();
        var ended = await UntilAsync(VmState.Failed);
        Assert.Equal("VmmKilled", ended.Sandbox.Failure!.Reason);
        Assert.Empty(ended.HeldDevices);
        Apply(incarnation: 2);
        await UntilAsync(VmState.Running, 2);
    }

    [Fact]
    public async Task Kill_WhileNoWorkerRan_IsToldByTheNext()
    {
        var sandbox = await StartAsync();
        await RestartWorkerAsync(async () =>
        {
            using var process = ProcessHandle.Open(ProcessIdentity.Of(sandbox.VmmPid!.Value)!);
            process!.Kill();
            await Eventually.TrueAsync(() => process.HasExited, "it has ended", Patience);
        });
        Assert.Equal("VmmKilled", (await UntilAsync(VmState.Failed)).Sandbox.Failure!.Reason);
    }

    [Fact]
    public async Task Terminate_BySomebodyElse_IsNoCrash()
    {
        var sandbox = await StartAsync();
        using (var process = ProcessHandle.Open(ProcessIdentity.Of(sandbox.VmmPid!.Value)!))
            process!.Terminate();
        Assert.Equal("VmmExited", (await UntilAsync(VmState.Failed)).Sandbox.Failure!.Reason);
    }

    /// <summary>Until the condition says so; the rounds of the sampling are made here.</summary>
    private Task StormAsync(string reason) => Eventually.TrueAsync(() =>
    {
        _manager.Sample(TimeProvider.System.GetUtcNow());
        return View!.Sandbox.Conditions.FirstOrDefault(c => c.Type == ConditionType.FaultStorm)?.Reason == reason;
    }, $"the condition is {reason}", Patience);

    [Fact]
    public async Task Storm_OfTheWorkloadOfThatName_IsFound_AndIsNoneByAPolicyThatAllowsIt()
    {
        const string workload = """{"workload":"storm","seed":7,"workingSetMib":2}""";
        Apply(userData: workload, storm: new StormPolicy(100, 5, StormAction.Stop, null));
        var started = await UntilAsync(VmState.Running);
        await StormAsync("FaultStorm");
        Assert.Contains("smmu.events, io.pageFaults (simulated)", Of(View!.Sandbox, ConditionType.FaultStorm).Message, StringComparison.Ordinal);
        await RestartWorkerAsync();
        Assert.Equal("FaultStorm", Of(View!.Sandbox, ConditionType.FaultStorm).Reason);
        Apply(userData: workload, storm: new StormPolicy(1e9, 5, StormAction.Stop, null));
        await StormAsync("NoFaultStorm");
        Assert.Equal(started.Sandbox.VmmPid, View!.Sandbox.VmmPid);
    }

    [Fact]
    public async Task Stop_AsAsked_EndsAsStopped_AndDeleteLeavesNothing()
    {
        await StartAsync();
        Apply(DesiredState.Stopped);
        var ended = await UntilAsync(VmState.Stopped);
        Assert.Equal((null, StopReasons.AsPlanned), (ended.Sandbox.Failure, Of(ended.Sandbox, ConditionType.VmmRunning).Reason));
        Apply(DesiredState.Deleted);
        await UntilAsync(VmState.Absent);
        Assert.False(Directory.Exists);
    }

    [Fact]
    public async Task Start_OfUserDataThatAreNoSimulation_FailsWithItsReason()
    {
        Apply(userData: "#!/bin/sh\n");
        Assert.Equal("SimulationUnreadable", (await UntilAsync(VmState.Failed)).Sandbox.Failure!.Reason);
    }

    [Theory]
    [InlineData(Vmm.Simulated, "edu-0")]
    [InlineData(Vmm.Qemu, "sva-0")]
    public async Task Start_WithADeviceOfTheOtherKind_FailsWithItsReason(Vmm vmm, string device)
    {
        Apply(vmm: vmm, devices: device);
        var ended = await UntilAsync(VmState.Failed);
        Assert.Equal("DeviceOfOtherVmm", ended.Sandbox.Failure!.Reason);
        Assert.Empty(ended.HeldDevices);
        Assert.Equal(0, _qemu.Starts);
    }

    [Fact]
    public void Report_OfASimulatedDevice_FitsNoOtherVmm()
    {
        var device = _devices.Report(_manager.Snapshot()).Single(d => d.Address == "sva-0");
        Assert.Equal((Origin.Simulated, Origin.Simulated, VerdictClass.GuestSvaDeviceFaults, false), (device.Origin, device.Verdict.Origin, device.Verdict.Class, device.FitsKvmtool));
        Assert.Empty(device.Viommus);
        Assert.All(_devices.Report(_manager.Snapshot()).Where(d => d.Class != "sva"), other => Assert.Equal(Origin.Emulated, other.Origin));
    }
}
