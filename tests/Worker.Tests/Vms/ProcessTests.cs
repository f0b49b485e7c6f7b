using System.Diagnostics;
using Worker.Vms;
using Xunit;

namespace Worker.Tests.Vms;

public sealed class ProcessTests
{
    private static Process Sleep()
    {
        var start = new ProcessStartInfo("sleep");
        start.ArgumentList.Add("1000");
        return Process.Start(start)!;
    }

    [Theory]
    [InlineData("17 (qemu) S 1 2 3 4 5 6 70 8 90 10 11 12 13 14 15 16 17 18 4242 20", "70", "90", "4242")]
    [InlineData("17 (a) b) (c) S 1 2 3 4 5 6 70 8 90 10 11 12 13 14 15 16 17 18 4242 20", "70", "90", "4242")]
    public void ParseStat_WhenNameIsOdd_CountsFromItsLastBracket(string text, string minor, string major, string ticks)
    {
        var fields = ProcessIdentity.ParseStat(text)!;
        Assert.Equal(("S", minor, major, ticks), (fields[0], fields[7], fields[9], fields[19]));
    }

    [Theory]
    [InlineData("")]
    [InlineData("17 (qemu")]
    [InlineData("17 (qemu) S 1 2")]
    public void ParseStat_WhenCutOff_IsNull(string text) => Assert.Null(ProcessIdentity.ParseStat(text));

    [Fact]
    public void Of_WhenAlive_GivesTheSameIdentityAgain()
    {
        using var process = Sleep();
        var identity = ProcessIdentity.Of(process.Id)!;
        Assert.True(identity.IsAlive);
        using var handle = ProcessHandle.Open(identity)!;
        Assert.False(handle.HasExited);
        handle.Kill();
        process.WaitForExit();
        Assert.True(handle.HasExited);
        Assert.False(identity.IsAlive);
        Assert.Null(ProcessHandle.Open(identity));
    }

    [Fact]
    public void Open_WhenTheNumberBelongsToAnotherProcess_IsNull()
    {
        using var process = Sleep();
        var identity = ProcessIdentity.Of(process.Id)!;
        Assert.Null(ProcessHandle.Open(identity with { StartTicks = identity.StartTicks - 1 }));
        process.Kill();
    }

    [Fact]
    public async Task HasExited_WhenZombie_IsTrue()
    {
        // A sleep that took the shell's place never waits for the shell's child, which stays a zombie once killed.
        var start = new ProcessStartInfo("/bin/sh") { RedirectStandardOutput = true };
        start.ArgumentList.Add("-c");
        start.ArgumentList.Add("sleep 1000 >/dev/null & echo $!; exec sleep 1000");
        using var parent = Process.Start(start)!;
        var child = int.Parse((await parent.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken))!, System.Globalization.CultureInfo.InvariantCulture);
        using var handle = ProcessHandle.Open(ProcessIdentity.Of(child)!)!;
        handle.Kill();
        await Eventually.TrueAsync(() => handle.HasExited, "the zombie counts as dead");
        Assert.True(Directory.Exists($"/proc/{child}"));
        Assert.Null(ProcessIdentity.Of(child));
        parent.Kill();
    }

    [Theory]
    [InlineData("31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup/unified")]
    [InlineData("30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n", "/sys/fs/cgroup")]
    [InlineData("30 23 0:26 / /odd\\040place rw - cgroup2 cgroup2 rw\n", "/odd place")]
    [InlineData("30 23 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n", null)]
    [InlineData("", null)]
    public void MountPoint_FindsVersion2(string mountInfo, string? expected) => Assert.Equal(expected, CgroupTree.MountPoint(mountInfo));

    [Theory]
    [InlineData("9:name=systemd:/\n4:memory:/x\n0::/\n", "/")]
    [InlineData("0::/system.slice/sandbox.service\n", "/system.slice/sandbox.service")]
    [InlineData("4:memory:/x\n", null)]
    public void OwnPath_IsOfVersion2(string text, string? expected) => Assert.Equal(expected, CgroupTree.OwnPath(text));
}
