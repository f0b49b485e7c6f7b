using Worker.Vms;
using Worker.Vms.Kvmtool;
using Xunit;

namespace Worker.Tests.Kvmtool;

public sealed class KvmtoolEndTests
{
    [Theory]
    [InlineData(0, "[ 9.1] reboot: Power down\r\n", EndCause.GuestPoweredOff)]
    [InlineData(0, "[ 9.1] reboot: System halted\r\n", EndCause.GuestPoweredOff)]
    [InlineData(0, "[ 9.1] reboot: Restarting system\r\n", EndCause.GuestReset)]
    [InlineData(0, "Kernel panic - not syncing: x\r\nRebooting in 1 seconds..", EndCause.GuestPanicked)]
    // The last one counts: a guest may have printed any of them before.
    [InlineData(0, "reboot: Restarting system\r\nKernel panic - not syncing\r\nreboot: Power down\r\n", EndCause.GuestPoweredOff)]
    [InlineData(0, "login: ", EndCause.GuestEndUnknown)]
    [InlineData(0, "", EndCause.GuestEndUnknown)]
    // Whatever the console shows, a crash is none of the guest's doing.
    [InlineData(137, "reboot: Power down", EndCause.VmmKilled)]
    [InlineData(128, "reboot: Power down", EndCause.VmmKilled)]
    [InlineData(143, "", EndCause.VmmExited)]
    [InlineData(null, "reboot: Power down", EndCause.VmmKilled)]
    public void CauseOf_StatusAndLastWords(int? status, string console, EndCause expected) => Assert.Equal(expected, KvmtoolEnd.CauseOf(status, console));

    [Theory]
    [InlineData("0\n", EndCause.GuestPoweredOff)]
    [InlineData("", EndCause.VmmKilled)]
    [InlineData("-1\n", EndCause.VmmKilled)]
    [InlineData("0 0\n", EndCause.VmmKilled)]
    [InlineData("99999999999999999999", EndCause.VmmKilled)]
    public void Read_AStatusThatIsNone_IsAKill(string status, EndCause expected)
    {
        using var root = new TemporaryDirectory();
        var directory = StandInLkvm.NewDirectory(root);
        File.WriteAllText(KvmtoolLauncher.ExitStatus(directory), status);
        File.WriteAllText(KvmtoolLauncher.ConsoleOutput(directory), new string('x', 100_000) + "reboot: Power down\r\n");
        Assert.Equal(expected, KvmtoolEnd.Read(directory));
    }

    [Fact]
    public void Read_FilesThatTheVmsUserReplacedByPipesOrLinks_AreNotReadNorWaitedFor()
    {
        using var root = new TemporaryDirectory();
        var directory = StandInLkvm.NewDirectory(root);
        File.WriteAllText(root.Of("elsewhere"), "0");
        File.CreateSymbolicLink(KvmtoolLauncher.ExitStatus(directory), root.Of("elsewhere"));
        StandInLkvm.MakePipe(KvmtoolLauncher.ConsoleOutput(directory));
        Assert.Equal(EndCause.VmmKilled, KvmtoolEnd.Read(directory));
    }
}
