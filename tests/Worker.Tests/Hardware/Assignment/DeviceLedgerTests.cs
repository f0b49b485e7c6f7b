using Contracts;
using Worker.Hardware.Assignment;
using Xunit;
using static Worker.Tests.Hardware.Assignment.AssignmentHost;

namespace Worker.Tests.Hardware.Assignment;

/// <summary>What a worker notes of its devices for the next, and what that makes of a note that is not whole.</summary>
public sealed class DeviceLedgerTests : IDisposable
{
    private readonly AssignmentHost _host = new();
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    public void Dispose() => _host.Dispose();

    public static TheoryData<string> Damaged => ["", "{", "null", "[]", "{\"quarantine\":7,\"drivers\":{}}", "{\"drivers\":null}", "{\"quarantine\":{},\"drivers\":{}}", "{\"drivers\":{},\"taken\":{\"class\":\"x\"}}", "{\"drivers\":{},\"taken\":{\"class\":\"x\",\"driver\":\"../x\"}}", new string(' ', 70_000), "LINK"];

    [Theory]
    [MemberData(nameof(Damaged))]
    public async Task Read_WhenDamaged_CountsAsAQuarantineThatCanBeLifted(string content)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(_host.LedgerOf(Nvme))!);
        if (content == "LINK")
        {
            File.WriteAllText(_host.Path("elsewhere"), "{\"quarantine\":null,\"drivers\":{}}");
            File.CreateSymbolicLink(_host.LedgerOf(Nvme), _host.Path("elsewhere"));
        }
        else
            File.WriteAllText(_host.LedgerOf(Nvme), content);
        var worker = _host.Worker(Nvme, Gpu);
        var quarantine = QuarantineOf(worker, Nvme);
        Assert.Equal("LedgerUnreadable", quarantine?.Reason);
        Assert.Null(QuarantineOf(worker, Gpu));
        await worker.LiftAsync(new PlannedDevice(Nvme, quarantine!.At), Ct);
        Assert.Null(QuarantineOf(_host.Worker(Nvme), Nvme));
    }

    [Fact]
    public async Task Write_MakesFilesOfTheWorkersAlone()
    {
        _host.Kernel.RefusesReset.Add(Nvme);
        var worker = _host.Worker(Nvme);
        Assert.Null(worker.TryHold(Guid.NewGuid(), Nvme));
        await Assert.ThrowsAsync<DeviceException>(() => worker.PrepareAsync(Nvme, Vmm.Qemu, User, Ct));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(_host.LedgerOf(Nvme)));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(Path.GetDirectoryName(_host.LedgerOf(Nvme))!));
    }
}
