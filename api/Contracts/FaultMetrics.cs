namespace Contracts;

/// <summary>What is known of one fault source, for people and for Prometheus.</summary>
/// <param name="Source">One of <see cref="FaultSource"/>.</param>
/// <param name="Name">Of its metric; sources that differ by a label share one.</param>
/// <param name="Help">A sentence.</param>
/// <param name="Labels">That tell it from those that share its name.</param>
/// <param name="ByType">The metric of its parts, labelled <c>type</c>; null where it has none.</param>
/// <param name="Duration">The histogram of its latencies; null where none is measured.</param>
/// <param name="ObservedBy">Where the worker reads it.</param>
/// <param name="Origins">What it can be of, and when.</param>
/// <param name="Cost">Of observing it.</param>
/// <param name="NullReasons">Codes of docs/neoverse-node.md that make it null.</param>
public sealed record FaultMetric(
    string Source, string Name, string Help, IReadOnlyList<(string Name, string Value)> Labels, string? ByType, string? Duration,
    string ObservedBy, string Origins, string Cost, IReadOnlyList<string> NullReasons);

/// <summary>The one table of fault sources, and how samples become metrics. Pure.</summary>
public static class FaultMetrics
{
    private const string ByAcceleration = "hardware under KVM, emulated under TCG; emulated on an emulated host; simulated", OfHost = "hardware; emulated on an emulated host",
        OfSmmu = "emulated; of the host where the SMMU is accelerated; simulated", AgentLine = "one line a second from the guest", NoMeasurableCost = "not measurable",
        TranslationCost = "one line of QEMU's log for each look-up: NVMe reads took 1.3 times as long, so it is off unless Worker__TraceTlb is true";
    private static readonly string[] AgentReasons = ["NoAgentInImage", "NoAgentUnderKvmtool", "GuestNotReady", "AgentSilent", "NotReportedByAgent", "NotSimulated"];
    private const string TheMachine = "the simulated machine, which is asked once a second", Simulated = "simulated", OfItself = "none: what counts is simulated too";
    private static readonly string[] SimulatedReasons = ["NoSmmu", "NotSimulated", "GuestNotReady", "AgentSilent", "NotReportedByAgent"];
    private static readonly string[] VmmReasons = ["VmmGone", "VmmNotConfirmed", "NotSimulated"];
    private static readonly string[] TlbReasons = ["NoSmmu", "TraceOff", "TraceEventMissing", "TraceCostTooHigh", "TraceLogFull", "TlbInHardware", "GuestNotReady", "AgentSilent", "NotReportedByAgent"];

    /// <summary>1 for each source that cannot be observed, with its reason: its metric is then absent, and not 0.</summary>
    public static readonly Metric Unobserved = new("sandbox_fault_source_unobserved", MetricKind.Gauge, "1 for each fault source of a sandbox that cannot be observed now, by reason.");

    public static readonly IReadOnlyList<FaultMetric> All =
    [
        new(FaultSource.GuestMinor, "sandbox_guest_page_faults_total", "Page faults of the guest's CPUs.", [("severity", "minor")], null, null,
            "the guest's agent, /proc/vmstat pgfault without pgmajfault", ByAcceleration, AgentLine, AgentReasons),
        new(FaultSource.GuestMajor, "sandbox_guest_page_faults_total", "Page faults of the guest's CPUs.", [("severity", "major")], null, null,
            "the guest's agent, /proc/vmstat pgmajfault", ByAcceleration, AgentLine, AgentReasons),
        new(FaultSource.VmmMinor, "sandbox_vmm_page_faults_total", "Page faults of the VMM's process, the guest's memory among it.", [("severity", "minor")], null, null,
            "/proc/PID/stat minflt", OfHost, "one read a second", VmmReasons),
        new(FaultSource.VmmMajor, "sandbox_vmm_page_faults_total", "Page faults of the VMM's process, the guest's memory among it.", [("severity", "major")], null, null,
            "/proc/PID/stat majflt", OfHost, "one read a second", VmmReasons),
        new(FaultSource.SmmuEvents, "sandbox_smmu_events_total", "Events of the SMMU that the guest sees.", [], "sandbox_smmu_events_by_type_total", null,
            "QEMU's trace of its SMMU", OfSmmu, NoMeasurableCost, ["NoSmmu", "TraceOff", "TraceEventMissing", "TraceLogFull", "GuestNotReady", "AgentSilent", "NotReportedByAgent"]),
        new(FaultSource.SmmuTlbHits, "sandbox_smmu_tlb_hits_total", "Look-ups that the SMMU's TLB answered.", [], null, null, "QEMU's trace of its SMMU", OfSmmu, TranslationCost, TlbReasons),
        new(FaultSource.SmmuTlbMisses, "sandbox_smmu_tlb_misses_total", "Look-ups that needed a walk.", [], null, null, "QEMU's trace of its SMMU", OfSmmu, TranslationCost, TlbReasons),
        new(FaultSource.HostSmmuEvents, "sandbox_host_smmu_events_total", "Events of the host's SMMU for the sandbox's functions; always a lower bound.", [], "sandbox_host_smmu_events_by_type_total", null,
            "the host's kernel log, which limits its rate", OfHost, "one reader of /dev/kmsg a node", ["NoAssignedDevice", "KernelLogUnreadable", "KernelLogNamesNoDevice"]),
        OfMachine(FaultSource.SmmuEventsLost, "sandbox_smmu_events_lost_total", "Events that found the SMMU's queue full."),
        OfMachine(FaultSource.VirtioIommuEvents, "sandbox_virtio_iommu_events_total", "Fault events of virtio-iommu."),
        OfMachine(FaultSource.IoPageFaults, "sandbox_io_page_faults_total", "Recoverable page faults of devices: groups of page requests, or stalled transactions.") with { Duration = "sandbox_io_page_fault_duration_seconds" },
        Answered(FaultSource.IoPageFaultsSuccess, "success"),
        Answered(FaultSource.IoPageFaultsInvalid, "invalid"),
        Answered(FaultSource.IoPageFaultsFailure, "failure"),
        OfMachine(FaultSource.IoPageRequestsLost, "sandbox_io_page_requests_lost_total", "Page requests that found the PRI queue full."),
        OfMachine(FaultSource.AtsRequests, "sandbox_ats_requests_total", "Translation requests of devices (ATS)."),
        OfMachine(FaultSource.AtsHits, "sandbox_ats_hits_total", "Translation requests that were answered with a translation."),
    ];

