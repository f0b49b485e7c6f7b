using System.Runtime.InteropServices;
using Contracts;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Console;
using Worker;
using Worker.Checks;
using Worker.Faults;
using Worker.Faults.Tracing;
using Worker.Fleet;
using Worker.Hardware;
using Worker.Hardware.Assignment;
using Worker.Hardware.Pci;
using Worker.Images;
using Worker.Metrics;
using Worker.Sync;
using Worker.Vms;
using Worker.Vms.Kvmtool;
using Worker.Vms.Qemu;
using Worker.Vms.Simulated;

// Verbs: none runs the node; "check" prints what it can do, "health" asks a running worker; "reasons" every reason code, "metrics" every fault source; "simulate FILE" is the process of
// one simulated VM and "trace --state-directory DIR" the one that traces the host's kernel, both started by a worker; "fleet --nodes N --admin-key-file FILE" runs simulated nodes; of a stopped worker "shut-down --state-directory DIR" ends all
// guests and keeps what is known of them for the next worker, "destroy-all --state-directory DIR" leaves nothing.
var configuration = new ConfigurationBuilder().AddEnvironmentVariables().Build();
WorkerOptions options;
try
{
    options = configuration.GetSection(WorkerOptions.Section).Get<WorkerOptions>(binder => binder.ErrorOnUnknownConfiguration = true) ?? new WorkerOptions();
}
catch (InvalidOperationException problem)
{
    // The binder's, for a value of a wrong type and for a name that no setting has.
    Fail($"a setting is wrong: {problem.Message}");
    return 2;
}
return args switch
{
    [] => await RunAsync(),
    ["check"] => await CheckAsync(),
    [HealthProbe.Verb] => await HealthProbe.ProblemAsync(options.MetricsEndPoint()) is { } problem ? Fail(problem) : 0,
    ["reasons"] => PrintReasons(),
    ["metrics"] => PrintMetrics(),
    [TraceKeeper.Verb, "--state-directory", var directory] => await TraceKeeper.RunAsync(directory, TraceFiles.Mounted(), TimeProvider.System),
    [FleetProcess.Verb, "--nodes", var nodes, "--admin-key-file", var adminKeyFile] => await FleetProcess.RunAsync(options, nodes, adminKeyFile, ConfigureLogging),
    [SimulationProcess.Verb, var model] => await SimulationProcess.RunAsync(model, TimeProvider.System),
    ["destroy-all", "--state-directory", var directory] => await EndAllAsync(directory, async (manager, limit) =>
    {
        if (!await manager.DestroyAllAsync(limit))
            return false;
        if (Directory.Exists(options.ImageCacheDirectory))
            Directory.Delete(options.ImageCacheDirectory, recursive: true);
        return true;
    }),
    ["shut-down", "--state-directory", var directory] => await EndAllAsync(directory, (manager, limit) => manager.ShutDownAllAsync(limit)),
    _ => Usage(),
};

