using Contracts;
using Worker.Vms;
using Xunit;

namespace Worker.Tests.Vms;

public sealed class VmFilesTests : IDisposable
{
    private readonly TemporaryDirectory _root = new();
    private readonly RuntimeDirectory _directory;

    public VmFilesTests()
    {
        _directory = RuntimeDirectory.Of(_root.FullPath, Guid.NewGuid());
        _directory.Create();
    }

    public void Dispose() => _root.Dispose();

    [Fact]
    public void Write_WhenRead_IsTheSame()
    {
        var now = TimeProvider.System.GetUtcNow();
        var record = new VmRecord(_directory.Id, 4, VmState.Running)
        {
            HostBootId = "b", Process = new ProcessIdentity(17, ulong.MaxValue), User = 1_900_000_001, Cgroup = "/c", HasAgent = true,
            HeldDevices = ["edu-0"], Failure = new Failure("R", "m", "r", now), ExecAt = now, GuestReadyAt = now, EndedAt = now, StopAskedAt = now,
            Guest = new GuestFacts("1", "6", "boot", 1, 2), End = EndCause.GuestPanicked, ConfiguredBootId = "boot",
        };
        VmFiles.Write(_directory, record);
        var read = VmFiles.ReadRecord(_directory)!;
        Assert.Equal(record with { HeldDevices = [], Conditions = [] }, read with { HeldDevices = [], Conditions = [] });
        Assert.Equal(record.HeldDevices, read.HeldDevices);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(_directory.StateFile));
        Assert.Equal(["state.json"], Directory.GetFiles(_directory.FullPath).Select(Path.GetFileName));
    }

    [Theory]
    [InlineData("")]
    [InlineData("{")]
    [InlineData("null")]
    [InlineData("[]")]
    [InlineData("{\"id\":\"00000000-0000-0000-0000-000000000001\",\"incarnation\":1,\"state\":\"Running\"}")]
    public void Read_WhenNotThisSandboxesRecord_IsNull(string text)
    {
        File.WriteAllText(_directory.StateFile, text);
        Assert.Null(VmFiles.ReadRecord(_directory));
    }

    [Fact]
    public void Read_WhenALink_IsNull()
    {
        VmFiles.Write(_directory, new VmRecord(_directory.Id, 1, VmState.Running));
        File.Move(_directory.StateFile, _root.Of("elsewhere"));
        File.CreateSymbolicLink(_directory.StateFile, _root.Of("elsewhere"));
        Assert.Null(VmFiles.ReadRecord(_directory));
    }

    [Fact]
    public void Write_WhenAnEarlierOneWasCutOff_Replaces()
    {
        File.WriteAllText(_directory.StateFile + ".new", "half");
        VmFiles.Write(_directory, new VmRecord(_directory.Id, 2, VmState.Booting));
        Assert.Equal(2, VmFiles.ReadRecord(_directory)!.Incarnation);
    }
}
