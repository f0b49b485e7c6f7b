using Contracts;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Worker.Checks;
using Worker.Hardware;
using Worker.Hardware.Assignment;
using Worker.Images;
using Worker.Sync;
using Worker.Tests.Kvmtool;
using Worker.Tests.Vms;
using Worker.Vms;
using Xunit;
using static Worker.Tests.Hardware.Assignment.AssignmentHost;

namespace Worker.Tests.Hardware.Assignment;

/// <summary>Files of sysfs whose reading does not come back: pipes that nobody writes to stand in for them.</summary>
public sealed class SysfsBlocksTests : IAsyncLifetime
{
    /// <summary>Longer than any look that comes back takes, and a bound for what must not hang.</summary>
    private static readonly TimeSpan Soon = TimeSpan.FromMilliseconds(200), Patience = TimeSpan.FromSeconds(60);
    private readonly AssignmentHost _host = new();
    private readonly Said _said = new();
    private readonly Guid _first = Guid.NewGuid();
    private readonly CgroupTree _cgroups = CgroupTree.Open($"sandbox-tests-{Guid.NewGuid():N}");
    private VmManager _vms = null!;
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    private sealed class Said : ILogger
    {
        private readonly List<string> _lines = [];
        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;
        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            lock (_lines)
                _lines.Add(formatter(state, exception));
        }

        public int Count(string code)
        {
            lock (_lines)
                return _lines.Count(line => line.StartsWith(code, StringComparison.Ordinal));
        }
    }

    public ValueTask InitializeAsync() => ValueTask.CompletedTask;

    public async ValueTask DisposeAsync()
    {
        LetGo();
        if (_vms is not null)
            await _vms.DisposeAsync();
        _cgroups.RemoveParent();
        _host.Dispose();
    }

    private string Pipe => _host.Path("pipe");

    private void Block(string file)
    {
        StandInLkvm.MakePipe(Pipe);
        var path = _host.Path($"sys/bus/pci/devices/{Gpu}/{file}");
        if (File.Exists(path))
            File.Move(path, path + ".before");
        File.CreateSymbolicLink(path, Pipe);
    }

    /// <summary>Whoever reads the pipe reads its end; whoever comes after that reads what was there before.</summary>
    private void LetGo()
    {
        if (!File.Exists(Pipe))
            return;
        var config = _host.Path(ConfigOf(Gpu));
        if (File.Exists(config + ".before"))
            File.Move(config + ".before", config, overwrite: true);
        using var writer = new FileStream(Pipe, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite, bufferSize: 0);
    }

    private AssignedDevices Worker() => new([Rule(Gpu), Rule(Nvme)], _host.Files.Tree, _host.Kernel, _host.Files.Scan(), AssignmentHost.Qemu, _host.StateDirectory, _host.Time, _said)
    {
        LookLimit = Soon,
        FreshLimit = Soon,
    };

    private NodeReportBuilder Reports(AssignedDevices worker)
    {
        var devices = new NodeDevices(new EmulatedDevices([], 1), worker, AssignmentHost.Qemu, Acceleration.Kvm, _ => false);
        _vms = new VmManager(_host.Path("vms"), new VmSurroundings(new FakeVmm(), devices, new UserIds(false, 0, 0), _cgroups, "boot", _host.Time, NullLogger.Instance));
        var options = new WorkerOptions { StateDirectory = _host.StateDirectory, ImagesDirectory = _host.Path("images") };
        var node = new NodeCapabilities(HostFacts.Read(), HardwareInventory.None, QemuFacts.None, Acceleration.Kvm, "", false, _cgroups, []);
        return new NodeReportBuilder(options, node, new ImageScan(new ImageCatalogue(options.ImagesDirectory), _host.Time), devices, _vms, _host.Time, Guid.NewGuid());
    }

    private static Task<T> WithinPatienceAsync<T>(Func<T> work) => Task.Factory.StartNew(work, Ct, TaskCreationOptions.LongRunning, TaskScheduler.Default).WaitAsync(Patience, Ct);

    /// <summary>The first look has come back, however slow the machine is.</summary>
    private static async Task SeenAsync(AssignedDevices worker) =>
        await Eventually.TrueAsync(() => worker.Views().Count == 2 && worker.Problem is null, "both devices are seen", 60);

    [Fact]
    public async Task Report_WhenAReadingHangs_GoesOnWithWhatWasSeenAndSaysSoOnce()
    {
        var worker = Worker();
        var reports = Reports(worker);
        await SeenAsync(worker);
        var before = reports.Build().Devices;
        Assert.Equal([Nvme, Gpu], before.Select(d => d.Address));
        Block("config");
        Failure? told = null;
        for (var report = 0; report < 5; report++)
        {
            _host.Later();
            var (devices, problems) = await WithinPatienceAsync(() => reports.Build() is var built ? (built.Devices, built.Facts.Problems) : default);
            Assert.Equal(before.Select(d => (d.Address, d.Phase)), devices.Select(d => (d.Address, d.Phase)));
            var problem = Assert.Single(problems, p => p.Reason == AssignmentReasons.ScanHangs.Code);
            Assert.Equal(told ??= problem, problem);
        }
        Assert.Equal(1, _said.Count(AssignmentReasons.ScanHangs.Code));

        LetGo();
        await Eventually.TrueAsync(() =>
        {
            _host.Later();
            return worker.Views().Count == 2 && worker.Problem is null;
        }, "it is read again", 60);
        Assert.DoesNotContain(reports.Build().Facts.Problems, p => p.Reason == AssignmentReasons.ScanHangs.Code);
    }

    /// <summary>The kernel shows it under the lock that an unbinding holds; nobody needs it.</summary>
    [Fact]
    public async Task Views_ReadNoDriverOverride()
    {
        var worker = Worker();
        await SeenAsync(worker);
        Block("driver_override");
        _host.Later();
        Assert.Equal(2, (await WithinPatienceAsync(worker.Views)).Count);
        await SeenAsync(worker);
    }

    [Fact]
    public async Task Prepare_WhenAReadingHangs_TouchesNothingAndQuarantinesNothing()
    {
        var worker = Worker();
        await SeenAsync(worker);
        Block("config");
        var problem = await WithinPatienceAsync(() =>
        {
            Assert.Null(worker.TryHold(_first, Nvme));
            return Assert.ThrowsAsync<DeviceException>(() => worker.PrepareAsync(Nvme, Vmm.Qemu, User, Ct)).WaitAsync(Patience);
        });
        Assert.Equal((AssignmentReasons.ScanHangs.Code, false), ((await problem).Problem.Reason, (await problem).Quarantines));
        Assert.Empty(_host.Kernel.Done);
        Assert.Null(QuarantineOf(worker, Nvme));
    }

    [Fact]
    public async Task Release_WhenAReadingHangs_CleansByWhatWasSeen()
    {
        var worker = Worker();
        await SeenAsync(worker);
        worker.Adopt(_first, Nvme);
        Block("config");
        await await WithinPatienceAsync(() => worker.ReleaseAsync(_first, Nvme, Ct).WaitAsync(Patience, Ct));
        Assert.Contains($"erase {Nvme}", _host.Kernel.Done);
        Assert.Empty(worker.HeldBy(_first));
        Assert.Null(QuarantineOf(worker, Nvme));
    }
}
