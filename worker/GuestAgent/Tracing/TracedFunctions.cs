using System.Globalization;
using Worker.Faults.Tracing;

namespace GuestAgent.Tracing;

/// <summary>One file of tracefs and what is written to it; a folder to be made where there is no text.</summary>
internal readonly record struct TraceStep(string Path, string? Text);

// Which two functions of the kernel are traced, and how: one that is called for each fault and one for each answer. Pure.
// Two kprobes on each: one is counted alone, so that reading it is short; the other, by device and group of requests, only to tell the time between them.
// All of it stands in an instance of its own, and in names of its own, beside whatever the guest's user traces.
internal sealed record TracedFunctions(string Name, string Fault, string FaultArguments, string Answer, string AnswerArguments)
{
    /// <summary>Arguments by their place in struct iopf_fault and struct iommu_page_response (include/linux/iommu.h of 6.11 to 7.3, 64 bits).</summary>
    public static readonly TracedFunctions PageFaults = new(
        "sandbox", "iommu_report_device_fault", "dev=$arg1:x64 grp=+16($arg2):u32 flags=+8($arg2):u32", "arm_smmu_page_response", "dev=$arg1:x64 grp=+4($arg3):u32 code=+8($arg3):u32");

    /// <summary>For a trial of a kernel: the sleeps of all processes, as faults that are answered when the timer ends.</summary>
    public static readonly TracedFunctions Sleeps = new("sandbox_trial", "do_nanosleep", @"dev=$arg1:x64 grp=\1:u32 flags=\2:u32", "hrtimer_wakeup", @"dev=$arg1:x64 grp=\1:u32 code=\0:u32");

    /// <summary>The first kernel that <see cref="PageFaults"/> is true for.</summary>
    private static readonly Version Since = new(6, 11);
    /// <summary>IOMMU_FAULT_PAGE_REQUEST_LAST_PAGE: a group of requests is one fault; a stalled transaction is a group of its own.</summary>
    private const string LastOfGroup = " if flags & 2";
    /// <summary>Places for devices times groups: a function may have 512 groups outstanding (PCI Express, PRI).</summary>
    private const int Groups = 4096, Least = 128;

    private string Instance => $"instances/{Name}";
    private string Took => $"{Name}_took";
    private string Events => $"{Instance}/events/{Name}";

    /// <summary>Names of kprobes carry the group's: the kernel's profile shows no groups.</summary>
    private string Raised => $"{Name}_raised";
    private string Answered => $"{Name}_answered";
    private string Begun => $"{Name}_begun";
    private string Ended => $"{Name}_ended";

    public string RaisedHistogram => $"{Events}/{Raised}/hist";
    public string AnsweredHistogram => $"{Events}/{Answered}/hist";
    /// <summary>By device and group, to tell times; they are long.</summary>
    public IReadOnlyList<string> TimingHistograms => [$"{Events}/{Begun}/hist", $"{Events}/{Ended}/hist"];
    public static readonly IReadOnlyList<string> TimingKeys = ["dev", "grp"];
    public string TookHistogram => $"{Instance}/events/synthetic/{Took}/hist";
    /// <summary>Of all kprobes: how often each was hit, and missed.</summary>
    public const string Profile = "kprobe_profile";
    /// <summary>Whether a kprobe of the profile is one of those whose count or times are shown.</summary>
    public bool IsCounted(string kprobe) => kprobe == Raised || kprobe == Answered || kprobe == Begun || kprobe == Ended;

    /// <summary>In this order. The last one shows that all are there.</summary>
    public IReadOnlyList<TraceStep> SetUp =>
    [
        new("synthetic_events", $"{Took} u64 us"),
        new("kprobe_events", $"p:{Name}/{Raised} {Fault} {FaultArguments}"),
        new("kprobe_events", $"p:{Name}/{Answered} {Answer} {AnswerArguments}"),
        new("kprobe_events", $"p:{Name}/{Begun} {Fault} {FaultArguments}"),
        new("kprobe_events", $"p:{Name}/{Ended} {Answer} {AnswerArguments}"),
        new(Instance, null),
        // Nothing is recorded, only counted.
        new($"{Instance}/buffer_size_kb", "4"),
        .. Triggers,
    ];

    /// <summary>In this order, whatever of it is there.</summary>
    public IReadOnlyList<TraceStep> TakeDown =>
    [
        .. Triggers.Reverse().Select(trigger => trigger with { Text = "!" + trigger.Text }),
        new(Instance, null),
        .. ((string[])[Ended, Begun, Answered, Raised]).Select(probe => new TraceStep("kprobe_events", $"-:{Name}/{probe}")),
        new("synthetic_events", $"!{Took}"),
    ];

    public TraceStep Last => Triggers[^1];

    private TraceStep[] Triggers =>
    [
        new($"{Instance}/events/synthetic/{Took}/trigger", $"hist:keys=us.log2:vals=us:size={Least}"),
        new($"{Events}/{Answered}/trigger", $"hist:keys=code:size={Least}"),
        new($"{Events}/{Raised}/trigger", $"hist:keys=flags:size={Least}{LastOfGroup}"),
        new($"{Events}/{Begun}/trigger", $"hist:{HistogramText.KeysOf(TimingKeys)}:began=common_timestamp.usecs:size={Groups}{LastOfGroup}"),
        new($"{Events}/{Ended}/trigger", $"hist:{HistogramText.KeysOf(TimingKeys)}:us=common_timestamp.usecs-$began:size={Groups}:onmatch({Name}.{Begun}).trace({Took},$us)"),
    ];

    /// <summary>Whether the arguments of <see cref="PageFaults"/> lie where they are looked for, by the text of /proc/sys/kernel/osrelease.</summary>
    public static bool AreKnownIn(string release)
    {
        var parts = release.Split('.', '-', '+');
        return parts.Length > 1 && int.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out var major)
            && int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out var minor) && new Version(major, minor) >= Since;
    }
}