    /// <summary>Every metric of the table, with its parts and latencies.</summary>
    public static readonly IReadOnlyList<Metric> Metrics = [.. All.SelectMany(m => (Metric?[])[
        new Metric(m.Name, MetricKind.Counter, m.Help),
        m.ByType is { } byType ? new Metric(byType, MetricKind.Counter, $"{m.Help.TrimEnd('.')}, by type.") : null,
        m.Duration is { } duration ? new Metric(duration, MetricKind.Histogram, $"How long they took: {m.Help}") : null]).OfType<Metric>().DistinctBy(m => m.Name), Unobserved];

    private static readonly Dictionary<string, FaultMetric> BySource = All.ToDictionary(m => m.Source, StringComparer.Ordinal);

    /// <summary>What one reading tells one metric.</summary>
    private readonly record struct Line(string Metric, string Sandbox, FaultMetric Source, SourceReading Reading);

    /// <summary>The latest samples of sandboxes. Each series has the label <c>bound</c>, exact or lower, and its origin.</summary>
    public static void Write(MetricText text, IReadOnlyCollection<FaultSample> samples)
    {
        var lines = samples.SelectMany(LinesOf).ToLookup(line => line.Metric);
        foreach (var metric in Metrics)
        {
            text.Begin(metric);
            foreach (var line in lines[metric.Name])
                Write(text, line);
        }
    }

    /// <summary>The row of a source or, for smmu.events.F_TRANSLATION, of what it is a part of; null of none.</summary>
    public static FaultMetric? SourceOf(string source) =>
        BySource.GetValueOrDefault(source) ?? All.FirstOrDefault(m => m.ByType is not null && source.StartsWith(m.Source + ".", StringComparison.Ordinal));

    private static IEnumerable<Line> LinesOf(FaultSample sample)
    {
        var sandbox = sample.SandboxId.ToString();
        foreach (var reading in sample.Readings)
        {
            if (SourceOf(reading.Source) is not { } source)
                continue;
            var isTotal = reading.Source == source.Source;
            if (reading.NullReason is not null)
                yield return new Line(Unobserved.Name, sandbox, source, reading);
            if (reading.Value is not null && (isTotal ? source.Name : source.ByType) is { } name)
                yield return new Line(name, sandbox, source, reading);
            if (reading.Latency is not null && isTotal && source.Duration is { } duration)
                yield return new Line(duration, sandbox, source, reading);
        }
    }

    private static void Write(MetricText text, Line line)
    {
        var (metric, sandbox, source, reading) = line;
        var (bound, origin) = (("bound", reading.LowerBound ? "lower" : "exact"), ("origin", Lower(reading.Origin)));
        if (metric == Unobserved.Name)
            text.Add(1, ("sandbox", sandbox), ("source", reading.Source), ("reason", reading.NullReason!));
        else if (metric == source.Duration)
            text.Add(reading.Latency!, [("sandbox", sandbox), .. source.Labels, bound, origin]);
        else if (metric == source.ByType)
            text.Add(reading.Value!.Value, ("sandbox", sandbox), ("type", reading.Source[(source.Source.Length + 1)..]), bound, origin);
        else
            text.Add(reading.Value!.Value, [("sandbox", sandbox), .. source.Labels, bound, origin]);
    }

    private static FaultMetric OfMachine(string source, string name, string help) => new(source, name, help, [], null, null, TheMachine, Simulated, OfItself, SimulatedReasons);

    private static FaultMetric Answered(string source, string outcome) =>
        OfMachine(source, "sandbox_io_page_faults_answered_total", "Recoverable page faults of devices that the guest has answered.") with { Labels = [("outcome", outcome)] };

    private static string Lower(Origin origin) => origin switch { Origin.Hardware => "hardware", Origin.Emulated => "emulated", _ => "simulated" };
}
