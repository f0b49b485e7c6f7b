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
}
