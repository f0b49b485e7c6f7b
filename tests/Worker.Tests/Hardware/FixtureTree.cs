using System.IO.Compression;
using System.Text;
using Worker.Hardware;

namespace Worker.Tests.Hardware;

/// <summary>A machine's /sys, /proc and /dev as plain files, links and bytes below a directory of the test's own.</summary>
internal sealed class FixtureTree : IDisposable
{
    private readonly TemporaryDirectory _root = new();
    private readonly StringBuilder _log = new();

    public HostTree Tree => new(_root.FullPath);

    /// <summary>Null: the log may not be read.</summary>
    public string? Log { get; private set; }

    public HardwareInventory Scan() => HardwareScan.Read(Tree, Log);

    /// <summary>A machine as it was read from a shell inside it (the files of Fixtures, whose heads tell their form).</summary>
    public static FixtureTree Captured(string name)
    {
        var fixture = new FixtureTree();
        foreach (var line in File.ReadLines(Path.Combine(AppContext.BaseDirectory, "Hardware", "Fixtures", name + ".tree")).Where(l => !l.StartsWith('#')))
        {
            var (kind, path, content) = (line[0], line[2..].Split('\t')[0], line.Split('\t').ElementAtOrDefault(1) ?? "");
            switch (kind)
            {
                case 'F': fixture.Text(path, content.Replace("\\n", "\n", StringComparison.Ordinal)); break;
                case 'L': fixture.Link(path, content); break;
                case 'X': fixture.Binary(path, Pad(Convert.FromHexString(content.Split(' ')[1]), int.Parse(content.Split(' ')[0], System.Globalization.CultureInfo.InvariantCulture))); break;
                case 'Z': fixture.Gzip(path, content.Replace("\\n", "\n", StringComparison.Ordinal)); break;
                case 'G': fixture.Says(line[2..]); break;
                default: throw new InvalidDataException(line);
            }
        }
        return fixture;
    }

    public FixtureTree Text(string path, string content) => Binary(path, Encoding.UTF8.GetBytes(content + "\n"));

    public FixtureTree Binary(string path, byte[] content)
    {
        File.WriteAllBytes(Made(path), content);
        return this;
    }

    public FixtureTree Link(string path, string target)
    {
        File.CreateSymbolicLink(Made(path), target);
        return this;
    }

    public FixtureTree Gzip(string path, string content)
    {
        var packed = new MemoryStream();
        using (var gzip = new GZipStream(packed, CompressionLevel.Optimal))
            gzip.Write(Encoding.ASCII.GetBytes(content));
        return Binary(path, packed.ToArray());
    }

    public FixtureTree Says(string line)
    {
        Log = _log.AppendLine(line).ToString();
        return this;
    }

    /// <summary>A function with its group, as the kernel lays both out.</summary>
    public FixtureTree Function(string address, uint id, uint classCode, byte[] config, int? group = null, string? iommu = null, string? driver = null, string? resets = "flr bus", string? physfn = null)
    {
        var path = $"sys/bus/pci/devices/{address}";
        Text($"{path}/vendor", $"0x{id >> 16:x4}").Text($"{path}/device", $"0x{id & 0xFFFF:x4}").Text($"{path}/class", $"0x{classCode:x6}").Binary($"{path}/config", config);
        if (resets is not null)
            Text($"{path}/reset_method", resets);
        if (group is { } number)
            Link($"{path}/iommu_group", $"../../../../kernel/iommu_groups/{number}").Link($"sys/kernel/iommu_groups/{number}/devices/{address}", $"../../../../devices/pci0000:00/{address}")
                .Text($"sys/kernel/iommu_groups/{number}/type", "DMA").Text($"sys/kernel/iommu_groups/{number}/reserved_regions", "0x0000000008000000 0x00000000080fffff msi");
        if (iommu is not null)
            Link($"{path}/iommu", $"../../platform/x/iommu/{iommu}");
        if (driver is not null)
            Link($"{path}/driver", $"../../../bus/pci/drivers/{driver}");
        if (physfn is not null)
            Link($"{path}/physfn", $"../{physfn}");
        return this;
    }

    public FixtureTree Smmu(string name, string platform, uint? features = null)
    {
        Link($"sys/class/iommu/{name}/device", $"../../../platform/{platform}");
        return features is { } bits ? Says($"[    1.000000] arm-smmu-v3 {platform}: ias 48-bit, oas 48-bit (features 0x{bits:x8})") : this;
    }

    public FixtureTree Kernel(string release, params string[] on)
    {
        Text("proc/sys/kernel/osrelease", release);
        return on.Length == 0 ? this : Gzip("proc/config.gz", string.Join('\n', on.Select(option => $"CONFIG_{option}=y")));
    }

    public FixtureTree Cpus(ulong midr, int count)
    {
        for (var cpu = 0; cpu < count; cpu++)
            Text($"sys/devices/system/cpu/cpu{cpu}/regs/identification/midr_el1", $"0x{midr:x16}");
        return this;
    }

    public void Dispose() => _root.Dispose();

    private string Made(string path)
    {
        var full = Path.Combine(_root.FullPath, path);
        Directory.CreateDirectory(Path.GetDirectoryName(full)!);
        return full;
    }

    private static byte[] Pad(byte[] bytes, int length)
    {
        Array.Resize(ref bytes, length);
        return bytes;
    }
}
