using System.Text;
using Contracts;
using Worker.Vms;
using Xunit;

namespace Worker.Tests.Real;

/// <summary>The worker's whole line with a real QEMU and the real guest image, against a stand-in of the API.</summary>
public sealed class GuestTests : IAsyncLifetime
{
    private readonly TemporaryDirectory _state = new();
    private readonly Guid _id = Guid.NewGuid();
    private FakeApi _api = null!;
    private WorkerProcess? _worker;
    private string _token = "";

    public async ValueTask InitializeAsync()
    {
        _token = _state.Of("token");
        await File.WriteAllTextAsync(_token, "sbn_test\n");
        _api = await FakeApi.StartAsync();
    }

    public async ValueTask DisposeAsync()
    {
        _worker?.Dispose();
        var left = _worker is null ? 0 : await WorkerProcess.DestroyAllAsync(StateDirectory);
        await _api.DisposeAsync();
        _state.Dispose();
        Assert.Equal(0, left);
    }

    private string StateDirectory => _state.Of("node");
    private string Runtime => Path.Combine(StateDirectory, "vms", _id.ToString("N"));

    private void StartWorker()
    {
        Assert.SkipWhen(WorkerProcess.QemuProblem is not null, WorkerProcess.QemuProblem ?? "");
        Assert.SkipWhen(WorkerProcess.Images is null, "there is no guest image: build it with ./sandbox image");
        _worker = WorkerProcess.Start(StateDirectory, WorkerProcess.Images!, _api.Url, _token);
    }

    private PlannedSandbox Planned(DesiredState desired = DesiredState.Running, int incarnation = 1, bool launched = false, Viommu viommu = Viommu.Smmuv3, params string[] devices) =>
        new(_id, "guest", incarnation, desired, launched, new SandboxSpec("guest", 1, 256, viommu, devices, "#!/bin/sh\necho user-data-ran\n", [], Vmm.Qemu));

    private async Task<ReportedSandbox> RunAsync(PlannedSandbox planned)
    {
        StartWorker();
        await _api.PlanAsync([planned], _id);
        return await _api.UntilAsync(_id, s => s.State is VmState.Running or VmState.Failed, "the guest runs", 60);
    }

    [Fact]
    public async Task Start_WhenEduIsGiven_ProbePassesAndEverythingIsCountedAndCleaned()
    {
        var running = await RunAsync(Planned(devices: "edu-0"));
        Assert.Null(running.Failure);
        Assert.Equal("Bearer sbn_test", _api.LastToken);
        Assert.Equal(_id, _api.Report!.Devices.Single(d => d.Address == "edu-0").HeldBy);
        var proven = await _api.UntilAsync(_id, s => s.Conditions.Any(c => c is { Type: ConditionType.SvaReady, Status: not ConditionStatus.Unknown }), "the probe ends", 30);
        var sva = proven.Conditions.Single(c => c.Type == ConditionType.SvaReady);
        Assert.Equal((ConditionStatus.True, "SharedAddressProbePassedWithoutPasid"), (sva.Status, sva.Reason));
        Assert.Equal(VerdictClass.PassthroughOnly, proven.Verdict!.Class);
        Assert.Contains(proven.Verdict.Links, l => l is { Link: VerdictLinkName.Device, Status: LinkStatus.Fail, Reason: "DeviceHasNoPasid" });
        var sample = await Eventually.GetAsync(() => _api.Samples.LastOrDefault(s => Value(s, "smmu.events.F_TRANSLATION") > 0 && Value(s, FaultSource.GuestMinor) > 0), "the provoked fault is counted");
        Assert.True(Value(sample, FaultSource.VmmMinor) > 0);
        await Eventually.TrueAsync(() => ConsoleText().Contains("user-data-ran", StringComparison.Ordinal), "user data has run");
        await _api.TypeAsync(_id, "echo typed-$((6*7))\n"u8.ToArray());
        await Eventually.TrueAsync(() => ConsoleText().Contains("typed-42", StringComparison.Ordinal), "the shell answers keys");

        await _api.PlanAsync([Planned(DesiredState.Deleted)]);
        await _api.UntilAsync(_id, s => s.State == VmState.Absent, "it is absent");
        Assert.Null(_api.Report!.Devices.Single(d => d.Address == "edu-0").HeldBy);
        Assert.False(Directory.Exists(Runtime));
        Assert.False(ProcessIdentity.Of(running.VmmPid!.Value) is not null);
    }

    [Fact]
    public async Task Start_WhenEduStandsBehindVirtioIommu_TheProvokedFaultIsItsEvent()
    {
        var running = await RunAsync(Planned(viommu: Viommu.Virtio, devices: "edu-0"));
        Assert.Null(running.Failure);
        var sample = await Eventually.GetAsync(() => _api.Samples.LastOrDefault(s => Value(s, "virtioIommu.events.MAPPING") > 0), "the provoked fault is counted", 60);
        var total = sample.Readings.Single(r => r.Source == FaultSource.VirtioIommuEvents);
        Assert.Equal((Value(sample, "virtioIommu.events.MAPPING"), null, Origin.Emulated), (total.Value, total.NullReason, total.Origin));
        Assert.Equal("NoSmmu", sample.Readings.Single(r => r.Source == FaultSource.SmmuEvents).NullReason);
        Assert.Equal("NotUnderKvm", sample.Readings.Single(r => r.Source == FaultSource.KvmExits).NullReason);
    }

