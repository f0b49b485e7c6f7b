using Api.Sandboxes;
using Contracts;
using CsCheck;
using Xunit;

namespace Api.Tests;

public sealed class LifecycleTests
{
    private static readonly Gen<(Phase Phase, DesiredState Desired, bool Launched, bool Stale, VmState State)> _all = Gen.Select(
        Gen.Enum<Phase>(), Gen.Enum<DesiredState>(), Gen.Bool, Gen.Bool, Gen.Enum<VmState>());

    public static TheoryData<Phase, DesiredState, VmState, Phase?> Table() => new()
    {
        { Phase.Scheduled, DesiredState.Running, VmState.Preparing, Phase.Preparing },
        { Phase.Preparing, DesiredState.Running, VmState.Booting, Phase.Booting },
        { Phase.Booting, DesiredState.Running, VmState.Running, Phase.Running },
        { Phase.Running, DesiredState.Running, VmState.Stopped, Phase.Stopped },
        { Phase.Running, DesiredState.Running, VmState.Failed, Phase.Failed },
        { Phase.Running, DesiredState.Stopped, VmState.Running, Phase.Stopping },
        { Phase.Stopping, DesiredState.Stopped, VmState.Stopped, Phase.Stopped },
        { Phase.Scheduled, DesiredState.Stopped, VmState.Absent, Phase.Stopped },
        { Phase.Scheduled, DesiredState.Running, VmState.Absent, null },
        { Phase.Lost, DesiredState.Running, VmState.Running, Phase.Running },
        { Phase.Lost, DesiredState.Running, VmState.Failed, Phase.Failed },
        { Phase.Running, DesiredState.Running, VmState.Preparing, null },
        { Phase.Stopped, DesiredState.Running, VmState.Running, null },
        { Phase.Failed, DesiredState.Running, VmState.Running, null },
        { Phase.Pending, DesiredState.Running, VmState.Stopped, null },
    };

    [Theory]
    [MemberData(nameof(Table))]
    public void Observe_Table(Phase phase, DesiredState desired, VmState state, Phase? expected)
    {
        var outcome = SandboxLifecycle.Observe(phase, desired, 3, true, 3, state);
        if (expected is { } p) Assert.Equal(new SandboxLifecycle.Outcome.Become(p), outcome);
        else Assert.IsType<SandboxLifecycle.Outcome.Ignore>(outcome);
    }

    [Fact]
    public void Observe_AnyStateAndEvent_KeepsTheRules() => _all.Sample(x =>
    {
        var outcome = SandboxLifecycle.Observe(x.Phase, x.Desired, 3, x.Launched, x.Stale ? 2 : 3, x.State);
        if (x.Desired == DesiredState.Deleted)
            Assert.Equal(x.State == VmState.Absent, outcome is SandboxLifecycle.Outcome.Gone);
        else
        {
            Assert.IsNotType<SandboxLifecycle.Outcome.Gone>(outcome);
            if (x.Stale || x.Phase is Phase.Pending or Phase.Stopped or Phase.Failed) Assert.IsType<SandboxLifecycle.Outcome.Ignore>(outcome);
        }
        if (outcome is SandboxLifecycle.Outcome.Become b)
            Assert.DoesNotContain(b.Phase, (Phase[])[Phase.Pending, Phase.Scheduled, Phase.Lost, Phase.Deleting]);
    }, iter: 5000);

    [Theory]
    [InlineData(Phase.Stopped, false, true)]
    [InlineData(Phase.Failed, false, true)]
    [InlineData(Phase.Pending, false, true)]
    [InlineData(null, false, true)]
    [InlineData(Phase.Stopped, true, false)]
    [InlineData(Phase.Running, false, false)]
    [InlineData(Phase.Scheduled, false, false)]
    [InlineData(Phase.Lost, false, false)]
    [InlineData(Phase.Deleting, false, false)]
    public void MayRelease_Table(Phase? phase, bool held, bool expected) => Assert.Equal(expected, SandboxLifecycle.MayRelease(phase, held));

    [Fact]
    public void Choose_AnyFleet_NeverTakesMoreThanIsFree() => Gen.Select(Gen.Int[0, 8], Gen.Int[0, 4], Gen.Int[1, 3], Gen.Int[0, 3], Gen.Int[1, 12]).Sample((vcpus, devices, wantVcpus, wantDevices, requests) =>
    {
        var free = Enumerable.Range(0, devices).Select(_ => new Placement.FreeDevice(Guid.NewGuid(), "edu")).ToList();
        var node = new Placement.NodePicture { Id = Guid.NewGuid(), Name = "n", Phase = NodePhase.Ready, Viommus = new HashSet<Viommu> { Viommu.None }, Images = new HashSet<string> { "guest" }, FreeVcpus = vcpus, FreeMemoryMib = 10_000, FreeDevices = [.. free] };
        var request = new Placement.Request("guest", wantVcpus, 128, Viommu.None, wantDevices == 0 ? [] : [new AcceleratorCount("edu", wantDevices)]);
        var given = Enumerable.Range(0, requests).Select(_ => Placement.Choose(request, [node])).OfType<Placement.Placed>().ToList();
        Assert.True(given.Count * wantVcpus <= vcpus);
        var ids = given.SelectMany(g => g.Devices).Select(d => d.Id).ToList();
        Assert.Equal(ids.Count, ids.Distinct().Count());
        Assert.All(given, g => Assert.Equal(wantDevices, g.Devices.Count));
        var possible = Math.Min(vcpus / wantVcpus, wantDevices == 0 ? int.MaxValue : devices / wantDevices);
        Assert.Equal(Math.Min(possible, requests), given.Count);
    });

    [Theory]
    [InlineData("other", Viommu.None, 1, 128, 0, "ImageNotOnNode")]
    [InlineData("guest", Viommu.Virtio, 1, 128, 0, "ViommuUnsupported")]
    [InlineData("guest", Viommu.None, 5, 128, 0, "NotEnoughVcpus")]
    [InlineData("guest", Viommu.None, 1, 4096, 0, "NotEnoughMemory")]
    [InlineData("guest", Viommu.None, 1, 128, 2, "NoFreeDevice")]
    public void Choose_WhenARuleRefuses_SaysWhich(string image, Viommu viommu, int vcpus, int mib, int edu, string reason)
    {
        var node = new Placement.NodePicture { Id = Guid.NewGuid(), Name = "n", Phase = NodePhase.Ready, Viommus = new HashSet<Viommu> { Viommu.None }, Images = new HashSet<string> { "guest" }, FreeVcpus = 4, FreeMemoryMib = 1024, FreeDevices = [new(Guid.NewGuid(), "edu")] };
        var refused = Assert.IsType<Placement.Refused>(Placement.Choose(new Placement.Request(image, vcpus, mib, viommu, edu == 0 ? [] : [new("edu", edu)]), [node]));
        Assert.Equal(reason, refused.Reason);
    }
}
