using Contracts;
using Microsoft.Extensions.Logging;
using Worker.Checks;
using Worker.Console;
using Worker.Faults;
using Worker.Faults.Tracing;
using Worker.Hardware;
using Worker.Hardware.Assignment;
using Worker.Hardware.Pci;
using Worker.Images;

namespace Worker.Vms.Qemu;

// QEMU as the monitor of one process a VM.
internal sealed class QemuVmm(NodeCapabilities node, ImageCatalogue images, HostFaults hostFaults, bool traceTlb, TimeProvider time, ILogger log) : IVmm
{
    public bool Check(SandboxSpec spec)
    {
        if (node.Qemu.Path is null)
            throw new VmStartException(StartReasons.VmmMissing, "It is QEMU.");
        if (node.Acceleration == Acceleration.Tcg && !node.Qemu.Cpus.Contains("neoverse-n1"))
            throw new VmStartException(StartReasons.CpuModelMissing);
        if (spec.Viommu == Viommu.Smmuv3 && spec.Devices.Any(IsAddress) && !spec.Devices.All(IsAddress))
            throw new VmStartException(StartReasons.ModelBesideAcceleratedSmmu);
        if (!NodeChecks.Viommus(node.Qemu).Contains(spec.Viommu))
            throw new VmStartException(StartReasons.ViommuUnsupported, $"It is QEMU, and the IOMMU {spec.Viommu}.");
        _ = HighMmio(spec);
        var image = Image(spec);
        if (image is DiskImage)
            _ = Firmware();
        return image.Manifest.HasAgent;
    }

    public IVm Start(VmLaunch launch, VmTell tell)
    {
        var directory = launch.Directory;
        var image = Image(launch.Spec);
        File.WriteAllText(QemuEventLog.InputOf(directory.EventPipe), QemuCommandLine.EnableEvents);
        File.WriteAllText(QemuEventLog.OutputOf(directory.EventPipe), "");
        if (launch.User is { } user)
            foreach (var file in (string[])[QemuEventLog.InputOf(directory.EventPipe), QemuEventLog.OutputOf(directory.EventPipe)])
                LibC.Own(file, user);
        File.Delete(TraceState(directory));
        var assigned = launch.Devices.Select(d => d.Assigned).OfType<AssignedFunction>().ToList();
        var smmus = launch.Spec.Viommu == Viommu.Smmuv3 ? QemuSmmu.For(assigned) : [];
        var (kernel, disk) = (image as KernelImage, image as DiskImage);
        var firmware = smmus.Count > 0 || disk is not null ? Firmware() : null;
        if (disk is not null)
            CloudInitSeed.For(directory.Id, launch.Incarnation, launch.Name, launch.Spec, image.Manifest.HasAgent).Write(directory, launch.User);
        var memory = Memory(launch.Spec, assigned);
        var arguments = QemuCommandLine.Build(new QemuMachine(
            directory.Id, node.Acceleration, launch.Spec.Vcpus, memory, launch.Spec.Viommu, kernel?.Kernel, kernel?.Initrd,
            kernel?.CommandLine ?? "", directory, launch.Devices, node.Qemu.Has("pvpanic-pci") == true)
        {
            Seccomp = node.HasSeccomp,
            Smmus = smmus,
            Firmware = firmware,
            Disk = disk?.Disk,
            HighMmioBytes = HighMmio(launch.Spec),
        });
        // Before the VMM: whatever its functions do from here on is this guest's.
        var traced = hostFaults.Begin(directory, launch.Spec);
        var process = VmProcess.Start(directory, launch.Cgroup, new VmConfinement(launch.User, node.KvmGroup)
        {
            MemlockKib = GuestMemory.PinnedKib(launch.Spec),
            Cpus = memory.Cpus,
            OpenFile = assigned.Exists(f => f.Access == VfioAccess.Iommufd) ? "/dev/iommu" : null,
            // Where QEMU puts what a guest writes to its disk.
            Environment = new Dictionary<string, string> { ["TMPDIR"] = directory.VmmDirectory },
        }, node.Qemu.Path!, arguments);
        return Supervise(launch, process, image.Manifest.HasAgent, traced, tell, adopted: false);
    }

    public IVm? Adopt(VmLaunch launch, ProcessIdentity? known, VmTell tell)
    {
        if (VmProcess.Find(launch.Directory, launch.Cgroup, known) is not { } process)
            return null;
        // The image may be gone by now; an agent that is there will speak.
        var hasAgent = images.HasAgent(launch.Spec) ?? true;
        return Supervise(launch, process, hasAgent, hostFaults.GoOn(launch.Directory, launch.Spec), tell, adopted: true);
    }

    public EndCause ReadEnd(RuntimeDirectory directory) => QemuEventLog.Read(directory.EventPipe) ?? EndCause.VmmKilled;

    public string ReadLog(RuntimeDirectory directory) => VmProcess.ReadLog(directory);

    public SerialConsole OpenConsole(RuntimeDirectory directory) => new(directory.SerialSocket, directory.ConsoleRing, time, log);

    private QemuVm Supervise(VmLaunch launch, ProcessHandle process, bool hasAgent, VmTracing traced, VmTell tell, bool adopted) =>
        new(launch, process, hasAgent, node.Acceleration, TraceState(launch.Directory), traceTlb, tell, hostFaults, traced, adopted, time, log);

    private static GuestMemory Memory(SandboxSpec spec, List<AssignedFunction> assigned) => assigned.Count == 0 && spec.HugePages == HugePageSize.None
        ? GuestMemory.Plain(spec.MemoryMib)
        : GuestMemory.Of(spec.MemoryMib, spec.HugePages, assigned.Select(f => f.NumaNode).FirstOrDefault(n => n is not null), NumaScan.Read(HostTree.Machine), HugePageScan.Read(HostTree.Machine));

    private static bool IsAddress(string device) => PciAddress.TryParse(device, out _);

    private static string TraceState(RuntimeDirectory directory) => Path.Combine(directory.FullPath, "trace.state");

    private string Firmware() => node.Qemu.Firmware ?? throw new VmStartException(StartReasons.FirmwareMissing);

    private long? HighMmio(SandboxSpec spec) => QemuBarWindow.Size(
        [.. spec.Devices.Select(device => PciAddress.TryParse(device, out var address) ? PciResources.Read(HostTree.Machine, address) : null)], node.Qemu.MachineProperties.Contains("highmem-mmio-size"));

    private VerifiedImage Image(SandboxSpec spec) => images.Find(spec, out var problem)
        ?? throw new VmStartException(problem.Reason, problem.Detail);
}
