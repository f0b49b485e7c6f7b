using System.Globalization;

namespace Worker.Faults.Tracing;

/// <summary>A text that is written to a file of tracefs, below its mount.</summary>
internal sealed record TraceCommand(string File, string Text);

// Pure: a plan in the kernel's words. All of one keeper's state bears its name: an instance, a group of probes, and the beginning of its synthetic events.
internal static class TraceCommands
{
    public const string Probes = "kprobe_events", SyntheticEvents = "synthetic_events", Profile = "kprobe_profile", Functions = "available_filter_functions";

    public static string Instance(string name) => $"instances/{name}";

    public static string Events(string name, string system) => $"{Instance(name)}/events/{system}";

    /// <summary>The folder of a probe of the plan, or of one of the kernel's events.</summary>
    public static string EventFolder(string name, string @event) => @event.Split(':') is [var system, var kernels] ? $"{Events(name, system)}/{kernels}" : $"{Events(name, name)}/{@event}";

    public static string LatencyFolder(string name, TraceLatency latency) => $"{Events(name, "synthetic")}/{Synthetic(name, latency)}";

    public static TraceCommand SetUp(string name, TraceProbe probe) =>
        new(Probes, string.Join(' ', [$"{(probe.AtReturn ? 'r' : 'p')}:{name}/{probe.Name}", probe.Function, .. probe.Fields.Select(f => $"{f.Name}={f.Fetch}:{f.Type}")]));

    public static TraceCommand SetUp(string name, TraceTable table) => new($"{EventFolder(name, table.Event)}/trigger", $"hist:{HistogramText.KeysOf(table.Keys)}{Size(table.Size)}{If(table.Filter)}");

    /// <summary>In their order: each needs those before it.</summary>
    public static IReadOnlyList<TraceCommand> SetUp(string name, TraceLatency latency)
    {
        var (keys, began, event_) = (HistogramText.KeysOf(latency.By), $"began_{latency.Name}", Synthetic(name, latency));
        return
        [
            new(SyntheticEvents, $"{event_} u64 microseconds; char label[]"),
            new($"{EventFolder(name, latency.In)}/trigger", $"hist:{keys}:{began}=common_timestamp.usecs{Size(latency.Size)}{If(latency.Filter)}"),
            // Without a variable of its own the kernel would look for the label at the first event, by a histogram that it shows to nobody.
            new($"{EventFolder(name, latency.Out)}/trigger",
                $"hist:{keys}:label_{latency.Name}={latency.Label}:took_{latency.Name}=common_timestamp.usecs-${began}{Size(latency.Size)}:onmatch({name}.{latency.In}).trace({event_},$took_{latency.Name},$label_{latency.Name})"),
            new($"{LatencyFolder(name, latency)}/trigger", $"hist:{HistogramText.KeysOf(LatencyKeys)}:vals=hitcount,{LatencySum}{Size(LabelledSize)}"),
        ];
    }

    /// <summary>Of these, those that tell the time between two events.</summary>
    public static IReadOnlyList<TraceCommand> Timing(string name, TraceLatency latency) => [.. SetUp(name, latency).Skip(1).Take(2)];

    /// <summary>Whether a trigger that the kernel shows is one that was written: it adds defaults, and the variable is in no other.</summary>
    public static bool IsSame(string shown, string written) =>
        written.Split(':') is [var kind, var keys, var variable, ..] && shown.Split(':') is [var shownKind, var shownKeys, .. var rest] && (shownKind.Trim(), shownKeys) == (kind, keys)
        && rest.Any(part => part.Split(',').Any(one => one.StartsWith(variable.Split('=')[0] + "=", StringComparison.Ordinal)));

    public static readonly IReadOnlyList<string> LatencyKeys = ["label", "microseconds.log2"];
    public const string LatencySum = "microseconds";
    private const int LabelledSize = 2048;

    /// <summary>Takes a trigger away again that the kernel shows so; null for a line that is none.</summary>
    public static string? Removal(string trigger)
    {
        var text = trigger.Trim();
        if (text.Length == 0 || text[0] == '#')
            return null;
        foreach (var state in (string[])[" [active]", " [paused]"])
            if (text.EndsWith(state, StringComparison.Ordinal))
                text = text[..^state.Length];
        return "!" + text;
    }

    /// <summary>Of a line of kprobe_events: "p:sandbox_12ab/smmu arm_smmu_handle_event …" or "r10:…"; null when it is another group's.</summary>
    public static string? RemovalOfProbe(string name, string line) =>
        line.IndexOf(':') is > 0 and var at && line[(at + 1)..].Split(' ')[0] is var probe && probe.StartsWith(name + "/", StringComparison.Ordinal) ? $"-:{probe}" : null;

    /// <summary>Of a line of synthetic_events: "sandbox_12ab_io u64 microseconds; …".</summary>
    public static string? RemovalOfSynthetic(string name, string line) =>
        line.Split(' ', '\t')[0] is var known && known.StartsWith(name + "_", StringComparison.Ordinal) ? $"!{known}" : null;

    /// <summary>How often each probe of the group was passed over, from kprobe_profile: "  smmu  12  0". It names no group: whose is called the same counts too.</summary>
    public static IReadOnlyDictionary<string, long> Missed(string profile) => profile.Split('\n').Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries))
        .Where(words => words.Length == 3 && long.TryParse(words[2], NumberStyles.None, CultureInfo.InvariantCulture, out _))
        .GroupBy(words => words[0], StringComparer.Ordinal).ToDictionary(g => g.Key, g => g.Max(words => long.Parse(words[2], CultureInfo.InvariantCulture)), StringComparer.Ordinal);

    private static string Synthetic(string name, TraceLatency latency) => $"{name}_{latency.Name}";

    private static string Size(int size) => string.Create(CultureInfo.InvariantCulture, $":size={size}");

    private static string If(TraceFilter? filter) => filter is null ? "" : string.Create(CultureInfo.InvariantCulture, $" if {filter.Field} & {filter.Mask}");
}
