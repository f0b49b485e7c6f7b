using Api.Devices;
using Contracts;
using CsCheck;
using Xunit;

namespace Api.Tests;

public sealed class DeviceLifecycleTests
{
    private static readonly Guid _a = Guid.NewGuid(), _b = Guid.NewGuid();
    private static readonly DateTimeOffset _t1 = DateTimeOffset.UnixEpoch, _t2 = DateTimeOffset.UnixEpoch.AddTicks(1);

    /// <summary>Held by: the sandbox that has it, another, or nobody.</summary>
    [Theory]
    // Nobody has it.
    [InlineData(false, null, "nobody", false, false, DevicePhase.Available, false)]
    [InlineData(false, null, "other", false, false, DevicePhase.Cleaning, false)]
    [InlineData(false, null, "nobody", true, false, DevicePhase.Quarantined, false)]
    [InlineData(false, null, "nobody", false, true, DevicePhase.Quarantined, false)]
    [InlineData(false, null, "other", false, true, DevicePhase.Cleaning, false)]
    [InlineData(false, null, "other", true, false, DevicePhase.Quarantined, false)]
    // A guest that runs, or may run, keeps it whoever has quarantined it.
    [InlineData(true, Phase.Scheduled, "nobody", false, false, DevicePhase.Assigned, true)]
    [InlineData(true, Phase.Running, "it", false, true, DevicePhase.Assigned, true)]
    [InlineData(true, Phase.Running, "it", true, false, DevicePhase.Assigned, true)]
    [InlineData(true, Phase.Lost, "nobody", false, true, DevicePhase.Assigned, true)]
    // An ended one gives it back once it is clean.
    [InlineData(true, Phase.Stopped, "it", false, false, DevicePhase.Cleaning, true)]
    [InlineData(true, Phase.Stopped, "it", false, true, DevicePhase.Cleaning, true)]
    [InlineData(true, Phase.Stopped, "nobody", false, false, DevicePhase.Available, false)]
    [InlineData(true, Phase.Stopped, "nobody", false, true, DevicePhase.Quarantined, false)]
    [InlineData(true, Phase.Failed, "nobody", true, true, DevicePhase.Quarantined, false)]
    [InlineData(true, Phase.Deleting, "it", false, false, DevicePhase.Cleaning, true)]
    [InlineData(true, Phase.Deleting, "nobody", false, false, DevicePhase.Cleaning, true)]
    [InlineData(true, null, "it", false, false, DevicePhase.Cleaning, false)]
    [InlineData(true, null, "nobody", false, true, DevicePhase.Quarantined, false)]
    public void Observe_Table(bool assigned, Phase? holder, string heldBy, bool byNode, bool byOperator, DevicePhase phase, bool keeps) =>
        Assert.Equal(new(phase, keeps), DeviceLifecycle.Observe(assigned ? _a : null, holder, heldBy switch { "it" => _a, "other" => _b, _ => null }, byNode, byOperator));

    [Fact]
    public void Observe_Anything_HandsOutOnlyWhatIsFreeCleanAndNotQuarantined() =>
        Gen.Select(Gen.Bool, Gen.Enum<Phase>(), Gen.Bool, Gen.Int[0, 2], Gen.Bool, Gen.Bool).Sample((assigned, phase, gone, heldBy, byNode, byOperator) =>
        {
            var held = heldBy switch { 0 => (Guid?)null, 1 => _a, _ => _b };
            var next = DeviceLifecycle.Observe(assigned ? _a : null, assigned && !gone ? phase : null, held, byNode, byOperator);
            if (next.Phase == DevicePhase.Available) Assert.True(held is null && !byNode && !byOperator && !next.Keeps);
            if (next.Phase == DevicePhase.Assigned) Assert.True(next.Keeps && assigned);
            if (next.Phase == DevicePhase.Quarantined) Assert.False(next.Keeps);
        }, iter: 3000);