async Task<int> RunAsync()
{
    if (Refused(options.Problems()))
        return 2;
    Directory.CreateDirectory(options.StateDirectory);
    using var stateLock = await StateLock.TakeAsync(options.StateDirectory, TimeSpan.FromSeconds(5));
    if (stateLock is null)
        return Fail("another worker uses this state directory");
    if (!await JoinedAsync())
        return 2;
    var node = await NodeChecks.RunAsync(options, CancellationToken.None);
    var builder = Host.CreateEmptyApplicationBuilder(new HostApplicationBuilderSettings { DisableDefaults = true });
    ConfigureLogging(builder.Logging);
    builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = TimeSpan.FromSeconds(3));
    builder.Services.AddSingleton(options).AddSingleton(node).AddSingleton(TimeProvider.System)
        .AddSingleton(_ => new ImageDownload(options.ApiUrl, options.TokenFile))
        .AddSingleton(services => new ImageCache(options.ImageCacheDirectory, options.ImageCacheMaxBytes, services.GetRequiredService<ImageDownload>(), TimeProvider.System, services.GetRequiredService<ILoggerFactory>().CreateLogger("Worker.Images")))
        .AddSingleton(services => new ImageCatalogue(options.ImagesDirectory, services.GetRequiredService<ImageCache>()))
        .AddSingleton(services => NewDevices(options, node, services.GetRequiredService<ILoggerFactory>().CreateLogger("Worker.Hardware")))
        .AddSingleton(services => NewManager(
            options, node, services.GetRequiredService<ImageCatalogue>(), services.GetRequiredService<ImageCache>(), services.GetRequiredService<NodeDevices>(), services.GetRequiredService<KernelTrace>(),
            services.GetRequiredService<ILoggerFactory>().CreateLogger("Worker.Vms")))
        .AddSingleton(services => NewTrace(options, node, services.GetRequiredService<ILoggerFactory>().CreateLogger("Worker.Faults")))
        .AddHostedService(services => services.GetRequiredService<KernelTrace>())
        .AddSingleton(services => new NodeReportBuilder(
            options, node, new ImageScan(services.GetRequiredService<ImageCatalogue>(), TimeProvider.System), services.GetRequiredService<NodeDevices>(),
            services.GetRequiredService<VmManager>(), TimeProvider.System, Installation.Of(options.StateDirectory), services.GetRequiredService<ImageCache>()))
        .AddSingleton<FaultSampling>().AddHostedService(services => services.GetRequiredService<FaultSampling>())
        .AddSingleton<SampleOutbox>()
        .AddHostedService<MetricsListener>()
        .AddHostedService<SyncLoop>();
    using var host = builder.Build();
    var log = host.Services.GetRequiredService<ILoggerFactory>().CreateLogger("Worker");
    foreach (var problem in node.Problems)
        log.LogWarning("{Reason}: {Message} {Remedy}", problem.Reason, problem.Message, problem.Remedy);
    host.Services.GetRequiredService<VmManager>().Start();
    await host.RunAsync();
    return 0;
}

// Before anything else: a machine that is not let in needs no self checks.
async Task<bool> JoinedAsync()
{
    if (options.JoinTokenFile is not { } joinToken)
        return true;
    using var logging = LoggerFactory.Create(ConfigureLogging);
    using var stop = new CancellationTokenSource();
    using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, signal => { signal.Cancel = true; stop.Cancel(); });
    using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, signal => { signal.Cancel = true; stop.Cancel(); });
    try
    {
        var joining = new JoinNode(options.ApiUrl, joinToken, options.TokenFile, Installation.Of(options.StateDirectory), TimeProvider.System, logging.CreateLogger("Worker.Sync"));
        if (await joining.RunAsync(stop.Token) is not JoinOutcome.Refused refused)
            return true;
        Fail($"{refused.Code}: {refused.Message} {refused.Remedy}");
    }
    catch (OperationCanceledException) when (stop.IsCancellationRequested)
    {
        Fail("told to stop before it had joined");
    }
    return false;
}

