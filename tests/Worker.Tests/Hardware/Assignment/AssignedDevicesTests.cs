using Contracts;
using Worker.Hardware.Assignment;
using Xunit;
using static Worker.Tests.Hardware.Assignment.AssignmentHost;

namespace Worker.Tests.Hardware.Assignment;

/// <summary>One tenancy after the other of devices with which nothing is wrong.</summary>
public sealed class AssignedDevicesTests : IDisposable
{
    private readonly AssignmentHost _host = new();
    private readonly Guid _first = Guid.NewGuid(), _second = Guid.NewGuid();
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    public void Dispose() => _host.Dispose();

    private static Task<AssignedFunction> GiveAsync(AssignedDevices worker, Guid sandbox, string address)
    {
        Assert.Null(worker.TryHold(sandbox, address));
        return worker.PrepareAsync(address, Vmm.Qemu, User, Ct);
    }

    /// <summary>What was done since the last time that it was asked.</summary>
    private string[] Done()
    {
        string[] done = [.. _host.Kernel.Done];
        _host.Kernel.Done.Clear();
        return done;
    }

    [Fact]
    public async Task Prepare_WhenFirst_BindsTheWholeGroupThenResetsByTheBestMethodThenGivesTheNode()
    {
        _host.Master(Gpu);
        var ready = await GiveAsync(_host.Worker(Gpu), _first, Gpu);
        Assert.Equal([$"unbind {Gpu}", $"probe {Gpu}", $"unbind {Audio}", $"probe {Audio}", $"reset flr {Gpu}"], Done());
        Assert.Equal(("vfio-pci", "vfio-pci", "nvme"), (_host.Kernel.DriverOf(Gpu), _host.Kernel.DriverOf(Audio), _host.Kernel.DriverOf(Nvme)));
        Assert.Equal("flr bus", _host.Files.Tree.Text($"sys/bus/pci/devices/{Gpu}/reset_method"));
        var node = _host.Path("dev/vfio/devices/vfio0");
        Assert.Equal(new Dictionary<string, uint?> { [node] = User }, _host.Kernel.Owners);
        Assert.Equal((VfioAccess.Iommufd, node, Smmu, Told, true, true), (ready.Access, ready.DeviceNode, ready.Smmu, ready.Translation, ready.Nests, ready.Ats));
    }

    [Fact]
    public async Task Prepare_WhenNvmeIsNew_ErasesItBeforeItsFirstTenant()
    {
        await GiveAsync(_host.Worker(Nvme), _first, Nvme);
        Assert.Equal([$"erase {Nvme}", $"unbind {Nvme}", $"probe {Nvme}", $"reset flr {Nvme}"], Done());
    }

    [Fact]
    public async Task Prepare_WhenIommufdIsMissing_GivesTheGroupsNode()
    {
        File.Delete(_host.Path("dev/iommu"));
        var ready = await GiveAsync(_host.Worker(Gpu), _first, Gpu);
        Assert.Equal((VfioAccess.Container, _host.Path("dev/vfio/9")), (ready.Access, ready.DeviceNode));
        Assert.Equal(User, _host.Kernel.Owners[ready.DeviceNode]);
    }

    [Fact]
    public async Task Prepare_WhenSmmuWasAsked_TellsItInTheInventory()
    {
        var worker = _host.Worker(Gpu);
        Assert.Empty(worker.Inventory.Asked);
        await GiveAsync(worker, _first, Gpu);
        Assert.Equal(Told, Assert.Single(worker.Inventory.Asked).Value);
    }

    [Theory]
    [InlineData("device_specific acpi flr", "device_specific")]
    [InlineData("acpi af_flr", "af_flr")]
    [InlineData("pm bus", "bus")]
    [InlineData("../../x bus flr", "flr")]
    public async Task Prepare_OfEachSetOfResets_TakesTheBestAndPutsThemBack(string offered, string best)
    {
        _host.Files.Text($"sys/bus/pci/devices/{Nvme}/reset_method", offered);
        await GiveAsync(_host.Worker(Nvme), _first, Nvme);
        Assert.Equal($"reset {best} {Nvme}", Done()[^1]);
        Assert.Equal(offered, _host.Files.Tree.Text($"sys/bus/pci/devices/{Nvme}/reset_method"));
    }

