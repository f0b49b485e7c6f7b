using System.Globalization;
using Contracts;
using Worker.Hardware;
using Worker.Hardware.Pci;

namespace Worker.Faults;

/// <summary>Counts by source; null where nobody tells one.</summary>
internal sealed record SourceCounts(IReadOnlyDictionary<string, SourceCount> BySource)
{
    public static readonly SourceCounts None = new(new Dictionary<string, SourceCount>());

    public SourceCount? Of(string source) => BySource.GetValueOrDefault(source);
}

/// <summary>One of them: a value, or the reason why there is none.</summary>
internal sealed record SourceCount(long? Value, bool LowerBound, string? Reason);

// PCI Express errors that the sandbox's functions have told their root ports, as the kernel counts them (Documentation/ABI/testing/sysfs-bus-pci-devices-aer), from the tenancy's start.
// Guarantees: sysfs, which may block, is read beside the sampler; a function that tells nothing makes the sum of the others a lower bound.
// Assumes: the kernel's counts begin when a function is probed, so one that went back was probed again. On a crash: the next worker goes on from the stored counts.
internal sealed class AerFaults(RepeatedLook<SourceCounts>? look, Origin host) : IFaultCollector
{
    private static readonly string[] Sources = [FaultSource.PciCorrectable, FaultSource.PciNonFatal, FaultSource.PciFatal];

    public IEnumerable<SourceReading> Read(DateTimeOffset now) => Of(look is not null, look?.Latest, host);

    // seen: Null when there was no answer yet, or none for too long.
    internal static IEnumerable<SourceReading> Of(bool assigned, SourceCounts? seen, Origin host) => Sources.Select(source => Reading.Of(
        source, seen?.Of(source)?.Value, assigned ? seen is null ? NullReasons.HostSilent : seen.Of(source)?.Reason : NullReasons.NoAssignedDevice, NullReasons.NoAer, host, seen?.Of(source)?.LowerBound == true));
}

/// <summary>One sandbox's share of these errors. For one reader.</summary>
internal sealed class AerCounter(HostTree tree, IReadOnlyList<PciAddress> functions, KeptTallies tallies)
{
    private const int MaxBytes = 8192;
    private static readonly (string Source, string File, string Line)[] Kinds =
    [
        (FaultSource.PciCorrectable, "aer_dev_correctable", "TOTAL_ERR_COR"),
        (FaultSource.PciNonFatal, "aer_dev_nonfatal", "TOTAL_ERR_NONFATAL"),
        (FaultSource.PciFatal, "aer_dev_fatal", "TOTAL_ERR_FATAL"),
    ];

    public SourceCounts Look()
    {
        var counts = Kinds.ToDictionary(kind => kind.Source, kind => Sum(kind.File, kind.Line));
        tallies.Store();
        return new SourceCounts(counts);
    }

    private SourceCount Sum(string file, string line)
    {
        var (sum, known, whole) = (0L, 0, true);
        foreach (var function in functions)
        {
            var tally = tallies.Count($"{function}/{file}", Total(tree.Text($"{PciScan.Directory}/{function}/{file}", MaxBytes), line));
            whole &= tally is { LowerBound: false };
            if (tally is not null)
                (sum, known) = (Tally.Plus(sum, tally.Value), known + 1);
        }
        return known == 0 ? new SourceCount(null, false, NullReasons.NoAer) : new SourceCount(sum, !whole, null);
    }

    /// <summary>The number in a line <c>TOTAL_ERR_COR 2</c>; null when there is no such line, or more than one.</summary>
    internal static long? Total(string? text, string line) =>
        text?.Split('\n').Where(l => l.StartsWith(line + " ", StringComparison.Ordinal)).ToList() is [var only] && long.TryParse(only.AsSpan(line.Length + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var total) ? total : null;
}
