namespace Worker.Hardware;

// Pure but for reading: whether the host is itself a virtual machine. What it shows as PCI functions and SMMU is then another VMM's model,
// and must not be told as hardware. Evidence only: a hypervisor that hides cannot be seen.
public static class VirtualHost
{
    private static readonly string[] Vendors = ["QEMU", "KVM", "Bochs", "VMware", "innotek", "Xen", "Parallels", "BHYVE", "OpenStack", "KubeVirt", "Apple Virtualization"];
    private static readonly string[] Products = ["Virtual Machine", "KVM", "Google Compute Engine", "OpenStack", "HVM domU"];

    public static bool Is(HostTree tree) =>
        // The devicetree of QEMU's virt machine and of kvmtool; CPUID's hypervisor bit on x86; SMBIOS (type 1) elsewhere.
        tree.Text("sys/firmware/devicetree/base/compatible")?.Contains("dummy-virt", StringComparison.Ordinal) == true
        || tree.Exists("sys/firmware/devicetree/base/hypervisor")
        || tree.Text("proc/cpuinfo", 1 << 16)?.Split('\n').FirstOrDefault(line => line.StartsWith("flags", StringComparison.Ordinal))?.Split(' ').Contains("hypervisor") == true
        || tree.Text("sys/class/dmi/id/sys_vendor") is { } vendor && (Vendors.Any(known => vendor.StartsWith(known, StringComparison.Ordinal))
            // Amazon's machines without a hypervisor say so in their name.
            || vendor == "Amazon EC2" && tree.Text("sys/class/dmi/id/product_name")?.Contains("metal", StringComparison.Ordinal) != true)
        || tree.Text("sys/class/dmi/id/product_name") is { } product && Products.Any(known => product.Contains(known, StringComparison.Ordinal));
}
