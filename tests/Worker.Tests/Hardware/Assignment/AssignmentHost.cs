using Contracts;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Worker.Checks;
using Worker.Hardware;
using Worker.Hardware.Assignment;

namespace Worker.Tests.Hardware.Assignment;

/// <summary>A host with a display controller that shares its IOMMU group with its audio function, and an NVMe controller; a played kernel;
/// a state directory that workers come to one after the other.</summary>
internal sealed class AssignmentHost : IDisposable
{
    public const string Gpu = "0009:01:00.0", Audio = "0009:01:00.1", Nvme = "0005:01:00.0";
    public const string Smmu = "smmu3.0x0000000011000000";
    public const uint User = 70_001;
    public static readonly SmmuHardware Told = new(16, 32, 48, 1, true, 20, 0x43B, 0x487);
    public static readonly QemuFacts Qemu = QemuFacts.None with { Version = "11.1.3", VfioProperties = new HashSet<string> { "host", "iommufd" } };
    /// <summary>A slow machine's look at these files is none that hangs.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(1);
    private readonly TemporaryDirectory _state = new();

    public AssignmentHost()
    {
        Files = Storage(Display(new FixtureTree().Smmu(Smmu, "arm-smmu-v3.0.auto", Machines.AllFeatures)));
        foreach (var driver in (string[])["vfio-pci", "nvme", "nouveau", "snd_hda_intel"])
            Files.Text($"sys/bus/pci/drivers/{driver}/uevent", "");
        Files.Text("dev/iommu", "").Text("dev/vfio/vfio", "");
        Kernel = new FakeHost(Files.Tree) { NaturalDrivers = { [Gpu] = "nouveau", [Audio] = "snd_hda_intel", [Nvme] = "nvme" }, Smmu = Told };
    }

    public FixtureTree Files { get; }
    public FakeHost Kernel { get; }
    public FakeTimeProvider Time { get; } = new(new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero));
    public string StateDirectory => _state.FullPath;

    public static FixtureTree Display(FixtureTree files) => files
        .Function(Gpu, 0x10DE2342, 0x030200, new ConfigBytes(0x10DE2342).Express().Ats().Pasid(20).Build(), group: 9, iommu: Smmu, driver: "nouveau")
        .Function(Audio, 0x10DE22BC, 0x040300, new ConfigBytes(0x10DE22BC).Express().Build(), group: 9, iommu: Smmu, driver: "snd_hda_intel");

    public static FixtureTree Storage(FixtureTree files) =>
        files.Function(Nvme, 0x144DA80A, 0x010802, new ConfigBytes(0x144DA80A).Express().Build(), group: 12, iommu: Smmu, driver: "nvme");

    public static PassthroughOptions Rule(string address, bool giveBack = false) => new() { Address = address, Class = "acc", GiveBackDriver = giveBack };

    /// <summary>A worker as it starts: nothing in its memory.</summary>
    public AssignedDevices Worker(params PassthroughOptions[] rules) =>
        new(rules, Files.Tree, Kernel, Files.Scan(), Qemu, StateDirectory, Time, NullLogger.Instance) { LookLimit = Patience, FreshLimit = Patience };

    public AssignedDevices Worker(params string[] addresses) => Worker([.. addresses.Select(address => Rule(address))]);

    /// <summary>As it was made, without making its files anew.</summary>
    public void Anew()
    {
        Kernel.Reboot();
        Kernel.Done.Clear();
        foreach (var address in (string[])[Gpu, Audio, Nvme])
            Files.Text($"sys/bus/pci/devices/{address}/reset_method", "flr bus");
        if (Directory.Exists(System.IO.Path.Combine(StateDirectory, "devices")))
            Directory.Delete(System.IO.Path.Combine(StateDirectory, "devices"), recursive: true);
    }

    /// <summary>A guest of before, on the bus and with data on the disk.</summary>
    public void Tenant(string address)
    {
        Kernel.Done.Add($"tenant {address}");
        Master(address);
    }

    public void Master(string address)
    {
        var path = Path(ConfigOf(address));
        var config = File.ReadAllBytes(path);
        config[4] |= 4;
        File.WriteAllBytes(path, config);
    }

    public string Path(string name) => System.IO.Path.Combine(Files.Tree.Root, name);

    public string LedgerOf(string address) => System.IO.Path.Combine(StateDirectory, "devices", address + ".json");

    public static string ConfigOf(string address) => $"sys/bus/pci/devices/{address}/config";

    /// <summary>Past the time for which one look at the host is enough.</summary>
    public void Later() => Time.Advance(TimeSpan.FromSeconds(11));

    public static Failure? QuarantineOf(AssignedDevices worker, string address) => worker.Views().Single(v => v.Device.Address == address).Quarantine;

    public void Dispose()
    {
        Files.Dispose();
        _state.Dispose();
    }
}
