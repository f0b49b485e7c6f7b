using Contracts;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Worker.Faults;
using Worker.Hardware;
using Worker.Tests.Hardware.Assignment;
using Worker.Vms;
using Xunit;

namespace Worker.Tests.Vms;

/// <summary>Storms of a guest that the test plays, in virtual time: what its runner publishes and writes down.</summary>
public sealed class VmStormsTests : IAsyncLifetime
{
    private static readonly StormPolicy Policy = new(100, 10, StormAction.Stop, FaultSource.GuestMinor);
    private readonly TemporaryDirectory _root = new();
    private readonly FakeTimeProvider _time = new(new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero));
    private readonly FakeVmm _vmm = new();
    private readonly Guid _id = Guid.NewGuid();
    private readonly CgroupTree _cgroups = CgroupTree.Open($"sandbox-tests-{Guid.NewGuid():N}");
    private VmManager _manager = null!;
    private long _revision, _faults;

    public async ValueTask InitializeAsync()
    {
        StartWorker();
        await StartGuestAsync(Policy);
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

    private void StartWorker()
    {
        _manager = new VmManager(_root.FullPath, new VmSurroundings(
            _vmm, NodeWith.Devices(new EmulatedDevices([], 1), _root.FullPath, _time), new UserIds(false, 0, 0), _cgroups, "host-boot", _time, NullLogger.Instance));
        _manager.Start();
    }

    private async Task RestartWorkerAsync()
    {
        await _manager.DisposeAsync();
        StartWorker();
    }

    private async Task StartGuestAsync(StormPolicy? policy, int incarnation = 1)
    {
        var before = _vmm.Starts;
        Apply(policy, incarnation: incarnation);
        await Eventually.TrueAsync(() => _vmm.Starts > before && Sandbox?.ExecAt is not null, "the VMM is executed");
        await _vmm.Current!.ConfirmAsync();
        await _vmm.Current!.ReadyAsync();
        await UntilAsync(s => s.State == VmState.Running, "it runs");
    }

    private void Apply(StormPolicy? policy, DesiredState desired = DesiredState.Running, int incarnation = 1) => _manager.Apply(new NodePlan(++_revision,
        [new PlannedSandbox(_id, "x", incarnation, desired, false, new SandboxSpec("guest", 1, 128, Viommu.Smmuv3, [], null, [], Vmm.Qemu), policy)], [], []));

    private ReportedSandbox? Sandbox => _manager.Snapshot().Views.FirstOrDefault(v => v.Sandbox.Id == _id)?.Sandbox;

    private Condition? Storm => Sandbox?.Conditions.FirstOrDefault(c => c.Type == ConditionType.FaultStorm);

    private Task UntilAsync(Func<ReportedSandbox, bool> holds, string what) => Eventually.TrueAsync(() =>
    {
        _time.Advance(TimeSpan.FromMilliseconds(250));
        return Sandbox is { } sandbox && holds(sandbox);
    }, what);

    /// <summary>Rounds of the sampling, a second apart.</summary>
    private void Pass(int seconds, int perSecond)
    {
        for (var i = 0; i < seconds; i++)
        {
            _time.Advance(TimeSpan.FromSeconds(1));
            _vmm.Current!.Readings = [new SourceReading(FaultSource.GuestMinor, _faults += perSecond, null, false, Origin.Emulated)];
            _manager.Sample(_time.GetUtcNow());
        }
    }

    /// <summary>Until the runner has taken in what the sampling handed to it; what it lost is handed to it again. Rarely, for each time is a second of the window.</summary>
    private Task ToldAsync(string reason, int perSecond)
    {
        var looks = 0;
        return Eventually.TrueAsync(() =>
        {
            if (Storm?.Reason != reason && looks++ % 20 == 0)
                Pass(1, perSecond);
            return Storm?.Reason == reason;
        }, $"{reason} is told");
    }

    /// <summary>Once in a test: until the runner has handled all that was handed to it before, for its queue keeps the order.</summary>
    private async Task HandledAsync()
    {
        Assert.Null(Sandbox!.Probe);
        await _vmm.Current!.SayAsync(new AgentProbe([]));
        await Eventually.TrueAsync(() => Sandbox!.Probe is not null, "the probe is taken in");
    }

    [Fact]
    public async Task Storm_OfAPolicy_IsToldWithItsPolicyAndEnds()
    {
        Pass(2, 0);
        await ToldAsync("StormNotJudged", 0);
        Pass(12, 500);
        await ToldAsync("FaultStorm", 500);
        Assert.Equal((ConditionStatus.True, Policy), (Storm!.Status, Sandbox!.StormJudgedBy));
        Assert.Contains("guest.minorFaults (emulated)", Storm.Message, StringComparison.Ordinal);
        Assert.Equal("FaultStorm", VmFiles.ReadRecord(RuntimeDirectory.Of(_root.FullPath, _id))!.Conditions.Single(c => c.Type == ConditionType.FaultStorm).Reason);
        Pass(12, 10);
        await ToldAsync("NoFaultStorm", 10);
        Assert.Equal(VmState.Running, Sandbox!.State);
    }

    [Fact]
    public async Task Storm_WithoutAPolicy_IsNotJudged()
    {
        Apply(null);
        Pass(30, 500);
        await Eventually.TrueAsync(() =>
        {
            Pass(1, 500);
            return Storm is null && Sandbox!.StormJudgedBy is null;
        }, "nothing is told");
    }

    [Fact]
    public async Task Policy_ThatMeasuresOtherwise_IsJudgedAnewWithoutARestart()
    {
        Pass(12, 500);
        await ToldAsync("FaultStorm", 500);
        var (pid, since) = (Sandbox!.VmmPid, Storm!.Since);
        Apply(Policy with { Action = StormAction.Quarantine });
        Pass(3, 500);
        await HandledAsync();
        Assert.Equal(("FaultStorm", since), (Storm!.Reason, Storm.Since));
        Apply(Policy with { PerSecond = 1000 });
        await ToldAsync("StormNotJudged", 500);
        Assert.Equal(1000, Sandbox!.StormJudgedBy!.PerSecond);
        Pass(12, 500);
        await ToldAsync("NoFaultStorm", 500);
        Assert.Equal((1, pid), (_vmm.Starts, Sandbox!.VmmPid));
    }

    [Fact]
    public async Task Restart_OfTheWorker_KeepsTheStormUntilAWindowIsJudged()
    {
        Pass(12, 500);
        await ToldAsync("FaultStorm", 500);
        var since = Storm!.Since;
        await RestartWorkerAsync();
        // Before the API has sent a plan, too.
        Pass(10, 0);
        await HandledAsync();
        Assert.Equal(("FaultStorm", since), (Storm!.Reason, Storm.Since));
        await ToldAsync("NoFaultStorm", 0);
    }

    [Fact]
    public async Task Sampling_OfAStorm_IsWhatPrometheusReads()
    {
        using var sampling = new FaultSampling(_manager, _time, NullLogger<FaultSampling>.Instance);
        await sampling.StartAsync(TestContext.Current.CancellationToken);
        await Eventually.TrueAsync(() =>
        {
            _vmm.Current!.Readings = [new SourceReading(FaultSource.GuestMinor, _faults += 500, null, false, Origin.Emulated)];
            _time.Advance(TimeSpan.FromSeconds(1));
            var text = new MetricText();
            StormMetrics.Write(text, sampling.LatestStorms);
            return text.ToString().EndsWith($"\nsandbox_fault_storm{{sandbox=\"{_id}\",origin=\"emulated\"}} 1\n", StringComparison.Ordinal);
        }, "it is 1");
        await sampling.StopAsync(TestContext.Current.CancellationToken);
    }

    [Fact]
    public async Task End_InAStorm_IsStillTold_AndTheNextRunBeginsWithoutIt()
    {
        Pass(12, 500);
        await ToldAsync("FaultStorm", 500);
        var message = Storm!.Message;
        Apply(Policy, DesiredState.Stopped);
        await UntilAsync(s => s.State == VmState.Stopping, "it is asked to stop");
        _vmm.Current!.End();
        await UntilAsync(s => s.State == VmState.Stopped, "it has ended");
        Assert.Equal(("EndedInStorm", ConditionStatus.False, Policy), (Storm!.Reason, Storm.Status, Sandbox!.StormJudgedBy));
        Assert.Contains(message, Storm.Message, StringComparison.Ordinal);
        await StartGuestAsync(Policy, incarnation: 2);
        Assert.Null(Storm);
        await ToldAsync("StormNotJudged", 0);
    }
}
