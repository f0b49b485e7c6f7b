using System.Globalization;
using System.Text.RegularExpressions;

namespace Worker.Hardware;

/// <summary>What the arm-smmu-v3 driver found usable after its errata handling: the bits of its line in the kernel's log (arm-smmu-v3.h).</summary>
[Flags]
public enum SmmuFeatures : uint
{
    None = 0,
    Pri = 1 << 4,
    Ats = 1 << 5,
    Coherency = 1 << 8,
    Stage1 = 1 << 9,
    Stage2 = 1 << 10,
    Stalls = 1 << 11,
    StallForce = 1 << 13,
    RangeInvalidation = 1 << 15,
    Sva = 1 << 17,
    Nesting = 1 << 19,
    S2Fwb = 1 << 23,
}

/// <summary>One SMMUv3, or another IOMMU when <c>IsSmmuV3</c> is false. <c>Name</c> is that of /sys/class/iommu, such as smmu3.0x0000000009050000,
/// <c>PlatformDevice</c> that of the kernel's log. <c>Features</c> and <c>OutputBits</c> are null when the log no longer has the line or may not be read.</summary>
public sealed record SmmuInstance(string Name, bool IsSmmuV3, string? PlatformDevice, int Clients, SmmuFeatures? Features, int? OutputBits)
{
    public bool? Has(SmmuFeatures feature) => Features is { } known ? (known & feature) == feature : null;
}

public static partial class SmmuScan
{
    private const string Directory = "sys/class/iommu";

    // Linux up to 6.18 writes "ias N-bit, oas N-bit", 7.3 only the second.
    [GeneratedRegex(@"arm-smmu-v3 (?<device>\S{1,64}): (?:ias (?<ias>\d{1,3})-bit, )?oas (?<oas>\d{1,3})-bit \(features 0x(?<features>[0-9a-f]{1,8})\)")]
    private static partial Regex FeatureLine { get; }

    public static IReadOnlyList<SmmuInstance> Read(HostTree tree, string? kernelLog)
    {
        // A driver that was bound again has written again: the last line counts.
        var lines = FeatureLine.Matches(kernelLog ?? "").ToLookup(line => line.Groups["device"].Value);
        return [.. tree.Names(Directory).Select(name => Describe(tree, name, lines))];
    }

    private static SmmuInstance Describe(HostTree tree, string name, ILookup<string, Match> lines)
    {
        var device = tree.LinkName($"{Directory}/{name}/device");
        var line = device is null ? null : lines[device].LastOrDefault();
        return new SmmuInstance(
            name, name.StartsWith("smmu3.", StringComparison.Ordinal), device, tree.Names($"{Directory}/{name}/devices").Count,
            line is null ? null : (SmmuFeatures)uint.Parse(line.Groups["features"].Value, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture),
            line is null ? null : int.Parse(line.Groups["oas"].Value, CultureInfo.InvariantCulture));
    }
}
