using System.Globalization;
using Contracts;
using Worker.Images;

namespace Worker.Vms.Qemu;

/// <summary>One machine for <see cref="QemuCommandLine.Build"/>. <c>Smmus</c>: accelerated ones, each for the assigned devices behind one SMMU of the host;
/// <c>Firmware</c>: UEFI, which gives the guest ACPI; null: the kernel is started with a device tree. <c>Kernel</c>: null where the firmware starts <c>Disk</c>.
/// <c>HighMmioBytes</c>: of the window for 64-bit registers of devices; null: QEMU's default.</summary>
public sealed record QemuMachine(
    Guid Id, Acceleration Acceleration, int Vcpus, GuestMemory Memory, Viommu Viommu, string? Kernel, string? Initrd, string KernelCommandLine,
    RuntimeDirectory Directory, IReadOnlyList<HeldDevice> Devices, bool HasPanicDevice)
{
    public IReadOnlyList<QemuSmmu> Smmus { get; init; } = [];
    public string? Firmware { get; init; }
    public ImageDisk? Disk { get; init; }
    public long? HighMmioBytes { get; init; }
    public bool Seccomp { get; init; } = true;
}

// Pure: a machine to QEMU's arguments, valid for QEMU 7.2 to 11.1.
// However the guest ends, QEMU pauses and stays, so that its state can still be asked for; and it writes its events to a file
// (a second monitor on a "pipe" whose two ends are plain files, the first of which enables it), so that a worker
// that was away can tell a power-off from a panic. Sockets are named from the working directory, the VMM's own: an address has 107 bytes.
public static class QemuCommandLine
{
    public const string EnableEvents = "{\"execute\":\"qmp_capabilities\"}\n";

    public static IReadOnlyList<string> Build(QemuMachine machine)
    {
        var directory = machine.Directory;
        var kvm = machine.Acceleration == Acceleration.Kvm;
        var smmu = machine.Viommu == Viommu.Smmuv3 && machine.Smmus.Count == 0 ? ",iommu=smmuv3" : "";
        var window = machine.HighMmioBytes is { } bytes ? $",highmem-mmio-size={bytes >> 30}G" : "";
        List<string> line =
        [
            "-nodefaults", "-no-user-config", "-display", "none",
            "-name", $"guest=sandbox-{machine.Id:N}",
            .. (machine.Seccomp ? (string[])["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"] : []),
            "-action", "reboot=shutdown,shutdown=pause,panic=pause",
            "-M", $"virt,gic-version=3{smmu},memory-backend=ram{window}",
            "-accel", kvm ? "kvm" : "tcg",
            "-cpu", kvm ? "host" : "neoverse-n1",
            "-smp", machine.Vcpus.ToString(CultureInfo.InvariantCulture),
            "-m", $"{machine.Memory.Mib}M",
            "-object", Memory(machine.Memory),
            "-D", directory.TraceLog,
            "-chardev", $"socket,id=qmp,path={Path.GetFileName(directory.QmpSocket)},server=on,wait=off",
            "-mon", "chardev=qmp,mode=control",
            "-chardev", $"pipe,id=events,path={Escape(directory.EventPipe)}",
            "-mon", "chardev=events,mode=control",
            "-chardev", $"socket,id=serial,path={Path.GetFileName(directory.SerialSocket)},server=on,wait=off",
            "-serial", "chardev:serial",
        ];
        // The accelerated SMMU and expander bridges are told to a guest by ACPI only.
        if (machine.Firmware is { } firmware)
            line.AddRange(["-bios", firmware]);
        if (machine.Kernel is { } kernel)
            line.AddRange(["-kernel", kernel, .. machine.Initrd is { } initrd ? (string[])["-initrd", initrd] : [], "-append", machine.KernelCommandLine]);
        if (machine.Viommu == Viommu.Virtio)
            line.AddRange(["-device", "virtio-iommu-pci"]);
        line.AddRange([
            "-device", "virtio-rng-pci",
            "-device", "virtio-serial-pci",
            "-chardev", $"socket,id=agent,path={Path.GetFileName(directory.AgentSocket)},server=on,wait=off",
            "-device", $"virtserialport,chardev=agent,name={AgentProtocol.PortName}",
        ]);
        if (machine.HasPanicDevice)
            line.AddRange(["-device", "pvpanic-pci"]);
        if (machine.Disk is { } disk)
            line.AddRange(QemuDisk.Arguments(disk));
        line.AddRange(QemuAccelerators.Arguments(machine));
        return line;
    }

    private static string Memory(GuestMemory memory)
    {
        var huge = memory.HugePageKib is { } kib ? $",hugetlb=on,hugetlbsize={kib}K,prealloc=on" : "";
        // Never bound to it: another guest that starts meanwhile may take what was free there.
        var near = memory.NumaNode is { } node ? $",host-nodes={node},policy=preferred" : "";
        return $"memory-backend-memfd,id=ram,size={memory.Mib}M,share=on{huge}{near}";
    }

    /// <summary>In QEMU's option syntax a comma ends a value and two stand for one.</summary>
    internal static string Escape(string value) => value.Replace(",", ",,", StringComparison.Ordinal);
}
