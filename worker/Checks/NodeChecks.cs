using Contracts;
using Worker.Hardware;
using Worker.Vms;

namespace Worker.Checks;

/// <summary>What was found out about the node once, at the worker's start.</summary>
public sealed record NodeCapabilities(
    HostFacts Host, HardwareInventory Hardware, QemuFacts Qemu, Acceleration Acceleration, string AccelerationReason, bool OwnUserPerVm, CgroupTree Cgroups,
    IReadOnlyList<Failure> Problems)
{
    /// <summary>The group that a VM's user needs besides its own to open /dev/kvm; null when it needs none.</summary>
    public uint? KvmGroup { get; init; }

    /// <summary>Whether VMMs run under a filter of system calls.</summary>
    public bool HasSeccomp { get; init; } = true;

    public KvmtoolFacts Kvmtool { get; init; } = KvmtoolFacts.None;

    /// <summary>Null where no guest can be started with it.</summary>
    public string? KvmtoolVersion => Kvmtool.UsableVersion(Acceleration == Acceleration.Kvm);

    /// <summary>Whether the node itself is simulated: it can run simulated machines, and nothing else.</summary>
    public bool IsSimulated => Hardware.Origin == Origin.Simulated;

    public bool HasVmm => Qemu.Version is not null || KvmtoolVersion is not null || IsSimulated;
}

// The self checks of a node: what it offers, and what a person should put right, with a remedy each.
public static class NodeChecks
{
    private static readonly string[] NeededDevices = ["virtio-serial-pci", "virtserialport", "virtio-rng-pci", "pcie-root-port"];

    public static async Task<NodeCapabilities> RunAsync(WorkerOptions options, CancellationToken ct)
    {
        var now = TimeProvider.System.GetUtcNow();
        var qemu = await QemuProbe.AskAsync(options.QemuPath, options.FirmwarePath, ct);
        var privileged = LibC.EffectiveUser() == 0;
        var (acceleration, reason, kvmGroup) = AccelerationProbe.Probe(privileged);
        var cgroups = CgroupTree.Open(NodeName(options.StateDirectory));
        var problems = new List<Failure>();
        problems.AddRange(QemuProblems(qemu, acceleration, options.EmulatedDevices, now));
        if (!privileged)
            problems.Add(NodeReasons.NoUserPerVm.ToFailure(now));
        else
            foreach (var directory in (string[])[options.RuntimeRoot, Path.Combine(options.ImagesDirectory, "image")])
                if (BlockingDirectory(directory) is { } blocking)
                    problems.Add(NodeReasons.DirectoryNotTraversable.ToFailure(now, $"It is {blocking}, on the way to {directory}."));
        if (StateDirectoryProblem(options.StateDirectory) is { } unwritable)
            problems.Add(NodeReasons.StateDirectoryUnwritable.ToFailure(now, $"It is {options.StateDirectory}: {unwritable}"));
        if (cgroups.Unavailable is { } why)
            problems.Add(NodeReasons.NoCgroupPerVm.ToFailure(now, $"It is so: {why}."));
        var seccomp = HostFacts.HasSeccomp(HostTree.Machine);
        if (!seccomp)
            problems.Add(NodeReasons.NoSeccomp.ToFailure(now));
        var kernelLog = HardwareScan.KernelLog();
        problems.AddRange(KnownFailures.Count(LogSource.Kernel, kernelLog).Select(found =>
            found.Failure.Reason.ToFailure(now, $"The kernel's log has {found.Lines} such line{(found.Lines == 1 ? "" : "s")}, of those that it keeps.")));
        var hardware = HardwareScan.AskIommufd(HostTree.Machine, HardwareScan.Read(HostTree.Machine, kernelLog));
        return new NodeCapabilities(HostFacts.Read(), hardware, qemu, acceleration, reason, privileged, cgroups, problems)
        {
            KvmGroup = kvmGroup,
            HasSeccomp = seccomp,
            Kvmtool = await KvmtoolProbe.AskAsync(options.KvmtoolPath, ct),
        };
    }

