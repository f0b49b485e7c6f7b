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
    [InlineData(StormAction.None, DesiredState.Running, VmState.Running, false, false, false)]
    [InlineData(StormAction.Stop, DesiredState.Running, VmState.Running, false, true, false)]
    [InlineData(StormAction.Stop, DesiredState.Running, VmState.Stopping, false, true, false)]
    [InlineData(StormAction.Stop, DesiredState.Stopped, VmState.Running, false, false, false)]
    [InlineData(StormAction.Stop, DesiredState.Deleted, VmState.Running, false, false, false)]
    [InlineData(StormAction.Stop, DesiredState.Running, VmState.Failed, false, false, false)]
    [InlineData(StormAction.Quarantine, DesiredState.Running, VmState.Running, false, true, true)]
    [InlineData(StormAction.Quarantine, DesiredState.Running, VmState.Running, true, true, false)]
    [InlineData(StormAction.Quarantine, DesiredState.Stopped, VmState.Running, false, false, true)]
    [InlineData(StormAction.Quarantine, DesiredState.Deleted, VmState.Running, false, false, true)]
    [InlineData(StormAction.Quarantine, DesiredState.Running, VmState.Stopped, false, false, true)]
    [InlineData(StormAction.Quarantine, DesiredState.Running, VmState.Stopped, true, false, false)]
    public void OnStorm_Table(StormAction action, DesiredState desired, VmState state, bool quarantined, bool stops, bool quarantines) =>
        Assert.Equal(new SandboxLifecycle.StormAnswer(stops, quarantines), SandboxLifecycle.OnStorm(action, desired, state, quarantined));

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
}
