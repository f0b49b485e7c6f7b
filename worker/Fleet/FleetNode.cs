using System.Globalization;
using Contracts;
using Microsoft.Extensions.Logging;
using Worker.Checks;
using Worker.Faults;
using Worker.Hardware;
using Worker.Hardware.Assignment;
using Worker.Images;
using Worker.Sync;
using Worker.Vms;
using Worker.Vms.Simulated;

namespace Worker.Fleet;

/// <summary>What the nodes of a fleet share.</summary>
internal sealed record FleetSurroundings(WorkerOptions Options, SimulationPool Pool, ImageScan Images, TimeProvider Time, ILoggerFactory Logging)
{
    /// <summary>Another at each start: with this process all the simulated hosts have gone, and what ran on them.</summary>
    public string BootId { get; } = Guid.NewGuid().ToString();
}

// One simulated node: its own directory, identity, connection and devices, and behind them the manager, runner, sampling and sync of every worker.
// Guarantees: all that it tells is of origin simulated, and it offers simulated devices only. On a crash: records and token are kept; the next fleet's node of this
// name is the same node, and reports its guests as lost.
internal sealed class FleetNode : IAsyncDisposable
{
    private const int Cpus = 16, MemoryMib = 65_536, Devices = 4;
    private readonly VmManager _vms;
    private readonly FaultSampling _sampling;
    private readonly SyncLoop _sync;
    private readonly ILogger _log;
    private readonly string _name;

    public FleetNode(string name, FleetSurroundings around)
    {
        var (directory, time) = (DirectoryOf(around.Options, name), around.Time);
        var options = new WorkerOptions
        {
            ApiUrl = around.Options.ApiUrl,
            TokenFile = TokenFileOf(directory),
            StateDirectory = directory,
            VcpuOvercommit = 1,
            MemoryCapacityMib = MemoryMib,
            Devices = [.. Enumerable.Range(0, Devices).Select(n => new EmulatedDeviceOptions { Name = string.Create(CultureInfo.InvariantCulture, $"sva-{n}"), Kind = EmulatedDeviceOptions.Simulated, Class = "sva" })],
        };
        var log = around.Logging.CreateLogger("Worker.Vms");
        var node = new NodeCapabilities(
            new HostFacts("arm64", "none: the node is simulated", "none: the node is simulated", "simulated", Cpus, MemoryMib, around.BootId), HardwareInventory.None with { Origin = Origin.Simulated },
            QemuFacts.None, Acceleration.None, "The node is simulated: no guest's instructions run.", false, CgroupTree.Without("simulated machines share their fleet's process"), []);
        // A tree without a host: nothing of this machine is the node's.
        var tree = new HostTree(Path.Combine(directory, "host"));
        var devices = new NodeDevices(
            new EmulatedDevices(options.EmulatedDevices, options.ScratchDiskMib),
            new AssignedDevices([], tree, new KernelHost(tree, time), node.Hardware, node.Qemu, directory, time, log), node.Qemu, node.Acceleration, _ => false);
        (_name, _log) = (name, around.Logging.CreateLogger("Worker.Fleet"));
        _vms = new VmManager(options.RuntimeRoot, new VmSurroundings(
            new SimulatedVmm(around.Pool, time, log), devices, new UserIds(false, 0, 0), node.Cgroups, around.BootId, time, log));
        _sampling = new FaultSampling(_vms, time, around.Logging.CreateLogger<FaultSampling>());
        _sync = new SyncLoop(
            options, node, devices, _vms, _sampling, new SampleOutbox(time, around.Logging.CreateLogger<SampleOutbox>()), new NodeReportBuilder(options, node, around.Images, devices, _vms, time, Installation.Of(directory)), time,
            around.Logging.CreateLogger<SyncLoop>());
    }

    private static readonly TimeSpan TellLimit = TimeSpan.FromSeconds(2);

    public static string NameOf(int number) => string.Create(CultureInfo.InvariantCulture, $"sim-{number:0000}");

    public static string DirectoryOf(WorkerOptions fleet, string name) => Path.Combine(fleet.StateDirectory, "nodes", name);

    public static string TokenFileOf(string directory) => Path.Combine(directory, "node.token");

    public async Task StartAsync()
    {
        // What is logged from here on, and from what begins here, names the node.
        using var scope = _log.BeginScope(_name);
        _vms.Start();
        await _sampling.StartAsync(CancellationToken.None);
        await _sync.StartAsync(CancellationToken.None);
    }

    /// <summary>Ends its guests while it can still tell so; those that do not end in time are lost with the process.</summary>
    public async Task ShutDownAsync(TimeSpan limit)
    {
        await _vms.ShutDownAllAsync(limit);
        if (!await _sync.TellAsync(TellLimit))
            _log.LogWarning("{Node}: the API was not told that its guests have ended", _name);
        await _sync.StopAsync(CancellationToken.None);
    }

    public async ValueTask DisposeAsync()
    {
        await _sync.StopAsync(CancellationToken.None);
        await _sampling.StopAsync(CancellationToken.None);
        await _vms.DisposeAsync();
        _sync.Dispose();
        _sampling.Dispose();
    }
}
