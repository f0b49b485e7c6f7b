using System.Globalization;
using Worker.Hardware.Pci;

namespace Worker.Faults.Tracing;

// Pure: what is traced on a host, and what its tables say of one sandbox. Offsets were compared with Linux 7.3.4 (drivers/iommu/arm/arm-smmu-v3, include/linux/iommu.h);
// what could be laid out otherwise in another kernel proves itself in each event, or is not set up on that kernel.
internal static class HostTracePlan
{
    public const string SmmuEvents = "smmu_events", PageFaults = "page_faults", Answers = "page_answers", AnswerTimes = "page_times", GuestFaults = "guest_faults";
    private const string HandleEvent = "smmu_event", Raised = "page_raised", Answered = "page_answered";
    /// <summary>The first with arm_smmu_handle_event(smmu, record, decoded event).</summary>
    private static readonly Version DecodesEvents = new(6, 15);
    /// <summary>The first where an answer is a struct iommu_page_response of pasid, grpid, code.</summary>
    private static readonly Version AnswersByGroup = new(6, 9);
    private const int LastPage = 2;

    /// <summary>Whether numbers of threads are here what they are in the kernel: in the first namespace of processes (PROC_PID_INIT_INO, include/linux/proc_ns.h), or
    /// where the kernel has no other (PID_NS), and no link.</summary>
    public static bool KnowsThreads => new FileInfo("/proc/self/ns/pid").LinkTarget is null or "pid:[4026531836]";

    /// <param name="kernel">The running one; null when it cannot be told, and then nothing is set up that depends on it.</param>
    /// <param name="knowsThreads">Whether a thread can be found again by its number.</param>
    public static TracePlan For(Version? kernel, bool knowsThreads = true)
    {
        var (events, pages) = (kernel >= DecodesEvents, kernel >= AnswersByGroup);
        // The device that the driver found for the stream is in the decoded event (offset 40), its name behind its first member. The StreamID stands in the record
        // (IHI 0070, 7.3, bits 63:32) and in the decoded event (offset 8): where their difference is not 0 the kernel's event is laid out otherwise.
        TraceProbe[] handle = [new(HandleEvent, "arm_smmu_handle_event", false,
            [new("dev", "+0(+0(+40($arg3)))", "string"), new("id", "+0($arg2)", "u8"), new("sid", "+4($arg2)", "u32"), new("decoded", "+8($arg3)", "u32")])];
        // iopf_fault: type 0, flags 8, pasid 12, grpid 16. iommu_page_response: pasid 0, grpid 4, code 8.
        TraceProbe[] faults =
        [
            new(Raised, "iommu_report_device_fault", false,
                [new("dev", "$arg1", "x64"), new("name", "+0(+0($arg1))", "string"), new("flags", "+8($arg2)", "u32"), new("grp", "+16($arg2)", "u32")]),
            new(Answered, "arm_smmu_page_response", false,
                [new("dev", "$arg1", "x64"), new("name", "+0(+0($arg1))", "string"), new("grp", "+4($arg3)", "u32"), new("code", "+8($arg3)", "u32")]),
        ];
        var last = new TraceFilter("flags", LastPage);
        return new TracePlan(
            [.. events ? handle : [], .. pages ? faults : []],
            [
                .. events ? [new TraceTable(SmmuEvents, HandleEvent, ["dev", "id", "sid-decoded"], null, 2048)] : Array.Empty<TraceTable>(),
                .. pages ? [new TraceTable(PageFaults, Raised, ["name"], last, 1024), new TraceTable(Answers, Answered, ["name", "code"], null, 2048)] : Array.Empty<TraceTable>(),
                // By thread: as many as run guests' CPUs while one keeper lives.
                .. knowsThreads ? [new TraceTable(GuestFaults, "kvm:kvm_guest_fault", ["common_pid"], null, 16384)] : Array.Empty<TraceTable>(),
            ],
            pages ? [new TraceLatency(AnswerTimes, Raised, Answered, ["dev", "grp"], "name", last, 8192)] : []);
    }

    /// <summary>Whether a table's rows are laid out as this plan takes them.</summary>
    public static bool IsProven(TraceTableState events) => events.Rows.Keys.All(key => key.Split('|') is [_, _, "0"]);

