using Contracts;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Worker.Hardware;
using Worker.Images;
using Worker.Tests.Hardware.Assignment;
using Worker.Tests.Images;
using Worker.Vms;
using Xunit;

namespace Worker.Tests.Vms;

/// <summary>Sandboxes whose image is a registered one.</summary>
public sealed class VmManagerImagesTests : IAsyncLifetime
{
    private readonly TemporaryDirectory _root = new();
    private readonly FakeTimeProvider _time = new(TimeProvider.System.GetUtcNow());
    private readonly FakeVmm _vmm = new();
    private readonly StandInSource _source = new();
    private readonly Guid _id = Guid.NewGuid();
    private ImageCache _cache = null!;
    private VmManager _manager = null!;
    private long _revision;

    public ValueTask InitializeAsync()
    {
        _cache = new ImageCache(_root.Of("images"), 1 << 20, _source, _time, NullLogger.Instance);
        StartWorker();
        return ValueTask.CompletedTask;
    }

    public async ValueTask DisposeAsync()
    {
        await _manager.DisposeAsync();
        await _cache.DisposeAsync();
        _vmm.KillAll();
        _root.Dispose();
    }

    private void StartWorker()
    {
        _manager = new VmManager(_root.Of("vms"), new VmSurroundings(
            _vmm, NodeWith.Devices(new EmulatedDevices(WorkerOptions.DefaultDevices, 1), _root.FullPath, _time), new UserIds(false, 0, 0), CgroupTree.Without("a test"), "boot", _time, NullLogger.Instance, _cache));
        _cache.InUse = _manager.ImagesInUse;
        _manager.Start();
    }

    private void Apply(PlannedImage image, DesiredState desired = DesiredState.Running, Vmm vmm = Vmm.Qemu) =>
        _manager.Apply(new NodePlan(++_revision, [new(_id, "x", 1, desired, false, new SandboxSpec("own", 1, 128, Viommu.Smmuv3, [], null, [], vmm, Registered: image))], [], []));

    private Condition? Told => _manager.Snapshot().Views.SingleOrDefault(v => v.Sandbox is { State: VmState.Preparing, Incarnation: 1, Failure: null })?.Sandbox.Conditions.SingleOrDefault(c => c.Type == ConditionType.VmmRunning);

    private Task UntilAsync(Func<bool> condition, string what) => Eventually.TrueAsync(() =>
    {
        _time.Advance(TimeSpan.FromMilliseconds(250));
        return condition();
    }, what);

    private PlannedImage Image() => new(Guid.NewGuid(), "arm64", "6.12", true, "", null, [_source.Add(ImageFileRole.Kernel, new byte[1000])]);

    [Fact]
    public async Task Start_OfARegisteredImage_WaitsForItsFiles_AndSaysSo()
    {
        _source.Gate = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var image = Image();
        Apply(image);
        await UntilAsync(() => Told?.Reason == "ImageBeingFetched", "it waits");
        Assert.Contains("0 % of 1000 bytes", Told!.Message, StringComparison.Ordinal);
        Assert.Equal(0, _vmm.Starts);
        Assert.Equal([image.Files[0].Sha256], _manager.ImagesInUse());
        _source.Gate.SetResult();
        await UntilAsync(() => _vmm.Starts == 1, "it starts");
        Assert.Equal(image.Id, _vmm.Current!.Launch.Spec.Registered!.Id);
    }

    [Fact]
    public async Task Start_OfAnImageThatDoesNotCome_IsToldWhy_AndDeletionEndsTheWaiting()
    {
        _source.CutAfter = 10;
        var image = Image();
        Apply(image);
        await UntilAsync(() => Told?.Reason == "ImageDelayed", "it is told");
        Assert.Contains("ImageFetchFailed: ", Told!.Message, StringComparison.Ordinal);
        Apply(image, DesiredState.Deleted);
        await UntilAsync(() => _manager.Snapshot().Views.Single().Sandbox.State == VmState.Absent, "it is gone");
        Assert.Empty(_manager.ImagesInUse());
        Assert.Equal(0, _vmm.Starts);
    }

    [Fact]
    public async Task Image_OfAGuestThatRuns_IsUsedUntilItEnds_AlsoForTheNextWorker()
    {
        var image = Image();
        Apply(image);
        await UntilAsync(() => _vmm.Starts == 1, "it starts");
        await _vmm.Current!.ConfirmAsync();
        await _manager.DisposeAsync();
        StartWorker();
        // No plan has come yet: what runs is known from its own record.
        Assert.Equal([image.Files[0].Sha256], _manager.ImagesInUse());
        Apply(image, DesiredState.Deleted);
        await UntilAsync(() => _manager.Snapshot().Views.Single().Sandbox.State == VmState.Absent, "it is gone");
        Assert.Empty(_manager.ImagesInUse());
    }

    [Fact]
    public async Task Start_OfASimulatedMachine_FetchesNothing()
    {
        Apply(Image(), vmm: Vmm.Simulated);
        await UntilAsync(() => _vmm.Starts == 1, "it starts");
        Assert.Empty(_source.Asked);
    }
}
