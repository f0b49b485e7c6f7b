using Contracts;
using Worker.Vms;
using Xunit;

namespace Worker.Tests.Vms;

public sealed class VmDecisionTests
{
    private static readonly DateTimeOffset Now = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);
    private static readonly VmState[] Live = [VmState.Preparing, VmState.Booting, VmState.Running, VmState.Stopping];
    private static readonly VmState[] Ended = [VmState.Stopped, VmState.Failed];

    private static VmRecord Record(VmState state, int incarnation = 3) => new(Guid.Empty, incarnation, state);

    private static Wanted Plan(DesiredState desired, int incarnation = 3, bool launched = false) => new(true, new PlannedSandbox(
        Guid.Empty, "x", incarnation, desired, launched, new SandboxSpec("guest", 1, 128, Viommu.None, [], null, [], Vmm.Qemu)));

    private static readonly Wanted NotNamed = new(true, null);
    private static Wanted NoPlanYet => default;

    public static TheoryData<VmState> LiveStates => [.. Live];
    public static TheoryData<VmState> EndedStates => [.. Ended];

    [Theory]
    [MemberData(nameof(LiveStates))]
    public void Next_WhenLive_IsDecidedByWish(VmState state)
    {
        var record = Record(state);
        Assert.Equal(VmStep.None, VmDecision.Next(record, NoPlanYet, true, Now));
        Assert.Equal(VmStep.None, VmDecision.Next(record, Plan(DesiredState.Running), true, Now));
        Assert.Equal(VmStep.None, VmDecision.Next(record, Plan(DesiredState.Running, 2), true, Now));
        Assert.Equal(VmStep.Kill, VmDecision.Next(record, NotNamed, true, Now));
        Assert.Equal(VmStep.Kill, VmDecision.Next(record, Plan(DesiredState.Deleted), true, Now));
        Assert.Equal(VmStep.Kill, VmDecision.Next(record, Plan(DesiredState.Running, 4), true, Now));
        Assert.Equal(VmStep.AskPowerOff, VmDecision.Next(record, Plan(DesiredState.Stopped), true, Now));
        Assert.Equal(VmStep.Kill, VmDecision.Next(record with { End = EndCause.GuestPoweredOff }, Plan(DesiredState.Running), true, Now));
    }

    [Theory]
    [MemberData(nameof(LiveStates))]
    public void Next_WhenVmmIsGone_FinishesWhateverIsWanted(VmState state)
    {
        foreach (var wanted in (Wanted[])[NoPlanYet, NotNamed, Plan(DesiredState.Running), Plan(DesiredState.Running, 9), Plan(DesiredState.Stopped), Plan(DesiredState.Deleted)])
            Assert.Equal(VmStep.Finish, VmDecision.Next(Record(state), wanted, false, Now));
    }

    [Theory]
    [InlineData(0, VmStep.None)]
    [InlineData(1.9, VmStep.None)]
    [InlineData(2, VmStep.AskAgentPowerOff)]
    [InlineData(10, VmStep.Quit)]
    [InlineData(12, VmStep.Kill)]
    [InlineData(1000, VmStep.Kill)]
    public void Next_WhenStopping_GetsHarder(double seconds, VmStep step)
    {
        var record = Record(VmState.Stopping) with { StopAskedAt = Now - TimeSpan.FromSeconds(seconds) };
        Assert.Equal(step, VmDecision.Next(record, Plan(DesiredState.Stopped), true, Now));
    }

    [Theory]
    [MemberData(nameof(EndedStates))]
    public void Next_WhenEnded_OnlyAHigherIncarnationStarts(VmState state)
    {
        var record = Record(state);
        Assert.Equal(VmStep.None, VmDecision.Next(record, NoPlanYet, false, Now));
        Assert.Equal(VmStep.None, VmDecision.Next(record, Plan(DesiredState.Running), false, Now));
        Assert.Equal(VmStep.None, VmDecision.Next(record, Plan(DesiredState.Running, 2), false, Now));
        Assert.Equal(VmStep.None, VmDecision.Next(record, Plan(DesiredState.Stopped), false, Now));
        Assert.Equal(VmStep.Start, VmDecision.Next(record, Plan(DesiredState.Running, 4), false, Now));
        Assert.Equal(VmStep.ReportLost, VmDecision.Next(record, Plan(DesiredState.Running, 4, true), false, Now));
        Assert.Equal(VmStep.Remove, VmDecision.Next(record, Plan(DesiredState.Deleted), false, Now));
        Assert.Equal(VmStep.Remove, VmDecision.Next(record, NotNamed, false, Now));
    }

    [Fact]
    public void Next_WhenNothingIsKnown_StartsUnlessItWasLaunched()
    {
        Assert.Equal(VmStep.None, VmDecision.Next(null, NoPlanYet, false, Now));
        Assert.Equal(VmStep.Start, VmDecision.Next(null, Plan(DesiredState.Running), false, Now));
        Assert.Equal(VmStep.ReportLost, VmDecision.Next(null, Plan(DesiredState.Running, launched: true), false, Now));
        Assert.Equal(VmStep.ReportStopped, VmDecision.Next(null, Plan(DesiredState.Stopped), false, Now));
        Assert.Equal(VmStep.Remove, VmDecision.Next(null, Plan(DesiredState.Deleted), false, Now));
        Assert.Equal(VmStep.Remove, VmDecision.Next(null, NotNamed, false, Now));
    }
}
