using Contracts;
using Microsoft.Extensions.Time.Testing;
using Worker.Hardware.Assignment;
using Worker.Hardware.Pci;
using Xunit;
using static Worker.Tests.Hardware.Assignment.AssignmentHost;

namespace Worker.Tests.Hardware.Assignment;

/// <summary>A disk that something has for itself without a mount, swap or holder (a pool, the second device of a file system) is neither pulled nor erased.</summary>
public sealed class DiskInUseTests : IDisposable
{
    private const string Twin = "0005:01:00.1";
    private readonly AssignmentHost _host = new();
    private readonly Guid _first = Guid.NewGuid(), _second = Guid.NewGuid();
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    public void Dispose() => _host.Dispose();

    private void Untouched(AssignedDevices worker, params string[] inUse)
    {
        Assert.Empty(_host.Kernel.Done);
        Assert.Equal(inUse, _host.Kernel.DisksInUse);
        Assert.Equal("nvme", _host.Kernel.DriverOf(Nvme));
        Assert.Equal("StorageInUse", QuarantineOf(worker, Nvme)?.Reason);
        Assert.Equal("StorageInUse", worker.TryHold(_second, Nvme)?.Reason);
    }

    /// <summary>An earlier worker died after it had written the record and before it touched the device.</summary>
    [Fact]
    public async Task Release_OfAnAdoptedOneThatNobodyTouched_LeavesItsDiskAlone()
    {
        _host.Kernel.DisksInUse.Add(Nvme);
        var worker = _host.Worker(Nvme);
        worker.Adopt(_first, Nvme);
        await worker.ReleaseAsync(_first, Nvme, Ct);
        Untouched(worker, Nvme);
        Assert.Empty(worker.HeldBy(_first));
    }

    [Fact]
    public async Task Release_BeforeItWasPrepared_LeavesItsDiskAlone()
    {
        _host.Kernel.DisksInUse.Add(Nvme);
        var worker = _host.Worker(Nvme);
        Assert.Null(worker.TryHold(_first, Nvme));
        await worker.ReleaseAsync(_first, Nvme, Ct);
        Untouched(worker, Nvme);
    }

    [Fact]
    public async Task Prepare_LeavesItsDiskAloneAndSoDoesTheRelease()
    {
        _host.Kernel.DisksInUse.Add(Nvme);
        var worker = _host.Worker(Nvme);
        Assert.Null(worker.TryHold(_first, Nvme));
        var problem = await Assert.ThrowsAsync<DeviceException>(() => worker.PrepareAsync(Nvme, Vmm.Qemu, User, Ct));
        Assert.Equal("StorageInUse", problem.Problem.Reason);
        await worker.ReleaseAsync(_first, Nvme, Ct);
        Untouched(worker, Nvme);
    }

    [Fact]
    public async Task Lift_OfOneThatWasNotErased_LeavesItsDiskAlone()
    {
        _host.Kernel.KeepsData.Add(Nvme);
        var worker = _host.Worker(Nvme);
        Assert.Null(worker.TryHold(_first, Nvme));
        await Assert.ThrowsAsync<DeviceException>(() => worker.PrepareAsync(Nvme, Vmm.Qemu, User, Ct));
        await worker.ReleaseAsync(_first, Nvme, Ct);
        _host.Kernel.KeepsData.Clear();
        _host.Kernel.Done.Clear();
        _host.Kernel.DisksInUse.Add(Nvme);
        await worker.LiftAsync(new PlannedDevice(Nvme, QuarantineOf(worker, Nvme)!.At), Ct);
        Untouched(worker, Nvme);
        // Once nothing has it, an operator's next wish cleans it.
        _host.Kernel.DisksInUse.Clear();
        await worker.LiftAsync(new PlannedDevice(Nvme, QuarantineOf(worker, Nvme)!.At), Ct);
        Assert.Contains($"erase {Nvme}", _host.Kernel.Done);
        Assert.Null(worker.TryHold(_second, Nvme));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Group_WhenAParkedControllersDiskIsInUse_StaysWhereItIs(bool prepares)
    {
        _host.Files.Function(Twin, 0x144DA80A, 0x010802, new ConfigBytes(0x144DA80A).Express().Build(), group: 12, iommu: Smmu, driver: "nvme");
        _host.Kernel.DisksInUse.Add(Twin);
        var worker = _host.Worker(Nvme);
        Assert.Null(worker.TryHold(_first, Nvme));
        if (prepares)
            await Assert.ThrowsAsync<DeviceException>(() => worker.PrepareAsync(Nvme, Vmm.Qemu, User, Ct));
        await worker.ReleaseAsync(_first, Nvme, Ct);
        Untouched(worker, Twin);
        Assert.Equal("nvme", _host.Kernel.DriverOf(Twin));
    }

    /// <summary>The kernel's part without a block device: which disks are opened, and that one which cannot be is nobody's to pull.</summary>
    [Fact]
    public async Task TryDisks_OpensEachDiskOfTheController()
    {
        Assert.True(PciAddress.TryParse(Nvme, out var address));
        var kernel = new KernelHost(_host.Files.Tree, TimeProvider.System);
        Task<HostAnswer> TryAsync() => kernel.TryDisksAsync(address, TimeSpan.FromMinutes(1), Ct);
        Assert.True((await TryAsync()).IsDone);
        _host.Files.Text($"sys/bus/pci/devices/{Nvme}/nvme/nvme3/state", "resetting").Text($"sys/bus/pci/devices/{Nvme}/nvme/nvme3/nvme2c3n1/size", "1");
        Assert.Contains("dev/nvme2n1 ", (await TryAsync()).Said, StringComparison.Ordinal);
        _host.Files.Text("dev/nvme2n1", "");
        Assert.True((await TryAsync()).IsDone);
    }

    /// <summary>A disk that comes up has a name before it has a node; one that stays in use is refused all the same.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task TryDisks_WaitsForADiskThatComesUp_AndNotForGood(bool comesUp)
    {
        Assert.True(PciAddress.TryParse(Nvme, out var address));
        _host.Files.Text($"sys/bus/pci/devices/{Nvme}/nvme/nvme3/nvme3n1/size", "1");
        var time = new TimeWithRests();
        var tried = new KernelHost(_host.Files.Tree, time).TryDisksAsync(address, TimeSpan.FromMinutes(1), Ct);
        await Eventually.TrueAsync(() => time.Rests > 0, "it was tried once");
        if (comesUp)
            _host.Files.Text("dev/nvme3n1", "");
        await Eventually.TrueAsync(() =>
        {
            time.Advance(TimeSpan.FromMilliseconds(100));
            return tried.IsCompleted;
        }, "the disk was tried");
        Assert.Equal(comesUp ? HostOutcome.Done : HostOutcome.Refused, (await tried).Outcome);
    }

    /// <summary>Counts what waits for less than a second: not a limit, but a pause.</summary>
    private sealed class TimeWithRests : FakeTimeProvider
    {
        private int _rests;
        public int Rests => Volatile.Read(ref _rests);

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            var timer = base.CreateTimer(callback, state, dueTime, period);
            if (dueTime < TimeSpan.FromSeconds(1))
                Interlocked.Increment(ref _rests);
            return timer;
        }
    }
}