    /// <summary>With the kernel's huge page pools as they are now.</summary>
    public static NodeFacts ToFacts(this NodeCapabilities node, WorkerOptions options, IReadOnlyList<Failure> moreProblems, IReadOnlyList<HugePagePool> hugePages)
    {
        var overcommit = options.VcpuOvercommit ?? (node.Acceleration == Acceleration.Tcg ? 16 : 1);
        var reserveMib = Math.Max(512, node.Host.MemoryMib / 8);
        return new NodeFacts(
            node.Host.Architecture, node.Host.Kernel, node.Host.OperatingSystem, node.Host.CpuModel, node.Host.Cpus, node.Host.MemoryMib,
            !node.HasVmm ? 0 : node.Host.Cpus * overcommit,
            !node.HasVmm ? 0 : options.MemoryCapacityMib ?? Math.Max(0, node.Host.MemoryMib - reserveMib),
            node.Acceleration, node.AccelerationReason, node.Qemu.Version is { } version ? $"QEMU {version}" : null,
            Viommus(node.Qemu), node.OwnUserPerVm, node.Cgroups.Unavailable is null, node.Cgroups.LimitsReason, node.Host.BootId,
            [.. node.Problems, .. moreProblems], node.KvmtoolVersion, node.Hardware.Origin, hugePages, node.Qemu.Version is null ? null : node.Qemu.Firmware is not null, options.ImageCacheMaxBytes);
    }

    /// <summary>Whether a sandbox could run: a VMM that can run arm64 guests, room for one, and an image.</summary>
    public static bool CanRun(this NodeFacts facts, int images) =>
        facts.VcpuCapacity > 0 && (facts.VmmVersion ?? facts.KvmtoolVersion) is not null && images > 0 && !facts.Problems.Any(problem => (problem.Reason == NodeReasons.QemuMissing.Code && facts.KvmtoolVersion is null) || problem.Reason == NodeReasons.CpuModelMissing.Code
            || problem.Reason == NodeReasons.DirectoryNotTraversable.Code || problem.Reason == NodeReasons.StateDirectoryUnwritable.Code);

    public static IReadOnlyList<Viommu> Viommus(QemuFacts qemu) => qemu.Version is null
        ? []
        : qemu.Has("virtio-iommu-pci") == true ? [Viommu.Smmuv3, Viommu.Virtio, Viommu.None] : [Viommu.Smmuv3, Viommu.None];

    /// <summary>The same for every worker of one state directory, and no other's.</summary>
    public static string NodeName(string stateDirectory) =>
        "sandbox-" + Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(System.Text.Encoding.UTF8.GetBytes(Path.GetFullPath(stateDirectory))))[..12];

    internal static IEnumerable<Failure> QemuProblems(QemuFacts qemu, Acceleration acceleration, IReadOnlyList<EmulatedDeviceOptions> devices, DateTimeOffset now)
    {
        if (qemu.Version is null)
        {
            yield return NodeReasons.QemuMissing.ToFailure(now);
            yield break;
        }
        if (acceleration == Acceleration.Tcg && !qemu.Cpus.Contains("neoverse-n1"))
            yield return NodeReasons.CpuModelMissing.ToFailure(now, $"It is QEMU {qemu.Version}.");
        foreach (var model in NeededDevices.Concat(devices.Select(d => d.Kind).Where(kind => kind != EmulatedDeviceOptions.Simulated).Distinct()).Where(model => !qemu.Devices.Contains(model)))
            yield return NodeReasons.DeviceModelMissing.ToFailure(now, $"QEMU {qemu.Version} has no {model}.");
    }

    /// <summary>By an attempt that leaves nothing behind: what a file system takes is told by nothing else.</summary>
    private static string? StateDirectoryProblem(string directory)
    {
        var there = new DirectoryInfo(directory);
        while (there is { Exists: false, Parent: { } parent })
            there = parent;
        try
        {
            var attempt = Path.Combine(there.FullName, $".sandbox-check-{Guid.NewGuid():N}");
            Directory.CreateDirectory(attempt);
            Directory.Delete(attempt);
            return null;
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            return problem.Message;
        }
    }

    private static string? BlockingDirectory(string path)
    {
        for (var folder = new DirectoryInfo(path).Parent; folder is not null; folder = folder.Parent)
            if (folder.Exists && (File.GetUnixFileMode(folder.FullName) & UnixFileMode.OtherExecute) == 0)
                return folder.FullName;
        return null;
    }
}