    [Fact]
    public async Task Release_OfNvme_ResetsErasesAndKeepsItOnVfio()
    {
        var worker = _host.Worker(Nvme);
        var node = (await GiveAsync(worker, _first, Nvme)).DeviceNode;
        _host.Tenant(Nvme);
        Done();
        await worker.ReleaseAsync(_first, Nvme, Ct);
        Assert.Equal([$"reset flr {Nvme}", $"unbind {Nvme}", $"probe {Nvme}", $"erase {Nvme}", $"unbind {Nvme}", $"probe {Nvme}"], Done());
        Assert.Equal("vfio-pci", _host.Kernel.DriverOf(Nvme));
        Assert.DoesNotContain(_host.Kernel.Owners, o => o.Value is not null);
        Assert.False(File.Exists(node));
        Assert.Empty(worker.HeldBy(_first));
        Assert.Null(QuarantineOf(worker, Nvme));
    }

    [Fact]
    public async Task Release_WhenTheRuleGivesBack_RestoresTheDriversOfTheWholeGroup()
    {
        var worker = _host.Worker(Rule(Gpu, giveBack: true), Rule(Nvme, giveBack: true));
        foreach (var address in (string[])[Gpu, Nvme])
        {
            await GiveAsync(worker, _first, address);
            await worker.ReleaseAsync(_first, address, Ct);
        }
        Assert.Equal(("nouveau", "snd_hda_intel", "nvme"), (_host.Kernel.DriverOf(Gpu), _host.Kernel.DriverOf(Audio), _host.Kernel.DriverOf(Nvme)));
        Assert.All((string[])[Gpu, Audio, Nvme], address => Assert.Equal("", _host.Files.Tree.Text($"sys/bus/pci/devices/{address}/driver_override")));
        Assert.DoesNotContain(_host.Kernel.Owners, o => o.Value is not null);
    }

    [Fact]
    public async Task Release_WhenFunctionsHadNoDriver_LeavesThemWithout()
    {
        _host.Kernel.NaturalDrivers.Clear();
        _host.Kernel.Reboot();
        var worker = _host.Worker(Rule(Gpu, giveBack: true));
        await GiveAsync(worker, _first, Gpu);
        await worker.ReleaseAsync(_first, Gpu, Ct);
        Assert.Equal((null, null), (_host.Kernel.DriverOf(Gpu), _host.Kernel.DriverOf(Audio)));
        Assert.Null(QuarantineOf(worker, Gpu));
    }

    [Fact]
    public async Task Release_WhenAnotherWorkerHadPrepared_KnowsTheOriginalDrivers()
    {
        await GiveAsync(_host.Worker(Rule(Gpu, giveBack: true)), _first, Gpu);
        var next = _host.Worker(Rule(Gpu, giveBack: true));
        next.Adopt(_first, Gpu);
        await next.ReleaseAsync(_first, Gpu, Ct);
        Assert.Equal(("nouveau", "snd_hda_intel"), (_host.Kernel.DriverOf(Gpu), _host.Kernel.DriverOf(Audio)));
    }

    [Fact]
    public async Task Prepare_WhenSecondTenant_IsResetAndNotErasedTwice()
    {
        var worker = _host.Worker(Nvme);
        await GiveAsync(worker, _first, Nvme);
        await worker.ReleaseAsync(_first, Nvme, Ct);
        Done();
        await GiveAsync(worker, _second, Nvme);
        Assert.Equal([$"reset flr {Nvme}"], Done());
    }

    [Fact]
    public async Task Prepare_WhenTheHostHadItInBetween_ErasesItAgain()
    {
        var worker = _host.Worker(Rule(Nvme, giveBack: true));
        await GiveAsync(worker, _first, Nvme);
        await worker.ReleaseAsync(_first, Nvme, Ct);
        Done();
        await GiveAsync(worker, _second, Nvme);
        Assert.Equal($"erase {Nvme}", Done()[0]);
    }

