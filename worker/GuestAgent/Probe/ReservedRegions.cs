namespace GuestAgent.Probe;

/// <summary>Pure: the file <c>reserved_regions</c> of an IOMMU group, a line of start, end and kind for each (Documentation/ABI/testing/sysfs-kernel-iommu_groups).</summary>
internal static class ReservedRegions
{
    /// <summary>The first that the firmware demands to be mapped 1:1, which the kernel lets no user space do; relaxable ones do not count. Null when there is none.</summary>
    public static string? FirstDirect(string text)
    {
        foreach (var line in text.Split('\n'))
            if (line.Split(' ', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries) is [var start, var end, "direct"])
                return $"{start} to {end}";
        return null;
    }
}
