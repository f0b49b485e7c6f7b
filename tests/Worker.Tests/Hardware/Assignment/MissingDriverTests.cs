using Contracts;
using Worker.Hardware.Assignment;
using Xunit;
using static Worker.Tests.Hardware.Assignment.AssignmentHost;

namespace Worker.Tests.Hardware.Assignment;

/// <summary>A kernel module that is not loaded is no fault of a device: it is refused until somebody loads it.</summary>
public sealed class MissingDriverTests : IDisposable
{
    private readonly AssignmentHost _host = new();
    private readonly Guid _first = Guid.NewGuid(), _second = Guid.NewGuid();
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    public void Dispose() => _host.Dispose();

    private void Unload(string driver) => Directory.Delete(_host.Path($"sys/bus/pci/drivers/{driver}"), recursive: true);

    private void Load(string driver)
    {
        _host.Files.Text($"sys/bus/pci/drivers/{driver}/uevent", "");
        _host.Later();
    }

    [Theory]
    [InlineData("vfio-pci", "VfioDriverMissing")]
    [InlineData("nvme", "NvmeDriverMissing")]
    public async Task Prepare_WhenADriverIsMissing_IsNoFaultOfTheDevice(string driver, string reason)
    {
        var worker = _host.Worker(Nvme);
        Assert.Null(worker.TryHold(_first, Nvme));
        Unload(driver);
        var problem = await Assert.ThrowsAsync<DeviceException>(() => worker.PrepareAsync(Nvme, Vmm.Qemu, User, Ct));
        Assert.Equal((reason, false), (problem.Problem.Reason, problem.Quarantines));
        await worker.ReleaseAsync(_first, Nvme, Ct);
        Assert.Equal(reason, worker.TryHold(_second, Nvme)?.Reason);
        Assert.Empty(_host.Kernel.Done);
        Load(driver);
        Assert.Null(QuarantineOf(worker, Nvme));
        Assert.Null(_host.Worker(Nvme).TryHold(_second, Nvme));
        Assert.Null(worker.TryHold(_second, Nvme));
        await worker.PrepareAsync(Nvme, Vmm.Qemu, User, Ct);
    }

    [Fact]
    public async Task Release_WhenTheErasingDriverIsMissing_IsRefusedThenErasedBeforeTheNextTenant()
    {
        var worker = _host.Worker(Nvme);
        Assert.Null(worker.TryHold(_first, Nvme));
        await worker.PrepareAsync(Nvme, Vmm.Qemu, User, Ct);
        _host.Tenant(Nvme);
        Unload("nvme");
        await worker.ReleaseAsync(_first, Nvme, Ct);
        Assert.DoesNotContain(_host.Kernel.Owners, o => o.Value is not null);
        Assert.Equal("NvmeDriverMissing", worker.TryHold(_second, Nvme)?.Reason);
        Load("nvme");
        Assert.Null(worker.TryHold(_second, Nvme));
        _host.Kernel.Done.Clear();
        await worker.PrepareAsync(Nvme, Vmm.Qemu, User, Ct);
        Assert.Contains($"erase {Nvme}", _host.Kernel.Done);
    }

    [Fact]
    public async Task Lift_WhenADriverIsMissing_StaysQuarantined()
    {
        _host.Kernel.KeepsData.Add(Nvme);
        var worker = _host.Worker(Nvme);
        Assert.Null(worker.TryHold(_first, Nvme));
        await Assert.ThrowsAsync<DeviceException>(() => worker.PrepareAsync(Nvme, Vmm.Qemu, User, Ct));
        await worker.ReleaseAsync(_first, Nvme, Ct);
        Unload("nvme");
        _host.Later();
        Assert.True(await worker.LiftAsync(new PlannedDevice(Nvme, QuarantineOf(worker, Nvme)!.At), Ct));
        Load("nvme");
        Assert.Equal("NvmeDriverMissing", QuarantineOf(worker, Nvme)?.Reason);
    }
}
