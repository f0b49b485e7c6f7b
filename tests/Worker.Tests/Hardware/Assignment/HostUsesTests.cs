using Worker.Hardware;
using Worker.Hardware.Assignment;
using Worker.Hardware.Pci;
using Xunit;

namespace Worker.Tests.Hardware.Assignment;

/// <summary>The host's own disks and interfaces, and that their functions, or those beside them in a group, are not given away.</summary>
public sealed class HostUsesTests
{
    private const string Nvme = AssignmentHost.Nvme, Controller = $"sys/devices/pci0005:00/0005:00:00.0/{Nvme}/nvme/nvme0";
    private const string Disk = $"{Controller}/nvme0n1", Virtual = "sys/devices/virtual";

    /// <summary>A block device as the kernel shows it: its directory, and a link to that among all of them.</summary>
    private static FixtureTree Block(FixtureTree host, string directory, string number) =>
        host.Text($"{directory}/dev", number).Link($"sys/class/block/{Path.GetFileName(directory)}", $"../../{directory["sys/".Length..]}");

    private static FixtureTree Disks(FixtureTree host) => Block(Block(host, Disk, "259:0"), $"{Disk}/nvme0n1p2", "259:2");

    private static FixtureTree Mounted(FixtureTree host, string number, string source = "/dev/x") =>
        host.Text("proc/self/mountinfo", $"22 1 0:20 / /sys rw - sysfs sysfs rw\n36 35 {number} / /data rw,noatime - ext4 {source} rw").Text("proc/mounts", $"sysfs /sys sysfs rw 0 0\n{source} /data ext4 rw 0 0");

    private static FixtureTree Mapper(FixtureTree host, string below, string name = "dm-0", string number = "253:0") =>
        Block(host, $"{Virtual}/block/{name}", number).Text($"{Virtual}/block/{name}/slaves/{below}/dev", "");

    private static FixtureTree Subsystem(FixtureTree host) => Block(host, $"{Virtual}/nvme-subsystem/nvme-subsys3/nvme3n1", "259:7")
        .Link("sys/class/nvme-subsystem/nvme-subsys3", "../../devices/virtual/nvme-subsystem/nvme-subsys3").Text($"{Virtual}/nvme-subsystem/nvme-subsys3/nvme0/state", "live")
        .Link("sys/class/nvme/nvme0", $"../../{Controller["sys/".Length..]}");

    private static FixtureTree Interface(FixtureTree host, string address, string flags) =>
        host.Text($"sys/devices/pci0009:00/{address}/net/eth7/flags", flags).Link("sys/class/net/eth7", $"../../devices/pci0009:00/{address}/net/eth7");

    private static readonly Dictionary<string, (string Device, Func<FixtureTree, FixtureTree> Use, string? Reason)> Cases = new()
    {
        ["disk that nothing uses"] = (Nvme, Disks, null),
        ["disk mounted"] = (Nvme, h => Mounted(Disks(h), "259:0"), "StorageInUse"),
        ["partition mounted"] = (Nvme, h => Mounted(Disks(h), "259:2"), "StorageInUse"),
        ["another disk mounted"] = (Nvme, h => Mounted(Disks(h), "259:9", "/dev/nvme9n1"), null),
        ["partition mounted under an anonymous number (btrfs)"] = (Nvme, h => Mounted(Disks(h), "0:45", "/dev/nvme0n1p2"), "StorageInUse"),
        ["swap"] = (Nvme, h => Disks(h).Text("proc/swaps", "Filename\t\t\t\tType\t\tSize\n/dev/nvme0n1p2                          partition\t1000"), "StorageInUse"),
        ["swap elsewhere"] = (Nvme, h => Disks(h).Text("proc/swaps", "Filename\t\t\t\tType\t\tSize\n/dev/nvme9n1                          partition\t1000"), null),
        ["something is built on a partition"] = (Nvme, h => Disks(h).Text($"{Disk}/nvme0n1p2/holders/md0/dev", ""), "StorageInUse"),
        ["a mapped disk is mounted"] = (Nvme, h => Mounted(Mapper(Disks(h), "nvme0n1p2"), "253:0"), "StorageInUse"),
        ["a mapped disk over a mapped one is mounted"] = (Nvme, h => Mounted(Mapper(Mapper(Disks(h), "nvme0n1p2"), "dm-0", "dm-1", "253:1"), "253:1"), "StorageInUse"),
        ["a mapped disk that is used by nobody"] = (Nvme, h => Mapper(Disks(h), "nvme0n1p2"), null),
        ["mapped disks in a circle are mounted"] = (Nvme, h => Mounted(Mapper(Mapper(Disks(h), "dm-1"), "dm-0", "dm-1", "253:1"), "253:1"), null),
        ["several paths, mounted"] = (Nvme, h => Mounted(Subsystem(h), "259:7"), "StorageInUse"),
        ["several paths, unused"] = (Nvme, Subsystem, null),
        ["interface up"] = (AssignmentHost.Gpu, h => Interface(h, AssignmentHost.Gpu, "0x1003"), "NetworkInUse"),
        ["interface down"] = (AssignmentHost.Gpu, h => Interface(h, AssignmentHost.Gpu, "0x1002"), null),
        ["interface of the neighbour up"] = (AssignmentHost.Gpu, h => Interface(h, AssignmentHost.Audio, "0x1003"), "NetworkInUse"),
        ["interface of another group up"] = (Nvme, h => Interface(h, AssignmentHost.Audio, "0x1003"), null),
        ["disk whose path is a trick"] = (Nvme, h => Mounted(h.Text("sys/devices/odd/dev", "259:0").Link("sys/class/block/nvme0n1", $"../../devices/odd/../{Nvme}\n/.."), "259:0"), null),
    };

    public static TheoryData<string> CaseNames => [.. Cases.Keys];

    [Theory]
    [MemberData(nameof(CaseNames))]
    public void Offer_OfEachUse_GivesThisReason(string name)
    {
        var (device, use, reason) = Cases[name];
        using var host = use(AssignmentHost.Storage(AssignmentHost.Display(new FixtureTree())));
        var offered = Assert.Single(AssignmentRules.Offer([AssignmentHost.Rule(device)], host.Scan(), HostUseScan.Read(host.Tree)));
        Assert.Equal(reason, offered.Refusal?.Reason);
    }

    [Fact]
    public void Read_WhenBehindABridge_NamesTheFunctionAndNotTheBridge()
    {
        using var host = Mounted(Disks(new FixtureTree()), "259:2");
        var (function, disk) = Assert.Single(HostUseScan.Read(host.Tree).Storage);
        Assert.Equal((Nvme, "nvme0n1p2"), (function.ToString(), disk));
    }

    [Fact]
    public void Read_OfAnEmptyMachine_FindsNothing()
    {
        using var host = new FixtureTree();
        var uses = HostUseScan.Read(host.Tree);
        Assert.Empty(uses.Storage);
        Assert.Empty(uses.Network);
    }
}
