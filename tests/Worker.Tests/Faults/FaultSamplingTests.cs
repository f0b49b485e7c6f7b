using Contracts;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Worker.Faults;
using Worker.Hardware;
using Worker.Tests.Hardware.Assignment;
using Worker.Tests.Vms;
using Worker.Vms;
using Xunit;

namespace Worker.Tests.Faults;

public sealed class FaultSamplingTests
{
    [Fact]
    public async Task Next_OfEachRound_IsGivenOnceToWhoeverWaits()
    {
        var ct = TestContext.Current.CancellationToken;
        var time = new FakeTimeProvider();
        using var root = new TemporaryDirectory();
        var cgroups = CgroupTree.Open($"sandbox-tests-{Guid.NewGuid():N}");
        await using var vms = new VmManager(root.FullPath, new VmSurroundings(
            new FakeVmm(), NodeWith.Devices(new EmulatedDevices([], 1), root.FullPath, time), new UserIds(false, 0, 0), cgroups, "boot", time, NullLogger.Instance));
        using var sampling = new FaultSampling(vms, time, NullLogger<FaultSampling>.Instance);
        await sampling.StartAsync(ct);
        for (var round = 0; round < 3; round++)
        {
            var waits = new[] { sampling.NextAsync(ct), sampling.NextAsync(ct) };
            // The loop may not have begun yet: a timer that is not there hears no tick.
            await Eventually.TrueAsync(() =>
            {
                if (!waits[0].IsCompleted)
                    time.Advance(TimeSpan.FromSeconds(1));
                return waits.All(w => w.IsCompletedSuccessfully);
            }, "the round is given to both");
        }
        using var leaving = new CancellationTokenSource();
        var left = sampling.NextAsync(leaving.Token);
        await leaving.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => left);
        await sampling.StopAsync(ct);
        cgroups.RemoveParent();
    }

    [Fact]
    public async Task Round_WhenOneGuestCannotBeSampled_HasTheOthers_AndOneThatTellsNothingNewIsShownForAWhile()
    {
        var ct = TestContext.Current.CancellationToken;
        var time = new FakeTimeProvider(new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero));
        using var root = new TemporaryDirectory();
        var cgroups = CgroupTree.Open($"sandbox-tests-{Guid.NewGuid():N}");
        var vmm = new FakeVmm();
        await using var vms = new VmManager(root.FullPath, new VmSurroundings(
            vmm, NodeWith.Devices(new EmulatedDevices([], 1), root.FullPath, time), new UserIds(false, 0, 0), cgroups, "boot", time, NullLogger.Instance));
        vms.Start();
        using var sampling = new FaultSampling(vms, time, NullLogger<FaultSampling>.Instance);
        await sampling.StartAsync(ct);
        var guests = new List<FakeVm>();
        var plan = new List<PlannedSandbox>();
        for (var guest = 0; guest < 2; guest++)
        {
            plan.Add(new PlannedSandbox(Guid.NewGuid(), "x", 1, DesiredState.Running, false, new SandboxSpec("guest", 1, 128, Viommu.Smmuv3, [], null, [], Vmm.Qemu), null));
            vms.Apply(new NodePlan(guest + 1, [.. plan], [], []));
            await Eventually.TrueAsync(() => vmm.Starts == plan.Count, "the VMM is executed");
            guests.Add(vmm.Current!);
            await vmm.Current!.ConfirmAsync();
        }
        async Task<Guid[]> RoundAsync()
        {
            var next = sampling.NextAsync(ct);
            await Eventually.TrueAsync(() =>
            {
                if (!next.IsCompleted)
                    time.Advance(TimeSpan.FromSeconds(1));
                return next.IsCompleted;
            }, "a round was made");
            return [.. (await next).Select(sample => sample.SandboxId)];
        }
        await Eventually.TrueAsync(() => vms.Snapshot().Views.Count(view => view.Sandbox.State == VmState.Booting) == 2, "both boot");
        Assert.Equal(2, (await RoundAsync()).Length);
        guests[0].Samples = _ => throw new InvalidOperationException("nonsense");
        Assert.Equal([plan[1].Id], await RoundAsync());
        guests[0].Samples = null;
        guests[1].Samples = _ => null;
        Assert.Equal([plan[0].Id], await RoundAsync());
        Assert.Equal(2, sampling.Latest.Count);
        // A second each, so ten are more than enough.
        for (var round = 0; round < 10 && sampling.Latest.Count > 1; round++)
            await RoundAsync();
        Assert.Equal(plan[0].Id, Assert.Single(sampling.Latest).SandboxId);
        await sampling.StopAsync(ct);
        vmm.KillAll();
        foreach (var id in cgroups.Existing())
            cgroups.Of(id)!.Remove();
        cgroups.RemoveParent();
    }
}