    /// <summary>Events of streams for which the driver found no device, or whose name could not be read: they might be anybody's.</summary>
    public static long Unnamed(TraceTableState events) => events.Rows.Where(row => row.Key.Split('|')[0].Length <= 1 || row.Key[0] == '(').Sum(row => row.Value.Count);

    public static IReadOnlyDictionary<string, long> EventsOf(TraceTableState? table, IReadOnlyList<PciAddress> functions)
    {
        var events = new Dictionary<string, long>(StringComparer.Ordinal);
        foreach (var (keys, row) in Rows(table, functions))
            if (keys.Length == 3 && byte.TryParse(keys[1], NumberStyles.None, CultureInfo.InvariantCulture, out var number))
                events[SmmuLogLine.TypeOf(number)] = events.GetValueOrDefault(SmmuLogLine.TypeOf(number)) + row.Count;
        return events;
    }

    public static long FaultsOf(TraceTableState? table, IReadOnlyList<PciAddress> functions) => Rows(table, functions).Sum(row => row.Value.Count);

    /// <summary>By enum iommu_page_response_code: 0 success, 1 invalid, 2 failure.</summary>
    public static long AnswersOf(TraceTableState? table, IReadOnlyList<PciAddress> functions, int code) =>
        Rows(table, functions).Where(row => row.Keys.Length == 2 && row.Keys[1] == code.ToString(CultureInfo.InvariantCulture)).Sum(row => row.Value.Count);

    /// <summary>The power p of the kernel's row holds what took more than 2^(p-1) and up to 2^p whole microseconds: it is the number of our bucket.</summary>
    public static Contracts.LatencyHistogram TimesOf(TraceTableState? table, IReadOnlyList<PciAddress> functions)
    {
        var counts = new long[Contracts.LatencyHistogram.Buckets];
        var microseconds = 0L;
        foreach (var (keys, row) in Rows(table, functions))
            if (keys.Length == 2 && int.TryParse(keys[1], NumberStyles.None, CultureInfo.InvariantCulture, out var power))
            {
                counts[Math.Min(power, counts.Length - 1)] += row.Count;
                microseconds += row.Sum;
            }
        return new Contracts.LatencyHistogram(counts, microseconds * 1000);
    }

    private static IEnumerable<(string[] Keys, (long Count, long Sum) Value)> Rows(TraceTableState? table, IReadOnlyList<PciAddress> functions) =>
        (table?.Rows ?? TraceTableState.NoRows).Select(row => (Keys: row.Key.Split('|'), row.Value)).Where(row => PciAddress.TryParse(row.Keys[0], out var function) && functions.Contains(function));
}

/// <summary>Counts of event records by name, from two tellers.</summary>
internal static class SmmuEventNames
{
    /// <summary>Those that the driver's log has a name for; it calls all others UNKNOWN.</summary>
    private static readonly HashSet<string> InLog =
        ["C_BAD_STREAMID", "F_STE_FETCH", "C_BAD_STE", "F_STREAM_DISABLED", "C_BAD_SUBSTREAMID", "F_CD_FETCH", "C_BAD_CD", "F_TRANSLATION", "F_ADDR_SIZE", "F_ACCESS", "F_PERMISSION", "F_VMS_FETCH"];

    /// <summary>Two counts of the same events, neither above the truth: the larger of each type, and what the log could not name only as far as the other has not named it.</summary>
    public static IReadOnlyDictionary<string, long> Larger(IReadOnlyDictionary<string, long> traced, IReadOnlyDictionary<string, long> logged)
    {
        var larger = new Dictionary<string, long>(traced, StringComparer.Ordinal);
        foreach (var (type, count) in logged.Where(e => InLog.Contains(e.Key)))
            larger[type] = Math.Max(count, larger.GetValueOrDefault(type));
        var unnamed = logged.Where(e => !InLog.Contains(e.Key)).Sum(e => e.Value) - traced.Where(e => !InLog.Contains(e.Key)).Sum(e => e.Value);
        if (unnamed > 0)
            larger[ViommuCounts.Unknown] = larger.GetValueOrDefault(ViommuCounts.Unknown) + unnamed;
        return larger;
    }
}
