using System.Globalization;
using Contracts;
using Worker.Hardware;
using Worker.Hardware.Pci;

namespace Worker.Faults;

/// <summary>One performance monitor (PMCG) of an SMMU as the kernel gives it to perf. <c>Type</c>: its number there; <c>Cpu</c>: the one on which it is counted;
/// <c>Counts</c>: which of our sources it has events for.</summary>
internal sealed record SmmuMonitor(string Name, uint Type, int Cpu, IReadOnlyList<string> Counts);

/// <summary>By what one function's share can be counted. <c>Reason</c>: why it cannot be.</summary>
internal sealed record SmmuMonitoring(IReadOnlyList<SmmuMonitor> Monitors, uint StreamId, string? Reason);

// Finds the monitors of the SMMU in front of a function, and the StreamID to filter by. Guarantees: both are the firmware's word (IORT), checked against the kernel's, and never a guess:
// a host with a device tree has neither. A look-up that misses in two units of one SMMU is counted by both.
// Assumes: the names and formats of Linux's drivers/perf/arm_smmuv3_pmu.c; a monitor with others is left out.
internal static class SmmuMonitors
{
    public const string Directory = "sys/bus/event_source/devices";
    private const string Prefix = "smmuv3_pmcg_";
    private const ulong ExactFilter = 1UL << 33;
    private const int MostMonitors = 128;

    /// <summary>Our sources, with the number and the kernel's name of their event (IHI 0070, 10.4).</summary>
    public static readonly IReadOnlyList<(string Source, uint Event, string Name)> Events =
        [(FaultSource.HostSmmuTlbMisses, 2, "tlb_miss"), (FaultSource.AtsRequests, 6, "pcie_ats_trans_rq"), (FaultSource.AtsHits, 7, "pcie_ats_trans_passed")];

    private static readonly (string Name, string Format)[] Formats = [("event", "config:0-15"), ("filter_stream_id", "config1:0-31"), ("filter_span", "config1:32"), ("filter_enable", "config1:33")];

    /// <summary>config1 that lets one stream pass.</summary>
    public static ulong FilterOf(uint streamId) => ExactFilter | streamId;

    public static SmmuMonitoring For(HostTree tree, PciAddress function)
    {
        var there = tree.Names(Directory).Where(name => name.StartsWith(Prefix, StringComparison.Ordinal)).ToHashSet(StringComparer.Ordinal);
        if (there.Count == 0)
            return new SmmuMonitoring([], 0, NullReasons.NoSmmuPmu);
        if (IortTable.Read(tree) is not { } table || table.StreamOf(function) is not { } stream || tree.LinkName($"{PciScan.Directory}/{function}/iommu") != string.Create(CultureInfo.InvariantCulture, $"smmu3.0x{stream.SmmuBase:x16}"))
            return new SmmuMonitoring([], 0, NullReasons.StreamIdUnknown);
        var own = table.MonitorsOf(stream.SmmuBase).Select(at => string.Create(CultureInfo.InvariantCulture, $"{Prefix}{at >> 12:x}")).Where(there.Contains).Distinct().Take(MostMonitors).ToList();
        return own.Count == 0
            ? new SmmuMonitoring([], stream.StreamId, NullReasons.NoSmmuPmu)
            : new SmmuMonitoring([.. own.Select(name => Describe(tree, name)).OfType<SmmuMonitor>()], stream.StreamId, null);
    }

    private static SmmuMonitor? Describe(HostTree tree, string name)
    {
        var directory = $"{Directory}/{name}";
        if (tree.Number($"{directory}/type") is not (>= 0 and <= uint.MaxValue and var type) || CpuOf(tree.Text($"{directory}/cpumask")) is not { } cpu
            || Formats.Any(format => tree.Text($"{directory}/format/{format.Name}") != format.Format))
            return null;
        return new SmmuMonitor(name, (uint)type, cpu, [.. Events.Where(e => tree.Text($"{directory}/events/{e.Name}") == string.Create(CultureInfo.InvariantCulture, $"event=0x{e.Event:x2}")).Select(e => e.Source)]);
    }

    /// <summary>The first CPU of a list such as <c>4</c> or <c>0-3,8</c>.</summary>
    internal static int? CpuOf(string? list) => int.TryParse(list?.Split('-', ',')[0], NumberStyles.None, CultureInfo.InvariantCulture, out var cpu) ? cpu : null;
}
