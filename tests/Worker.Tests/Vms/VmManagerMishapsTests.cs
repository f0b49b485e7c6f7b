using Contracts;
using Microsoft.Extensions.Logging.Abstractions;
using Worker.Hardware;
using Worker.Hardware.Assignment;
using Worker.Tests.Hardware.Assignment;
using Worker.Vms;
using Xunit;
using static Worker.Tests.Hardware.Assignment.AssignmentHost;

namespace Worker.Tests.Vms;

/// <summary>What must stay small when it goes wrong: a quarantine that cannot be lifted, a console that cannot be opened.</summary>
public sealed class VmManagerMishapsTests : IAsyncLifetime
{
    private const int Patience = 60;
    private readonly TemporaryDirectory _root = new();
    private readonly AssignmentHost _host = new();
    private readonly FakeVmm _vmm = new();
    private readonly Guid _id = Guid.NewGuid();
    private readonly CgroupTree _cgroups = CgroupTree.Open($"sandbox-tests-{Guid.NewGuid():N}");
    private UserIds _users = null!;
    private NodeDevices _devices = null!;
    private VmManager _manager = null!;
    private long _revision;

    public ValueTask InitializeAsync()
    {
        StartWorker();
        return ValueTask.CompletedTask;
    }

    public async ValueTask DisposeAsync()
    {
        await _manager.DisposeAsync();
        _vmm.KillAll();
        foreach (var id in _cgroups.Existing())
            _cgroups.Of(id)!.Remove();
        _cgroups.RemoveParent();
        _root.Dispose();
        _host.Dispose();
    }

    private void StartWorker(UserIds? users = null)
    {
        _users = users ?? new UserIds(false, 0, 0);
        _devices = new NodeDevices(new EmulatedDevices(WorkerOptions.DefaultDevices, 1), _host.Worker(Nvme, Gpu), AssignmentHost.Qemu, Acceleration.Kvm, _ => false);
        _manager = new VmManager(_root.FullPath, new VmSurroundings(_vmm, _devices, _users, _cgroups, "host-boot", _host.Time, NullLogger.Instance));
        _manager.Start();
    }

    private void Apply(params PlannedSandbox[] plan) => _manager.Apply(new NodePlan(++_revision, plan, [], []));

    private void Lift(string address, DateTimeOffset quarantine) => _manager.Apply(new NodePlan(++_revision, [], [], [new PlannedDevice(address, quarantine)]));

    private PlannedSandbox Planned(params string[] devices) =>
        new(_id, "x", 1, DesiredState.Running, false, new SandboxSpec("guest", 1, 128, Viommu.None, devices, null, [], Vmm.Qemu));

    private VmView? View => _manager.Snapshot().Views.FirstOrDefault(v => v.Sandbox.Id == _id);

    private ReportedDevice Reported(string address) => _devices.Report(_manager.Snapshot()).Single(d => d.Address == address);

    private static Task TrueAsync(Func<bool> condition, string what) => Eventually.TrueAsync(condition, what, Patience);

    /// <summary>Ends when everything that the manager had begun has ended.</summary>
    private Task EndWorkerAsync() => _manager.DisposeAsync().AsTask();

    [Fact]
    public async Task Plan_WhenItLiftsARefusal_WakesNobody()
    {
        _host.Files.Text($"sys/devices/pci0009:00/{Audio}/net/eth7/flags", "0x1003").Link("sys/class/net/eth7", $"../../devices/pci0009:00/{Audio}/net/eth7");
        _host.Later();
        var refusal = Reported(Gpu).Quarantine!;
        Assert.Equal(AssignmentReasons.NetworkInUse.Code, refusal.Reason);
        Lift(Gpu, refusal.At);
        await EndWorkerAsync();
        // A change is a report, which is a plan, which lifts: without end.
        Assert.False(_manager.Changed.TryRead(out _));
        Assert.Equal(refusal, Reported(Gpu).Quarantine);
        StartWorker();
    }

    [Fact]
    public async Task Plan_WhenLiftingFails_WakesNobodyAndTriesAgainAfterAPause()
    {
        _host.Kernel.RefusesReset.Add(Nvme);
        var worker = _host.Worker(Nvme);
        Assert.Null(worker.TryHold(_id, Nvme));
        await Assert.ThrowsAsync<DeviceException>(() => worker.PrepareAsync(Nvme, Vmm.Qemu, User, TestContext.Current.CancellationToken));
        await EndWorkerAsync();
        StartWorker();
        var quarantine = Reported(Nvme).Quarantine!;
        var tries = 0;
        _host.Kernel.RefusesReset.Clear();
        _host.Kernel.Before = _ =>
        {
            Interlocked.Increment(ref tries);
            throw new InvalidOperationException("broken");
        };
        Lift(Nvme, quarantine.At);
        await TrueAsync(() => Volatile.Read(ref tries) == 1, "it is tried");
        for (var plan = 0; plan < 100; plan++)
        {
            Lift(Nvme, quarantine.At);
            await Task.Yield();
        }
        Assert.Equal(1, Volatile.Read(ref tries));
        await TrueAsync(() =>
        {
            _host.Time.Advance(VmManager.LiftPause);
            Lift(Nvme, quarantine.At);
            return Volatile.Read(ref tries) >= 2;
        }, "it is tried again");
        await EndWorkerAsync();
        Assert.False(_manager.Changed.TryRead(out _));
        StartWorker();
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Adopt_WhenTheConsoleCannotBeOpened_CostsTheConsoleOnly(bool denied)
    {
        const uint first = 70_001;
        Apply(Planned(Nvme));
        await TrueAsync(() => View?.Sandbox.ExecAt is not null, "the VMM is executed");
        var vm = _vmm.Current!;
        await vm.ConfirmAsync();
        await TrueAsync(() => View?.Sandbox.State == VmState.Booting, "it boots");
        await EndWorkerAsync();
        var directory = RuntimeDirectory.Of(_root.FullPath, _id);
        VmFiles.Write(directory, VmFiles.ReadRecord(directory)! with { User = first });
        string[] before = [.. _host.Kernel.Done];
        _vmm.ConsoleFails = denied ? new UnauthorizedAccessException("denied") : new IOException("no space");
        StartWorker(new UserIds(true, first, 2));
        Assert.Equal(first + 1, _users.Take());
        Assert.False(_devices.TryHold(Guid.NewGuid(), [Nvme], _host.Time.GetUtcNow(), out var busy));
        Assert.Equal(AssignmentReasons.Busy.Code, busy!.Reason);
        Assert.Equal(Worker.Checks.NodeReasons.ConsoleUnavailable.Code, Assert.Single(_manager.Problems).Reason);
        // It is looked after, not ended: what its guest says is taken in.
        await _vmm.Current!.ReadyAsync();
        await TrueAsync(() => View?.Sandbox.State == VmState.Running, "it runs");
        Assert.False(vm.HasExited);
        Assert.Equal(before, _host.Kernel.Done);
    }
}
