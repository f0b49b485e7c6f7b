using Worker.Hardware;
using Worker.Vms;
using Xunit;

namespace Worker.Tests.Hardware;

public sealed class EmulatedDevicesTests : IDisposable
{
    private static readonly DateTimeOffset Now = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);
    private readonly TemporaryDirectory _root = new();
    private readonly EmulatedDevices _devices = new(WorkerOptions.DefaultDevices, 64);
    private readonly Guid _one = Guid.NewGuid(), _two = Guid.NewGuid();

    public void Dispose() => _root.Dispose();

    private RuntimeDirectory Runtime(Guid id)
    {
        var directory = RuntimeDirectory.Of(_root.FullPath, id);
        directory.Create();
        directory.CreateVmmDirectory(null);
        return directory;
    }

    [Fact]
    public void TryHold_WhenOneOfThemIsBusy_TakesNone()
    {
        Assert.True(_devices.TryHold(_one, ["edu-0"], Now, out _));
        Assert.True(_devices.TryHold(_one, ["edu-0"], Now, out _));
        Assert.False(_devices.TryHold(_two, ["edu-1", "edu-0"], Now, out var failure));
        Assert.Equal("DeviceBusy", failure!.Reason);
        Assert.Empty(_devices.HeldBy(_two));
    }

    [Fact]
    public void TryHold_WhenUnknown_IsMissing()
    {
        Assert.False(_devices.TryHold(_one, ["edu-0", "../nvme-0"], Now, out var failure));
        Assert.Equal("DeviceMissing", failure!.Reason);
        Assert.Empty(_devices.HeldBy(_one));
    }

    [Fact]
    public void Release_WhenScratchFileIsStillThere_KeepsHolding()
    {
        var directory = Runtime(_one);
        Assert.True(_devices.TryHold(_one, ["nvme-0", "edu-0"], Now, out _));
        _devices.Prepare(_devices.Describe(directory, ["nvme-0", "edu-0"]), null);
        Assert.Equal(64L << 20, new FileInfo(Path.Combine(directory.VmmDirectory, "nvme-0.img")).Length);
        Assert.Equal(["edu-0"], _devices.Release(directory, _one, ["nvme-0", "edu-0"]));
        Assert.False(_devices.TryHold(_two, ["nvme-0"], Now, out _));
        directory.RemoveVmmDirectory();
        Assert.Equal(["nvme-0"], _devices.Release(directory, _one, ["nvme-0"]));
        Assert.True(_devices.TryHold(_two, ["nvme-0"], Now, out _));
    }

    [Fact]
    public void Release_WhenHeldByAnother_ChangesNothing()
    {
        Assert.True(_devices.TryHold(_two, ["edu-0"], Now, out _));
        _devices.Release(Runtime(_one), _one, ["edu-0"]);
        Assert.Equal(["edu-0"], _devices.HeldBy(_two));
    }

    [Fact]
    public void Prepare_WhenAFileIsInTheWay_Refuses()
    {
        var directory = Runtime(_one);
        File.CreateSymbolicLink(Path.Combine(directory.VmmDirectory, "nvme-0.img"), _root.Of("target"));
        Assert.ThrowsAny<IOException>(() => _devices.Prepare(_devices.Describe(directory, ["nvme-0"]), null));
        Assert.False(File.Exists(_root.Of("target")));
    }
}
