using System.Globalization;

namespace GuestAgent.Probe;

/// <summary>One PCI function as sysfs shows it.</summary>
internal sealed record PciFunction(string Address, string VendorId, string DeviceId, uint ClassCode, string Folder)
{
    private const uint BridgeClass = 0x06;

    /// <summary>Part of the machine itself: bridges, the virtio functions that carry the console, the agent and the IOMMU, and the panic device.</summary>
    public bool IsPlatform => ClassCode >> 16 == BridgeClass
        || (VendorId == "1af4" && DeviceId is "1003" or "1005" or "1043" or "1044" or "1057")
        || (VendorId == "1b36" && DeviceId == "0011");
}

internal static class SysfsPci
{
    public const string Root = "/sys/bus/pci";

    public static IReadOnlyList<PciFunction> Functions(string root)
    {
        var devices = Path.Combine(root, "devices");
        if (!Directory.Exists(devices))
            return [];
        var found = new List<PciFunction>();
        foreach (var folder in Directory.GetDirectories(devices).Order(StringComparer.Ordinal))
        {
            var vendor = Hex(Path.Combine(folder, "vendor"));
            var device = Hex(Path.Combine(folder, "device"));
            if (vendor is null || device is null)
                continue;
            found.Add(new(Path.GetFileName(folder), Text(vendor.Value), Text(device.Value), Hex(Path.Combine(folder, "class")) ?? 0, folder));
        }
        return found;
    }

    public static ConfigSpace Capabilities(PciFunction function)
    {
        try
        {
            return ConfigSpace.Parse(File.ReadAllBytes(Path.Combine(function.Folder, "config")));
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return new(null, null, null);
        }
    }

    /// <summary>The number of the function's IOMMU group, null when it has none.</summary>
    public static string? IommuGroup(PciFunction function) => LinkName(Path.Combine(function.Folder, "iommu_group"));

    /// <summary>Null when it cannot be read: then the kernel decides.</summary>
    public static string? ReservedRegions(string group)
    {
        try
        {
            return File.ReadAllText($"/sys/kernel/iommu_groups/{group}/reserved_regions");
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>The driver of the IOMMU that translates for the function, by the device behind sysfs's <c>iommu</c> link.</summary>
    public static string? IommuDriver(PciFunction function) => LinkName(Path.Combine(function.Folder, "iommu", "device", "driver"));

    public static string? Driver(PciFunction function) => LinkName(Path.Combine(function.Folder, "driver"));

    private static string? LinkName(string path)
    {
        try
        {
            return Directory.Exists(path) ? Path.GetFileName(new DirectoryInfo(path).LinkTarget) : null;
        }
        catch (IOException)
        {
            return null;
        }
    }

    private static string Text(uint id) => id.ToString("x4", CultureInfo.InvariantCulture);

    private static uint? Hex(string path)
    {
        try
        {
            var text = File.ReadAllText(path).Trim();
            return text.StartsWith("0x", StringComparison.Ordinal)
                && uint.TryParse(text.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var value)
                ? value
                : null;
        }
        catch (IOException)
        {
            return null;
        }
    }
}
