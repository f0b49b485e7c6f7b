using Worker.Vms;
using Worker.Vms.Kvmtool;
using Xunit;

namespace Worker.Tests.Kvmtool;

public sealed class KvmtoolCommandLineTests
{
    private static readonly HashSet<string> All = [.. KvmtoolCommandLine.Needed, "nodefaults", "loglevel"];

    private static KvmtoolMachine Machine(string? initrd = "/i/initrd", IReadOnlySet<string>? options = null, params string[] devices) =>
        new(2, 512, "/i/Image", initrd, "console=ttyAMA0 quiet", devices, options ?? All);

    [Fact]
    public void Build_WithTwoDevices_IsThisLine() => Assert.Equal(
        [
            "run", "--name", "vm", "-c", "2", "-m", "512", "-k", "/i/Image", "-i", "/i/initrd", "-p", "console=ttyS0 quiet",
            "--vfio-pci", "0000:01:00.0", "--vfio-pci", "0000:02:00.1",
            "--irqchip", "gicv3-its", "--console", "serial", "--network", "mode=none", "--nodefaults", "--loglevel", "info",
        ],
        KvmtoolCommandLine.Build(Machine(devices: ["0000:01:00.0", "0000:02:00.1"])));

    [Fact]
    public void Build_WithoutDevices_IsThisLine() => Assert.Equal(
        [
            "run", "--name", "vm", "-c", "2", "-m", "512", "-k", "/i/Image", "-i", "/i/initrd", "-p", "console=ttyS0 quiet",
            "--irqchip", "gicv3-its", "--console", "serial", "--network", "mode=none", "--nodefaults", "--loglevel", "info",
        ],
        KvmtoolCommandLine.Build(Machine()));

    [Fact]
    public void Build_ForAnOldLkvmAndNoInitrd_LeavesOutWhatIsNotThere() => Assert.Equal(
        ["run", "--name", "vm", "-c", "2", "-m", "512", "-k", "/i/Image", "-p", "console=ttyS0 quiet", "--irqchip", "gicv3-its", "--console", "serial", "--network", "mode=none"],
        KvmtoolCommandLine.Build(Machine(initrd: null, options: KvmtoolCommandLine.Needed.ToHashSet())));

    [Theory]
    [InlineData("console=ttyAMA0 quiet panic=-1 pcie_ports=compat", "console=ttyS0 quiet panic=-1 pcie_ports=compat")]
    [InlineData("quiet", "console=ttyS0 quiet")]
    [InlineData("", "console=ttyS0")]
    [InlineData("a console=tty0 console=ttyAMA0,115200n8 b", "console=ttyS0 a b")]
    [InlineData("earlycon=pl011,0x9000000 earlycon quiet console=ttyAMA0", "console=ttyS0 quiet")]
    [InlineData("noconsole=x consoleblank=0 x.console=y", "console=ttyS0 noconsole=x consoleblank=0 x.console=y")]
    public void KernelCommandLine_NamesKvmtoolsConsoleAlone(string image, string expected) => Assert.Equal(expected, KvmtoolCommandLine.KernelCommandLine(image));

    [Fact]
    public void Command_QuotesEveryWordForTheShell() => Assert.Equal(
        @"stty raw -echo; exec 2>&3 3>&-; exec setpriv --pdeathsig KILL '/usr/bin/lkvm' 'run' '-p' 'a b $(c) ; '\''d'\'' ""e""' ''",
        KvmtoolLauncher.Command(["/usr/bin/lkvm", "run", "-p", "a b $(c) ; 'd' \"e\"", ""]));

    [Theory]
    [InlineData(92, null)]
    [InlineData(93, "StateDirectoryTooDeep")]
    public void PathProblem_WhenTheSocketsAddressWouldBeCutOff_IsTold(int length, string? reason) =>
        Assert.Equal(reason, KvmtoolLauncher.PathProblem("/" + new string('d', length - 1))?.Reason);
}