    [Fact]
    public async Task Worker_WhenKilledOrTerminated_GuestRunsOnAndIsAdopted()
    {
        var running = await RunAsync(Planned(devices: "edu-1"));
        for (var round = 0; round < 2; round++)
        {
            if (round == 0)
                _worker!.Kill();
            else
            {
                var (exitCode, took) = await _worker!.TerminateAsync(TestContext.Current.CancellationToken);
                Assert.Equal(0, exitCode);
                Assert.True(took < TimeSpan.FromSeconds(3), $"it took {took}");
            }
            Assert.NotNull(ProcessIdentity.Of(running.VmmPid!.Value));
            var before = _api.Report!.At;
            StartWorker();
            await Eventually.TrueAsync(() => _api.Report!.At > before, "the next worker reports");
            var adopted = _api.Find(_id)!;
            Assert.Equal((VmState.Running, running.VmmPid, running.ExecAt), (adopted.State, adopted.VmmPid, adopted.ExecAt));
            Assert.Equal(_id, _api.Report!.Devices.Single(d => d.Address == "edu-1").HeldBy);
            var since = _api.Report.At;
            await Eventually.TrueAsync(() => _api.Samples.Any(s => s.At > since && Value(s, FaultSource.GuestMinor) > 0), "telemetry goes on");
        }
    }

    [Fact]
    public async Task Vmm_WhenKilled_SandboxFailsAndDeviceIsFree()
    {
        var running = await RunAsync(Planned(devices: "nvme-0"));
        Assert.Equal(0, LibC.Kill(running.VmmPid!.Value, LibC.SigKill));
        var failed = await _api.UntilAsync(_id, s => s.State == VmState.Failed, "it is failed", 5);
        Assert.Equal("VmmKilled", failed.Failure!.Reason);
        Assert.Null(_api.Report!.Devices.Single(d => d.Address == "nvme-0").HeldBy);
        Assert.False(Directory.Exists(Path.Combine(Runtime, "vmm")));
    }

    [Theory]
    [InlineData("poweroff\n", false, VmState.Stopped, null)]
    [InlineData("poweroff\n", true, VmState.Stopped, null)]
    [InlineData("echo c >/proc/sysrq-trigger\n", false, VmState.Failed, "GuestPanicked")]
    [InlineData("echo c >/proc/sysrq-trigger\n", true, VmState.Failed, "GuestReset")]
    public async Task Guest_WhenItEnds_IsToldHowEvenIfNobodyWatched(string keys, bool workerAway, VmState state, string? reason)
    {
        var running = await RunAsync(Planned());
        await Eventually.TrueAsync(() => ConsoleText().Contains('#', StringComparison.Ordinal), "the shell is there");
        if (workerAway)
        {
            await _api.TypeAsync(_id, Encoding.ASCII.GetBytes($"sleep 2; {keys}"));
            await Eventually.TrueAsync(() => ConsoleText().Contains("sleep 2", StringComparison.Ordinal), "the keys are echoed");
            _worker!.Kill();
            var events = Path.Combine(Runtime, "vmm", "events.out");
            await Eventually.TrueAsync(() => File.ReadAllText(events).Contains("SHUTDOWN", StringComparison.Ordinal), "the guest has ended", 30);
            StartWorker();
        }
        else
        {
            await _api.TypeAsync(_id, Encoding.ASCII.GetBytes(keys));
        }
        var ended = await _api.UntilAsync(_id, s => s.State is VmState.Stopped or VmState.Failed, "it has ended", 30);
        Assert.Equal((state, reason), (ended.State, ended.Failure?.Reason));
        Assert.Null(ProcessIdentity.Of(running.VmmPid!.Value));
    }

    [Fact]
    public async Task Stop_WhenAsked_PowersOffAndStartsAgainAsNextIncarnation()
    {
        await RunAsync(Planned(viommu: Viommu.Virtio));
        await _api.PlanAsync([Planned(DesiredState.Stopped)], _id);
        var stopped = await _api.UntilAsync(_id, s => s.State == VmState.Stopped, "it is stopped", 15);
        Assert.Contains(stopped.Conditions, c => c is { Type: ConditionType.VmmRunning, Reason: StopReasons.AsPlanned });
        await _api.PlanAsync([Planned(incarnation: 2)], _id);
        await _api.UntilAsync(_id, s => s is { Incarnation: 2, State: VmState.Running }, "it runs again", 60);
    }

    private string ConsoleText() => string.Concat(_api.Chunks.Where(c => c.SandboxId == _id).Select(c => Encoding.UTF8.GetString(c.Data)));

    private static long? Value(FaultSample sample, string source) => sample.Readings.FirstOrDefault(r => r.Source == source)?.Value;
}