async Task<int> CheckAsync()
{
    if (Refused(options.LocalProblems()))
        return 2;
    var node = await NodeChecks.RunAsync(options, CancellationToken.None);
    var (images, problems) = new ImageCatalogue(options.ImagesDirectory).Scan(TimeProvider.System.GetUtcNow(), waits: true);
    var facts = node.ToFacts(options, problems, HugePageScan.Read(HostTree.Machine));
    Print($"host        {facts.OperatingSystem}, kernel {facts.Kernel}, {facts.Architecture}, {facts.HostCpus} CPUs ({facts.CpuModel}), {facts.HostMemoryMib} MiB");
    Print($"vmm         {facts.VmmVersion ?? "no QEMU"}, {(facts.KvmtoolVersion is { } kvmtool ? $"kvmtool {kvmtool}" : "no kvmtool")}");
    Print($"guests run  by {facts.Acceleration}: {facts.AccelerationReason}");
    Print($"origin      {(node.Hardware.Origin == Origin.Hardware ? "Hardware" : "Emulated: this host is a virtual machine")}");
    Print($"offers      {facts.VcpuCapacity} vCPUs, {facts.MemoryCapacityMib} MiB, viommu {string.Join(", ", facts.Viommus)}");
    Print($"isolation   own user: {(facts.OwnUidPerVm ? "yes" : "no")}, own cgroup: {(facts.CgroupPerVm ? "yes" : "no")}, limits: {facts.CgroupLimitsReason ?? "yes"}");
    foreach (var image in images)
        Print($"image       {image.Manifest.Name} {image.Digest} kernel {image.Manifest.KernelVersion}");
    foreach (var pool in (facts.HugePages ?? []).Where(pool => pool.Total is null))
        Print($"huge pages  {(pool.NumaNode is { } numa ? $"node {numa}, " : "")}of {pool.SizeKib} KiB unknown: {pool.NullReason}");
    foreach (var line in ReadinessTable.Lines(InventoryReport.Of(node.Hardware, node.Qemu, TimeProvider.System.GetUtcNow())))
        Print(line);
    foreach (var line in OfferedTable.Lines(options.Passthrough, options.EmulatedDevices, node.Hardware, HostUseScan.Read(HostTree.Machine)))
        Print(line);
    foreach (var problem in facts.Problems)
        Print($"problem     {problem.Reason}: {problem.Message} {problem.Remedy}");
    var canRun = facts.CanRun(images.Count);
    if (!node.Cgroups.WasThere)
        node.Cgroups.RemoveParent();
    Print($"sandboxes   {(canRun ? "can run here" : "cannot run here")}");
    return canRun ? 0 : 1;
}

async Task<int> EndAllAsync(string directory, Func<VmManager, TimeSpan, Task<bool>> endAll)
{
    options.StateDirectory = directory;
    if (!Path.IsPathFullyQualified(directory))
        return Fail("--state-directory must be an absolute path");
    if (!Directory.Exists(options.RuntimeRoot))
        return 0;
    using var stateLock = await StateLock.TakeAsync(directory, TimeSpan.FromSeconds(10));
    if (stateLock is null)
        return Fail("a worker still uses this state directory; stop it first");
    // Nothing is started, so QEMU need not be asked what it can do.
    var node = new NodeCapabilities(
        HostFacts.Read(), HardwareInventory.None, QemuFacts.None, Acceleration.Tcg, "", LibC.EffectiveUser() == 0, CgroupTree.Open(NodeChecks.NodeName(directory)), []);
    using var logging = LoggerFactory.Create(ConfigureLogging);
    var devices = NewDevices(options, node, logging.CreateLogger("Worker.Hardware"));
    var log = logging.CreateLogger("Worker.Vms");
    await using var manager = NewManager(options, node, new ImageCatalogue(Path.Combine(directory, "none")), null, devices, new KernelTrace(null, directory, TracePlan.Nothing, TimeProvider.System, log), log);
    manager.Start();
    // Every step of a cleaning has its own limit, and a controller may take ten minutes for each format.
    if (!await endAll(manager, devices.HoldsFunctions ? TimeSpan.FromMinutes(15) : TimeSpan.FromSeconds(20)))
        return Fail("not every VM could be ended and cleaned");
    if (TraceFiles.Mounted() is not null)
        await KernelTrace.RemoveLeftAsync(WorkerProgram.Own, directory, TimeSpan.FromSeconds(10));
    node.Cgroups.RemoveParent();
    return 0;
}

// Where guests are under KVM, or may have functions of the host, there is something to trace.
static KernelTrace NewTrace(WorkerOptions options, NodeCapabilities node, ILogger log) => new(
    node.Acceleration == Acceleration.Kvm || options.Passthrough.Count > 0 ? WorkerProgram.Own : null, options.StateDirectory, HostTracePlan.For(node.Hardware.Kernel.Version, HostTracePlan.KnowsThreads), TimeProvider.System, log);

