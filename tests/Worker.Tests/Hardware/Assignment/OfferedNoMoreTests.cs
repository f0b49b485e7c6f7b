using Contracts;
using Microsoft.Extensions.Logging.Abstractions;
using Worker.Checks;
using Worker.Hardware;
using Worker.Hardware.Assignment;
using Xunit;
using static Worker.Tests.Hardware.Assignment.AssignmentHost;

namespace Worker.Tests.Hardware.Assignment;

/// <summary>A device that a guest has while the settings no longer name it, or are not there at all, as for the verbs of a stopped worker.</summary>
public sealed class OfferedNoMoreTests : IDisposable
{
    private const string VendorsDriver = "nvgrace-gpu-vfio-pci";
    private readonly AssignmentHost _host = new();
    private readonly Guid _first = Guid.NewGuid(), _second = Guid.NewGuid();
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    public void Dispose() => _host.Dispose();

    private async Task<string> TenancyAsync(PassthroughOptions rule)
    {
        var worker = _host.Worker(rule);
        Assert.Null(worker.TryHold(_first, rule.Address!));
        var node = (await worker.PrepareAsync(rule.Address!, Vmm.Qemu, User, Ct)).DeviceNode;
        _host.Tenant(rule.Address!);
        _host.Kernel.Done.Clear();
        Assert.Equal(User, _host.Kernel.Owners[node]);
        return node;
    }

    /// <summary>One with other rules, or one as "shut-down" makes it: without settings and without having looked at the host.</summary>
    private AssignedDevices Next(bool otherRules) => otherRules
        ? _host.Worker(Gpu)
        : new AssignedDevices([], _host.Files.Tree, _host.Kernel, HardwareInventory.None, QemuFacts.None, _host.StateDirectory, _host.Time, NullLogger.Instance);

    private async Task ReleaseAsync(AssignedDevices next, string address)
    {
        next.Adopt(_first, address);
        Assert.True(next.HoldsAny);
        await next.ReleaseAsync(_first, address, Ct);
        Assert.False(next.HoldsAny);
        Assert.DoesNotContain(_host.Kernel.Owners, o => o.Value is not null);
    }

    [Theory]
    [InlineData(true, true)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(false, false)]
    public async Task Release_IsDoneByTheRuleThatItWasTakenBy(bool otherRules, bool giveBack)
    {
        await TenancyAsync(Rule(Nvme, giveBack));
        await ReleaseAsync(Next(otherRules), Nvme);
        Assert.Equal($"reset flr {Nvme}", _host.Kernel.Done[0]);
        Assert.Contains($"erase {Nvme}", _host.Kernel.Done);
        Assert.Equal(giveBack ? "nvme" : "vfio-pci", _host.Kernel.DriverOf(Nvme));
        Assert.Null(_host.Worker(Nvme).TryHold(_second, Nvme));
    }

    [Fact]
    public async Task Release_OfAVendorsDriver_KeepsIt()
    {
        _host.Files.Text($"sys/bus/pci/drivers/{VendorsDriver}/uevent", "");
        await TenancyAsync(new PassthroughOptions { Address = Gpu, Class = "acc", Driver = VendorsDriver });
        await ReleaseAsync(Next(otherRules: false), Gpu);
        Assert.Equal([$"reset flr {Gpu}"], _host.Kernel.Done);
        Assert.Equal(VendorsDriver, _host.Kernel.DriverOf(Gpu));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Release_WhenNobodyKnowsTheRule_IsQuarantinedUntouchedAndItsNodeTakenBack(bool otherRules)
    {
        var node = await TenancyAsync(Rule(Nvme));
        // As an earlier version wrote it.
        File.WriteAllText(_host.LedgerOf(Nvme), "{\"quarantine\":null,\"drivers\":{}}");
        await ReleaseAsync(Next(otherRules), Nvme);
        Assert.Empty(_host.Kernel.Done);
        Assert.Null(_host.Kernel.Owners[node]);
        Assert.Equal("NotOfferedAnyMore", _host.Worker(Nvme).TryHold(_second, Nvme)?.Reason);
    }

    [Fact]
    public async Task Release_WhenTheLedgerIsUnreadable_TakesTheNodeBack()
    {
        var node = await TenancyAsync(Rule(Nvme));
        File.WriteAllText(_host.LedgerOf(Nvme), "{");
        await ReleaseAsync(_host.Worker(Nvme), Nvme);
        Assert.Empty(_host.Kernel.Done);
        Assert.Null(_host.Kernel.Owners[node]);
        Assert.Equal("LedgerUnreadable", _host.Worker(Nvme).TryHold(_second, Nvme)?.Reason);
    }

    [Fact]
    public async Task Release_WhenItCannotBeCleaned_IsQuarantinedForTheNextWorker()
    {
        await TenancyAsync(Rule(Nvme));
        _host.Kernel.KeepsData.Add(Nvme);
        await ReleaseAsync(Next(otherRules: false), Nvme);
        Assert.Equal("DeviceNotErased", _host.Worker(Nvme).TryHold(_second, Nvme)?.Reason);
    }
}
