using Contracts;
using Microsoft.Extensions.Logging.Abstractions;
using Worker.Vms;
using Worker.Vms.Simulated;
using Xunit;

namespace Worker.Tests.Simulated;

public sealed class SimulationPoolTests : IAsyncLifetime
{
    private static readonly SandboxSpec _spec = new("guest", 1, 128, Viommu.Smmuv3, ["sva-0"], """{"accessesPerSecond":1000,"workingSetMib":1}""", [], Vmm.Simulated);
    private readonly TemporaryDirectory _root = new();
    private readonly SimulationPool _pool = new(2, TimeProvider.System, NullLogger.Instance);

    public ValueTask InitializeAsync() => ValueTask.CompletedTask;

    public async ValueTask DisposeAsync()
    {
        await _pool.DisposeAsync();
        _root.Dispose();
    }

    private VmLaunch Launch() => new(RuntimeDirectory.Of(_root.FullPath, Guid.NewGuid()), 1, _spec, [], null, null);

    private ISimulation Start(MachineModel? model = null) => _pool.Start(Launch(), model ?? SimulationRequest.ModelOf(_spec));

    private static Task<SimulationStatus> ToldAsync(ISimulation simulation, long sequence) =>
        Eventually.GetAsync(() => simulation.ReadStatus() is { } status && status.Sequence >= sequence ? status : null, "it tells its counters", 60);

    [Fact]
    public async Task Machines_OfOnePool_AllGoOnAndOnlyGrow()
    {
        var all = Enumerable.Range(0, 20).Select(_ => Start()).ToList();
        foreach (var one in all)
        {
            var first = await ToldAsync(one, 1);
            var later = await ToldAsync(one, first.Sequence + 2);
            Assert.True(later.VirtualNanoseconds > first.VirtualNanoseconds && later.Counters.Accesses > first.Counters.Accesses);
            Assert.Equal(first.BootId, later.BootId);
            Assert.Equal(ProbeOutcome.Passed, first.Probe.Single().Outcome);
            Assert.Equal(Environment.ProcessId, one.Process.Pid);
        }
        Assert.Equal(20, all.Select(one => one.ReadStatus()!.BootId).Distinct().Count());
    }

    [Fact]
    public async Task Machine_WhenItIsEnded_TakesNoMoreTurns()
    {
        var (ended, other) = (Start(), Start());
        await ToldAsync(ended, 1);
        ended.Terminate();
        Assert.True(ended.HasExited);
        Assert.Equal(1, _pool.Running);
        // At most the turn that was under way.
        var last = (await ToldAsync(other, (await ToldAsync(other, 1)).Sequence + 2)).Sequence;
        var still = ended.ReadStatus()!.Sequence;
        await ToldAsync(other, last + 3);
        Assert.Equal(still, ended.ReadStatus()!.Sequence);
        Assert.Null(_pool.Adopt(Launch(), ended.Process));
    }

    [Fact]
    public async Task Machine_ThatFails_EndsAlone()
    {
        var other = Start();
        var failing = Start(SimulationRequest.ModelOf(_spec) with { MemoryMib = -64 });
        await Eventually.TrueAsync(() => failing.HasExited, "it has ended", 60);
        await ToldAsync(other, (await ToldAsync(other, 1)).Sequence + 2);
        Assert.False(other.HasExited);
    }
}