static VmManager NewManager(WorkerOptions options, NodeCapabilities node, ImageCatalogue images, ImageCache? cache, NodeDevices devices, KernelTrace trace, ILogger log)
{
    var tracing = new HostTracing(new HostSmmuEvents("/dev/kmsg", node.Hardware.Kernel, TimeProvider.System, log), trace, TimeProvider.System, log);
    var hostFaults = new HostFaults(HostTree.Machine, tracing, node.Hardware.Origin, TimeProvider.System, log);
    var kvmtool = new KvmtoolHost(
        node.Kvmtool, node.Acceleration, RuntimeInformation.OSArchitecture, node.KvmGroup, address => PciResources.Read(HostTree.Machine, address));
    var vmm = new VmmChoice(new Dictionary<Vmm, IVmm>
    {
        [Vmm.Qemu] = new QemuVmm(node, images, hostFaults, options.TraceTlb, TimeProvider.System, log),
        [Vmm.Kvmtool] = new KvmtoolVmm(kvmtool, images, hostFaults, TimeProvider.System, log),
        [Vmm.Simulated] = new SimulatedVmm(new ProcessSimulator(WorkerProgram.Own), TimeProvider.System, log),
    });
    var manager = new VmManager(options.RuntimeRoot, new VmSurroundings(
        vmm, devices, new UserIds(node.OwnUserPerVm, options.FirstUser ?? UserIds.FirstOf(options.StateDirectory), options.UserCount), node.Cgroups,
        node.Host.BootId, TimeProvider.System, log, cache));
    if (cache is not null)
        cache.InUse = manager.ImagesInUse;
    return manager;
}

static NodeDevices NewDevices(WorkerOptions options, NodeCapabilities node, ILogger log) => new(
    new EmulatedDevices(options.EmulatedDevices, options.ScratchDiskMib),
    new AssignedDevices(options.Passthrough, HostTree.Machine, new KernelHost(HostTree.Machine, TimeProvider.System), node.Hardware, node.Qemu, options.StateDirectory, TimeProvider.System, log),
    node.Qemu, node.Acceleration, device => node.KvmtoolVersion is not null && FitsKvmtool(device));

static bool FitsKvmtool(string device) => PciAddress.TryParse(device, out var address) && HostTree.Machine.Exists("dev/vfio/vfio")
    && PciResources.Read(HostTree.Machine, address) is { } bars && KvmtoolBarWindow.Problem([(device, bars)]) is null;

static void ConfigureLogging(ILoggingBuilder logging)
{
    logging.SetMinimumLevel(LogLevel.Information).AddFilter("Microsoft", LogLevel.Warning);
    logging.AddSimpleConsole(console =>
    {
        console.SingleLine = true;
        console.ColorBehavior = LoggerColorBehavior.Disabled;
        console.TimestampFormat = "yyyy-MM-ddTHH:mm:ss.fffZ ";
        console.UseUtcTimestamp = true;
    });
}

static bool Refused(IEnumerable<string> problems)
{
    var all = problems.ToList();
    all.ForEach(problem => Fail(problem));
    return all.Count > 0;
}

static int Fail(string problem)
{
    System.Console.Error.WriteLine($"worker: {problem}");
    return 1;
}

static void Print(string line) => System.Console.WriteLine(line);

static int PrintReasons()
{
    Print(ReasonsDocument.Markdown());
    return 0;
}

static int PrintMetrics()
{
    Print(MetricsDocument.Markdown());
    return 0;
}

static int Usage()
{
    Fail("usage: Sandbox.Worker [check | health | reasons | metrics | fleet --nodes N --admin-key-file FILE | shut-down --state-directory DIR | destroy-all --state-directory DIR]");
    return 2;
}
