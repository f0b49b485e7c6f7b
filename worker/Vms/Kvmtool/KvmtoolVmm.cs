using System.Runtime.InteropServices;
using Contracts;
using Microsoft.Extensions.Logging;
using Worker.Checks;
using Worker.Console;
using Worker.Faults;
using Worker.Faults.Tracing;
using Worker.Hardware.Pci;
using Worker.Images;

namespace Worker.Vms.Kvmtool;

/// <summary>What a node has for guests under kvmtool. <c>Bars</c>: the registers of a function, null when they cannot be read.
/// <c>KvmGroup</c>: the group that a VM's user needs besides its own to open /dev/kvm.</summary>
public sealed record KvmtoolHost(
    KvmtoolFacts Kvmtool, Acceleration Acceleration, Architecture Architecture, uint? KvmGroup, Func<PciAddress, IReadOnlyList<PciBar>?> Bars);

// kvmtool (lkvm) as the monitor of one process a VM: arm64 with KVM, no IOMMU and no agent in the guest. What it cannot do is said before it is started,
// because lkvm itself would say it late or not at all.
internal sealed class KvmtoolVmm(KvmtoolHost host, ImageCatalogue images, HostFaults hostFaults, TimeProvider time, ILogger log) : IVmm
{
    /// <summary>Of what an image may name; lkvm keeps 2048 bytes with its own (COMMAND_LINE_SIZE).</summary>
    private const int MaxCommandLine = 1900;

    public bool Check(SandboxSpec spec)
    {
        if (host.Kvmtool.Version is null)
            throw new VmStartException(StartReasons.KvmtoolMissing);
        if (host.Kvmtool.MissingOptions is [_, ..] options)
            throw new VmStartException(StartReasons.KvmtoolTooOld, $"It has no {string.Join(", ", options.Select(option => $"--{option}"))}.");
        if (host.Kvmtool.MissingPrograms is [_, ..] programs)
            throw new VmStartException(StartReasons.LauncherProgramMissing, $"It has no {string.Join(", ", programs)}.");
        if (host.Architecture != Architecture.Arm64 || host.Acceleration != Acceleration.Kvm)
            throw new VmStartException(StartReasons.KvmtoolNeedsKvm);
        if (spec.Viommu != Viommu.None)
            throw new VmStartException(StartReasons.ViommuUnsupported, $"It is kvmtool, and the IOMMU {spec.Viommu}.");
        // Its --hugetlbfs makes files in a mounted hugetlbfs, that every VM's user could then fill.
        if (spec.HugePages != HugePageSize.None)
            throw new VmStartException(StartReasons.HugePagesUnsupported, "It is kvmtool.");
        if (DeviceProblem(spec.Devices) is { } problem)
            throw problem;
        if (Image(spec) is not KernelImage image)
            throw new VmStartException(StartReasons.DiskImageUnsupported);
        if (image.Initrd is null && !host.Kvmtool.Options.Contains("nodefaults"))
            throw new VmStartException(StartReasons.InitrdNeeded);
        if (image.CommandLine.Length > MaxCommandLine)
            throw new VmStartException(StartReasons.CommandLineTooLong, $"It may have {MaxCommandLine} characters.");
        // An agent in the image finds no port to speak through.
        return false;
    }

    /// <summary>Whether kvmtool can assign a function; null when it can.</summary>
    public VmStartException? DeviceProblem(IReadOnlyList<string> devices)
    {
        var functions = new List<(string, IReadOnlyList<PciBar>)>();
        foreach (var device in devices)
        {
            if (!PciAddress.TryParse(device, out var address))
                return new VmStartException(StartReasons.KvmtoolEmulatesNothing, $"It is {device}.");
            if (host.Bars(address) is not { } bars)
                return new VmStartException(StartReasons.BarsUnread, $"It is {device}.");
            functions.Add((device, bars));
        }
        return KvmtoolBarWindow.Problem(functions);
    }

    public IVm Start(VmLaunch launch, VmTell tell)
    {
        var directory = launch.Directory;
        if (KvmtoolLauncher.PathProblem(KvmtoolLauncher.RealPath(directory.VmmDirectory)) is { } problem)
            throw problem;
        var image = Image(launch.Spec) as KernelImage ?? throw new VmStartException(StartReasons.DiskImageUnsupported);
        var line = KvmtoolCommandLine.Build(new KvmtoolMachine(
            launch.Spec.Vcpus, launch.Spec.MemoryMib, image.Kernel, image.Initrd, image.CommandLine, launch.Spec.Devices, host.Kvmtool.Options));
        var traced = hostFaults.Begin(directory, launch.Spec);
        var process = VmProcess.Start(
            directory, launch.Cgroup, new VmConfinement(launch.User, host.KvmGroup) { MemlockKib = GuestMemory.PinnedKib(launch.Spec) }, KvmtoolLauncher.Program, KvmtoolLauncher.Arguments(directory, host.Kvmtool.Path!, line));
        return Supervise(launch, process, traced, tell, adopted: false);
    }

    public IVm? Adopt(VmLaunch launch, ProcessIdentity? known, VmTell tell) =>
        VmProcess.Find(launch.Directory, launch.Cgroup, known) is { } process ? Supervise(launch, process, hostFaults.GoOn(launch.Directory, launch.Spec), tell, adopted: true) : null;

    public EndCause ReadEnd(RuntimeDirectory directory) => KvmtoolEnd.Read(directory);

    public string ReadLog(RuntimeDirectory directory) => VmProcess.ReadLog(directory);

    public SerialConsole OpenConsole(RuntimeDirectory directory) =>
        new(new FollowedConsole(KvmtoolLauncher.ConsoleOutput(directory), KvmtoolLauncher.ConsoleKeys(directory), time), directory.ConsoleRing, time, log);

    private KvmtoolVm Supervise(VmLaunch launch, ProcessHandle process, VmTracing traced, VmTell tell, bool adopted) => new(launch, process, hostFaults, traced, adopted, tell, time, log);

    private VerifiedImage Image(SandboxSpec spec) => images.Find(spec, out var problem)
        ?? throw new VmStartException(problem.Reason, problem.Detail);
}