    [Theory]
    [InlineData(DevicePhase.Assigned, true, Phase.Scheduled, DevicePhase.Assigned, true)]
    [InlineData(DevicePhase.Assigned, true, Phase.Running, DevicePhase.Assigned, true)]
    [InlineData(DevicePhase.Assigned, true, Phase.Lost, DevicePhase.Assigned, true)]
    [InlineData(DevicePhase.Cleaning, true, Phase.Deleting, DevicePhase.Cleaning, true)]
    [InlineData(DevicePhase.Assigned, true, Phase.Stopped, DevicePhase.Quarantined, false)]
    [InlineData(DevicePhase.Assigned, true, Phase.Failed, DevicePhase.Quarantined, false)]
    [InlineData(DevicePhase.Cleaning, true, Phase.Pending, DevicePhase.Quarantined, false)]
    [InlineData(DevicePhase.Assigned, true, null, DevicePhase.Quarantined, false)]
    [InlineData(DevicePhase.Available, false, null, DevicePhase.Quarantined, false)]
    [InlineData(DevicePhase.Quarantined, false, null, DevicePhase.Quarantined, false)]
    public void Missing_Table(DevicePhase phase, bool assigned, Phase? holder, DevicePhase expected, bool keeps) =>
        Assert.Equal(new(expected, keeps), DeviceLifecycle.Missing(phase, assigned ? _a : null, holder));

    [Theory]
    [InlineData(DevicePhase.Available, DevicePhase.Quarantined)]
    [InlineData(DevicePhase.Assigned, DevicePhase.Assigned)]
    [InlineData(DevicePhase.Cleaning, DevicePhase.Cleaning)]
    [InlineData(DevicePhase.Quarantined, DevicePhase.Quarantined)]
    public void Quarantine_Table(DevicePhase phase, DevicePhase expected) => Assert.Equal(expected, DeviceLifecycle.Quarantine(phase));

    /// <summary>Times: 0 none, 1 the first quarantine, 2 another.</summary>
    [Theory]
    [InlineData(DevicePhase.Available, true, false, 0, 0, DeviceLifecycle.Release.NotQuarantined, DevicePhase.Available)]
    [InlineData(DevicePhase.Assigned, true, false, 0, 0, DeviceLifecycle.Release.NotQuarantined, DevicePhase.Assigned)]
    [InlineData(DevicePhase.Quarantined, true, true, 0, 0, DeviceLifecycle.Release.Changed, DevicePhase.Available)]
    [InlineData(DevicePhase.Quarantined, false, true, 0, 0, DeviceLifecycle.Release.Changed, DevicePhase.Cleaning)]
    [InlineData(DevicePhase.Assigned, true, true, 0, 0, DeviceLifecycle.Release.Changed, DevicePhase.Assigned)]
    [InlineData(DevicePhase.Cleaning, true, true, 0, 0, DeviceLifecycle.Release.Changed, DevicePhase.Cleaning)]
    [InlineData(DevicePhase.Quarantined, true, false, 1, 0, DeviceLifecycle.Release.Changed, DevicePhase.Quarantined)]
    [InlineData(DevicePhase.Quarantined, true, false, 1, 1, DeviceLifecycle.Release.Unchanged, DevicePhase.Quarantined)]
    [InlineData(DevicePhase.Quarantined, true, false, 2, 1, DeviceLifecycle.Release.Changed, DevicePhase.Quarantined)]
    [InlineData(DevicePhase.Quarantined, true, true, 1, 1, DeviceLifecycle.Release.Changed, DevicePhase.Quarantined)]
    [InlineData(DevicePhase.Assigned, true, false, 1, 0, DeviceLifecycle.Release.Changed, DevicePhase.Assigned)]
    public void Lift_Table(DevicePhase phase, bool present, bool byOperator, int byNode, int asked, DeviceLifecycle.Release outcome, DevicePhase expected) =>
        Assert.Equal((outcome, expected), DeviceLifecycle.Lift(phase, present, byOperator, At(byNode), At(asked)));

    [Theory]
    [InlineData(0, 0, 0)]
    [InlineData(1, 1, 1)]
    [InlineData(1, 0, 0)]
    [InlineData(1, 2, 0)]
    [InlineData(0, 1, 0)]
    public void LiftStillWanted_Table(int asked, int shown, int expected) => Assert.Equal(At(expected), DeviceLifecycle.LiftStillWanted(At(asked), At(shown)));

    private static DateTimeOffset? At(int which) => which switch { 0 => null, 1 => _t1, _ => _t2 };
}
