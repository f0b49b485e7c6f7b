namespace Worker.Tests.Hardware;

/// <summary>Hosts put together from what is known of their kind; the emulated node alone was read from a running one (Fixtures).
/// Each has one accelerator, at <see cref="Accelerator"/>.</summary>
internal static class Machines
{
    public const string Accelerator = "0009:01:00.0";
    public const uint AllFeatures = 0x00AA9FBF;
    public const uint NoNesting = AllFeatures & ~(1u << 19);
    private const string Smmu = "smmu3.0x0000000011000000";
    private const uint Gpu = 0x10DE2342, Display = 0x030200, Sec = 0x19E5A255, Crypto = 0x100000, Nvme = 0x144DA80A, Storage = 0x010802;
    public static readonly string[] SvaKernel = ["IOMMUFD", "VFIO_DEVICE_CDEV", "ARM_SMMU_V3_SVA", "ARM_SMMU_V3_IOMMUFD"];

    public static FixtureTree GraceHopper() => new FixtureTree().Cpus(0x410fd4f0, 8).Kernel("6.17.0-1014-nvidia-64k", SvaKernel).Smmu(Smmu, "arm-smmu-v3.5.auto", AllFeatures)
        .Function("0009:00:00.0", 0x10DE22B8, 0x060400, new ConfigBytes(0x10DE22B8).Express().Acs().Build(), group: 8, iommu: Smmu, driver: "pcieport")
        .Function(Accelerator, Gpu, Display, new ConfigBytes(Gpu).Express().Ats().Pri().Pasid(20).Build(), group: 9, iommu: Smmu, driver: "vfio-pci");

    public static FixtureTree Kunpeng() => new FixtureTree().Cpus(0x481fd010, 8).Kernel("6.6.0-72.openeuler", "UACCE", "ARM_SMMU_V3_SVA").Smmu(Smmu, "arm-smmu-v3.2.auto", AllFeatures)
        .Function(Accelerator, Sec, Crypto, new ConfigBytes(Sec).Express().Pasid(16).Build(), group: 4, iommu: Smmu, driver: "hisi_sec2")
        .Text("sys/class/uacce/hisi_sec2-0/flags", "1").Link("sys/class/uacce/hisi_sec2-0/device", $"../../../{Accelerator}");

    public static FixtureTree Altra() => new FixtureTree().Cpus(0x413fd0c1, 8).Kernel("6.12.0-arm64", "KVM").Smmu(Smmu, "arm-smmu-v3.0.auto", NoNesting)
        .Function(Accelerator, Nvme, Storage, new ConfigBytes(Nvme).Express().Aer().Build(), group: 12, iommu: Smmu, driver: "nvme");

    public static FixtureTree GravitonMetal() => new FixtureTree().Cpus(0x411fd401, 8).Kernel("6.12.0-cloud-arm64", "KVM")
        .Function(Accelerator, 0x1D0FCD00, Storage, new ConfigBytes(0x1D0FCD00).Express().Build(), driver: "nvme");

    public static FixtureTree Laptop() => new FixtureTree().Kernel("6.12.0-amd64", "IOMMUFD").Link("sys/class/iommu/dmar0/device", "../../../virtual")
        .Function(Accelerator, Gpu, Display, new ConfigBytes(Gpu).Express().Ats().Pasid(20).Build(), group: 1, iommu: "dmar0", driver: "nouveau");

    /// <summary>Grace-Hopper with one thing wrong.</summary>
    public static FixtureTree GraceHopperWith(byte[]? config = null, string kernel = "6.17.0", string[]? options = null, uint? features = AllFeatures, bool neighbour = false, bool direct = false) =>
        Broken(config ?? new ConfigBytes(Gpu).Express().Ats().Pri().Pasid(20).Build(), kernel, options ?? SvaKernel, features, neighbour, direct);

    public static byte[] GpuConfig(Func<ConfigBytes, ConfigBytes> build) => build(new ConfigBytes(Gpu).Express()).Build();

    private static FixtureTree Broken(byte[] config, string kernel, string[] options, uint? features, bool neighbour, bool direct)
    {
        var machine = new FixtureTree().Kernel(kernel, options).Smmu(Smmu, "arm-smmu-v3.5.auto", features).Function(Accelerator, Gpu, Display, config, group: 9, iommu: Smmu, driver: "vfio-pci");
        if (neighbour)
            machine.Function("0009:01:00.1", 0x10DE22BC, 0x040300, new ConfigBytes(0x10DE22BC).Express().Build(), group: 9, iommu: Smmu, driver: "snd_hda_intel");
        return direct ? machine.Text("sys/kernel/iommu_groups/9/reserved_regions", "0x0000000080000000 0x00000000800fffff direct") : machine;
    }
}
