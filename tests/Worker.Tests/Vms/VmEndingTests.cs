using Contracts;
using Worker.Vms;
using Xunit;

namespace Worker.Tests.Vms;

public sealed class VmEndingTests
{
    private static readonly DateTimeOffset Now = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);

    private static VmRecord Record(VmState state, EndCause? end = null, bool stopAsked = false) =>
        new(Guid.Empty, 1, state) { End = end, StopAskedAt = stopAsked ? Now : null, HeldDevices = ["edu-0"], Process = new ProcessIdentity(1, 1), User = 7 };

    [Theory]
    [InlineData(null, false, EndCause.VmmKilled)]
    [InlineData(null, true, EndCause.StoppedByUser)]
    [InlineData(EndCause.GuestPoweredOff, false, EndCause.GuestPoweredOff)]
    [InlineData(EndCause.GuestPoweredOff, true, EndCause.StoppedByUser)]
    [InlineData(EndCause.GuestPanicked, true, EndCause.GuestPanicked)]
    [InlineData(EndCause.VmmLost, false, EndCause.VmmLost)]
    public void CauseOf_PrefersWhatWasSeenToWhatIsFoundLater(EndCause? seen, bool stopAsked, EndCause expected) =>
        Assert.Equal(expected, VmEnding.CauseOf(Record(VmState.Running, seen, stopAsked), () => EndCause.VmmKilled));

    [Theory]
    [InlineData(EndCause.StoppedByUser, VmState.Running, VmState.Stopped, null)]
    [InlineData(EndCause.GuestPoweredOff, VmState.Running, VmState.Stopped, null)]
    [InlineData(EndCause.NodeShutDown, VmState.Running, VmState.Stopped, null)]
    [InlineData(EndCause.GuestPanicked, VmState.Running, VmState.Failed, "GuestPanicked")]
    [InlineData(EndCause.GuestReset, VmState.Running, VmState.Failed, "GuestReset")]
    [InlineData(EndCause.GuestEndUnknown, VmState.Running, VmState.Failed, "GuestEndUnknown")]
    [InlineData(EndCause.VmmKilled, VmState.Running, VmState.Failed, "VmmKilled")]
    [InlineData(EndCause.VmmKilled, VmState.Booting, VmState.Failed, "VmmKilled")]
    [InlineData(EndCause.VmmKilled, VmState.Preparing, VmState.Failed, "VmmStartFailed")]
    [InlineData(EndCause.VmmExited, VmState.Running, VmState.Failed, "VmmExited")]
    [InlineData(EndCause.VmmExited, VmState.Preparing, VmState.Failed, "VmmStartFailed")]
    [InlineData(EndCause.VmmLost, VmState.Preparing, VmState.Failed, "VmmLost")]
    public void Apply_ToldAsStoppedOrFailedWithReason(EndCause cause, VmState from, VmState state, string? reason)
    {
        var ended = VmEnding.Apply(Record(from), cause, "last words", Now);
        Assert.Equal((state, reason, Now), (ended.State, ended.Failure?.Reason, ended.EndedAt));
        Assert.Empty(ended.HeldDevices);
        Assert.Null(ended.Process);
        Assert.Contains(ended.Conditions, c => c is { Type: ConditionType.VmmRunning, Status: ConditionStatus.False });
        Assert.Contains(ended.Conditions, c => c is { Type: ConditionType.DevicesReady, Reason: "Released" });
        Assert.All(ended.Failure is { } failure ? [failure.Message, failure.Remedy] : Array.Empty<string>(), text => Assert.NotEmpty(text));
    }

    [Fact]
    public void Apply_WhenStartFailed_KeepsThatFailure()
    {
        var failure = new Failure("DeviceBusy", "m", "r", Now);
        Assert.Same(failure, VmEnding.Apply(Record(VmState.Preparing) with { Failure = failure }, EndCause.Failed, "", Now).Failure);
    }
}
