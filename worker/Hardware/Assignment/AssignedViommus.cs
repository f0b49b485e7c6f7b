using Contracts;
using Worker.Checks;
using Worker.Hardware.Pci;

namespace Worker.Hardware.Assignment;

// Pure: the IOMMUs that QEMU can put an assigned function behind on this host. An SMMU that is not accelerated takes no assigned device at all.
public static class AssignedViommus
{
    public static IReadOnlyList<Viommu> Of(PciFunction function, HardwareInventory host, QemuFacts qemu, Acceleration acceleration, VfioAccess? access)
    {
        if (qemu.Version is null || function.IommuGroup is null)
            return [];
        var all = new List<Viommu>();
        if (acceleration == Acceleration.Kvm && access != VfioAccess.Container && CanAccelerate(function, host, qemu))
            all.Add(Viommu.Smmuv3);
        if (qemu.Has("virtio-iommu-pci") == true)
            all.Add(Viommu.Virtio);
        all.Add(Viommu.None);
        return all;
    }

    /// <summary>Whether the guest's own stage 1 can lie over the host's stage 2: nesting in SMMU and kernel, iommufd, a QEMU that has it, firmware with ACPI. QEMU wants KVM besides, and the function by iommufd.</summary>
    public static bool CanAccelerate(PciFunction function, HardwareInventory host, QemuFacts qemu) =>
        qemu.Firmware is not null && qemu.SmmuProperties.Contains("accel") && qemu.VfioProperties.Contains("iommufd")
        && host.Kernel.IsOn("IOMMUFD") != false && host.Kernel.IsOn("VFIO_DEVICE_CDEV") != false && host.Kernel.IsOn("ARM_SMMU_V3_IOMMUFD") != false
        && host.Smmus.FirstOrDefault(s => s.Name == function.Iommu) is { IsSmmuV3: true } smmu && smmu.Has(SmmuFeatures.Nesting) == true;
}
