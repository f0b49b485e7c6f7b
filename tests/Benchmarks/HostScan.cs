using System.Globalization;
using Microsoft.Extensions.Logging.Abstractions;
using Worker.Checks;
using Worker.Hardware;
using Worker.Hardware.Assignment;
using Worker.Tests.Hardware;

namespace Benchmarks;

/// <summary>What looking at a large host costs: 1,000 functions in 500 groups, four of a bus. The baseline reads the same files and links one after the other
/// and makes nothing of them. The tree lies on a disk and not in sysfs, whose files the kernel makes as they are read: only the ratio is of use.</summary>
internal static class HostScan
{
    private const int Functions = 1000, Rounds = 21;
    private const string Smmu = "smmu3.0x0000000011000000";
    private const uint Id = 0x10DE2342;

    public static Task RunAsync(Report report)
    {
        using var host = Host();
        using var state = new Worker.Tests.TemporaryDirectory();
        var seen = host.Scan();
        if (seen.Functions.Count != Functions)
            throw new InvalidOperationException($"{seen.Functions.Count} functions were seen");
        var rule = new PassthroughOptions { VendorId = "10de", DeviceId = "2342", Class = "gpu" };
        // A new one each time: one look at the host is enough for ten seconds.
        long Offer() => new AssignedDevices([rule], host.Tree, new KernelHost(host.Tree, TimeProvider.System), seen, QemuFacts.None, state.FullPath, TimeProvider.System, NullLogger.Instance).Views().Count;
        var (plain, scan, offer) = (new List<double>(), new List<double>(), new List<double>());
        for (var round = 0; round < Rounds; round++)
        {
            plain.Add(Milliseconds(() => ReadPlainly(host.Tree.Root)));
            scan.Add(Milliseconds(() => HardwareScan.Read(host.Tree, host.Log).Functions.Count));
            offer.Add(Milliseconds(Offer));
        }
        report.Note($"{Functions} functions, all of them offered; medians of {Rounds} rounds that take turns.");
        report.Add("whole inventory", Report.Median(scan), "ms", "the same files, read and forgotten", Report.Median(plain));
        report.Add("what a report looks at", Report.Median(offer), "ms", "the same files, read and forgotten", Report.Median(plain));
        return Task.CompletedTask;
    }

    private static FixtureTree Host()
    {
        var host = new FixtureTree().Smmu(Smmu, "arm-smmu-v3.0.auto", 0x00AA9FBF).Kernel("6.17.0", "IOMMUFD", "VFIO_DEVICE_CDEV", "ARM_SMMU_V3_SVA", "ARM_SMMU_V3_IOMMUFD");
        var config = new ConfigBytes(Id).Express().Aer().Acs().Ats().Pri().Pasid(20).Build();
        for (var number = 0; number < Functions; number++)
        {
            var address = string.Create(CultureInfo.InvariantCulture, $"{number / 512:x4}:{number / 4 % 128:x2}:{number / 2 % 2:x2}.{number % 2}");
            host.Function(address, Id, 0x030200, config, group: number / 2, iommu: Smmu, driver: "vfio-pci").Text($"sys/bus/pci/devices/{address}/revision", "0xa1")
                .Text($"sys/bus/pci/devices/{address}/numa_node", "0").Text($"sys/bus/pci/devices/{address}/driver_override", "vfio-pci");
        }
        return host;
    }

    private static double Milliseconds(Func<long> work)
    {
        var began = TimeProvider.System.GetTimestamp();
        return work() > 0 ? TimeProvider.System.GetElapsedTime(began).TotalMilliseconds : throw new InvalidOperationException("nothing was read");
    }

    private static long ReadPlainly(string directory)
    {
        var bytes = 0L;
        foreach (var entry in new DirectoryInfo(directory).EnumerateFileSystemInfos())
            bytes += entry switch
            {
                { LinkTarget: { } target } => target.Length,
                DirectoryInfo => ReadPlainly(entry.FullName),
                _ => File.ReadAllBytes(entry.FullName).Length,
            };
        return bytes;
    }
}