    [Fact]
    public async Task Prepare_WhenTheWorkerIsNew_ErasesWhatItDoesNotKnow()
    {
        var worker = _host.Worker(Nvme);
        await GiveAsync(worker, _first, Nvme);
        await worker.ReleaseAsync(_first, Nvme, Ct);
        Done();
        await GiveAsync(_host.Worker(Nvme), _second, Nvme);
        Assert.Contains($"erase {Nvme}", Done());
    }

    [Fact]
    public async Task Release_WhenItIsDoneTwice_ChangesNothingTheSecondTime()
    {
        var worker = _host.Worker(Nvme);
        await GiveAsync(worker, _first, Nvme);
        await worker.ReleaseAsync(_first, Nvme, Ct);
        Done();
        await worker.ReleaseAsync(_first, Nvme, Ct);
        Assert.Empty(Done());
    }

    [Fact]
    public async Task Release_WhenAnotherSandboxHasItByNow_LeavesItAlone()
    {
        var worker = _host.Worker(Nvme);
        await GiveAsync(worker, _first, Nvme);
        await worker.ReleaseAsync(_first, Nvme, Ct);
        var node = (await GiveAsync(worker, _second, Nvme)).DeviceNode;
        Done();
        await worker.ReleaseAsync(_first, Nvme, Ct);
        Assert.Empty(Done());
        Assert.Equal(User, _host.Kernel.Owners[node]);
        Assert.Equal([Nvme], worker.HeldBy(_second));
    }

    [Fact]
    public void TryHold_WhenAnotherSandboxHasIt_IsBusyUntilThatLetsGo()
    {
        var worker = _host.Worker(Gpu);
        Assert.Null(worker.TryHold(_first, Gpu));
        Assert.Null(worker.TryHold(_first, Gpu));
        Assert.Equal("DeviceBusy", worker.TryHold(_second, Gpu)?.Reason);
        worker.LetGo(_second, Gpu);
        Assert.Equal("DeviceBusy", worker.TryHold(_second, Gpu)?.Reason);
        worker.LetGo(_first, Gpu);
        Assert.Null(worker.TryHold(_second, Gpu));
    }

    [Fact]
    public void TryHold_WhenAnotherOfTheGroupIsHeld_IsBusyWhateverBecameOfThat()
    {
        var worker = _host.Worker(Gpu, Audio);
        Assert.Null(worker.TryHold(_first, Gpu));
        Assert.Equal("SharesGroup", QuarantineOf(worker, Audio)?.Reason);
        // The first cannot be offered any more, and so the second could be.
        File.WriteAllBytes(_host.Path(ConfigOf(Gpu)), [.. Enumerable.Repeat((byte)0xFF, 4096)]);
        _host.Later();
        Assert.Equal(("DeviceDoesNotAnswer", null), (QuarantineOf(worker, Gpu)?.Reason, QuarantineOf(worker, Audio)?.Reason));
        Assert.Equal("DeviceBusy", worker.TryHold(_second, Audio)?.Reason);
    }

    [Theory]
    [InlineData("0000:00:00.0")]
    [InlineData("0009:01:00.0/../../etc")]
    [InlineData("")]
    public void TryHold_OfWhatIsNotOffered_IsMissing(string address) =>
        Assert.Equal("DeviceMissing", _host.Worker(Gpu).TryHold(_first, address)?.Reason);

    [Fact]
    public void Worker_WithoutRules_OffersNothing()
    {
        var worker = _host.Worker(Array.Empty<PassthroughOptions>());
        Assert.Empty(worker.Views());
        Assert.Equal("DeviceMissing", worker.TryHold(_first, Gpu)?.Reason);
    }

    [Fact]
    public async Task Prepare_WhenOneDeviceHangs_OthersGoOn()
    {
        var worker = _host.Worker(Gpu, Nvme);
        var hangs = _host.Kernel.Hanging[Gpu] = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var stuck = GiveAsync(worker, _first, Gpu);
        await GiveAsync(worker, _second, Nvme);
        await worker.ReleaseAsync(_second, Nvme, Ct);
        Assert.Equal(2, worker.Views().Count);
        Assert.False(stuck.IsCompleted);
        hangs.SetResult();
        Assert.Equal(Gpu, (await stuck).Address.ToString());
    }
}
