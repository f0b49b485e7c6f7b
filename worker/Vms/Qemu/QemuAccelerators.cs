using Worker.Hardware.Assignment;

namespace Worker.Vms.Qemu;

// Pure: the part of QEMU's arguments that gives a guest its devices, each behind a root port of its own.
internal static class QemuAccelerators
{
    /// <summary>Bus numbers of the expander bridges: eight of them leave each 28 buses.</summary>
    private const int FirstBus = 16, BusesEach = 28;

    public static IEnumerable<string> Arguments(QemuMachine machine)
    {
        var assigned = machine.Devices.Select(d => d.Assigned).OfType<AssignedFunction>().ToList();
        var line = new List<string>();
        if (assigned.Exists(f => f.Access == VfioAccess.Iommufd))
            line.AddRange(["-object", $"iommufd,id=iommufd0,fd={VmConfinement.OpenDescriptor}"]);
        foreach (var (index, smmu) in machine.Smmus.Index())
        {
            var bus = $"pcie.{index + 1}";
            line.AddRange([
                "-device", $"pxb-pcie,id={bus},bus_nr={FirstBus + (BusesEach * index)},bus=pcie.0",
                "-device", $"arm-smmuv3,primary-bus={bus},id=smmu{index},accel=on,ats={OnOff(smmu.Ats)},ril={OnOff(smmu.RangeInvalidation)},oas={smmu.OutputBits},ssidsize={smmu.SubstreamBits}",
            ]);
        }
        foreach (var (index, device) in machine.Devices.Index())
            Add(line, index, device, machine.Smmus);
        return line;
    }

    private static void Add(List<string> line, int index, HeldDevice device, IReadOnlyList<QemuSmmu> smmus)
    {
        var behind = smmus.Index().Where(s => s.Item.HostSmmu == device.Assigned?.Smmu).Select(s => $"bus=pcie.{s.Index + 1},io-reserve=0,").FirstOrDefault("");
        line.AddRange(["-device", $"pcie-root-port,id=rp{index},{behind}chassis={index + 1}"]);
        switch (device)
        {
            case { Assigned: { } function }:
                line.AddRange(["-device", $"vfio-pci,host={function.Address},id=acc{index},bus=rp{index},rombar=0{(function.Access == VfioAccess.Iommufd ? ",iommufd=iommufd0" : "")}"]);
                break;
            case { Kind: "edu" }:
                line.AddRange(["-device", $"edu,bus=rp{index},dma_mask=0xffffffffffffffff"]);
                break;
            case { Kind: "nvme" }:
                line.AddRange([
                    "-drive", $"if=none,id=disk{index},format=raw,discard=unmap,file={QemuCommandLine.Escape(device.ScratchFile!)}",
                    "-device", $"nvme,bus=rp{index},drive=disk{index},serial={QemuCommandLine.Escape(device.Address)}",
                ]);
                break;
            default:
                throw new ArgumentException($"no device of kind {device.Kind}", nameof(device));
        }
    }

    private static string OnOff(bool on) => on ? "on" : "off";
}
