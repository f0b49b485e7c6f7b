using System.Text.Json.Serialization;
using System.Text.RegularExpressions;

namespace Worker.Faults.Tracing;

/// <summary>A value that a probe fetches. <c>Fetch</c>: in the words of Linux trace/kprobetrace.rst, as <c>+4($arg2)</c>.</summary>
internal sealed record TraceField(string Name, string Fetch, string Type);

/// <summary>A kprobe on a function's entry, or on its return.</summary>
internal sealed record TraceProbe(string Name, string Function, bool AtReturn, IReadOnlyList<TraceField> Fields);

/// <summary>Takes only events whose field has one of these bits.</summary>
internal sealed record TraceFilter(string Field, long Mask);

/// <summary>Events counted by keys (Linux trace/histogram.rst). <c>Event</c>: a probe of the plan, or one of the kernel's as <c>kvm:kvm_guest_fault</c>.
/// A key is a field, or the difference of two. <c>Size</c>: how many different keys it holds; what comes when it is full is lost, and counted as lost.</summary>
internal sealed record TraceTable(string Name, string Event, IReadOnlyList<string> Keys, TraceFilter? Filter, int Size);

/// <summary>Microseconds from the event of one probe to that of another with the same fields <c>By</c>, counted by powers of two and by the second's text field <c>Label</c>.
/// It is told as a table of its name with the keys label and power.</summary>
internal sealed record TraceLatency(string Name, string In, string Out, IReadOnlyList<string> By, string Label, TraceFilter? Filter, int Size);

/// <summary>All that a trace keeper sets up. Whoever makes one is trusted with the host's kernel: what is checked is that it says what it can mean, and no more.</summary>
internal sealed partial record TracePlan(IReadOnlyList<TraceProbe> Probes, IReadOnlyList<TraceTable> Tables, IReadOnlyList<TraceLatency> Latencies)
{
    public static readonly TracePlan Nothing = new([], [], []);
    public const int MaxBytes = 64 * 1024;
    private const int MaxProbes = 16, MaxTables = 16, MaxLatencies = 4, MaxFields = 8, MaxKeys = 3, LeastSize = 128, MostSize = 16384;

    // A name goes into the kernel's own little languages: no sign of theirs is in it.
    [GeneratedRegex("^[a-z][a-z0-9_]{0,23}$")]
    private static partial Regex Name { get; }

    [GeneratedRegex("^[A-Za-z_][A-Za-z0-9_.]{0,63}$")]
    private static partial Regex Function { get; }

    [GeneratedRegex(@"^(?<open>\+[0-9]{1,4}\(){0,4}\$(arg[1-8]|retval|comm)(?<-open>\)){0,4}(?(open)(?!))$")]
    private static partial Regex Fetch { get; }

    [GeneratedRegex("^([us](8|16|32|64)|x64|string)$")]
    private static partial Regex FieldType { get; }

    [GeneratedRegex("^[a-z][a-z0-9_]{0,31}:[a-z][a-z0-9_]{0,63}$")]
    private static partial Regex KernelEvent { get; }

    [GeneratedRegex("^[a-z][a-z0-9_]{0,23}(-[a-z][a-z0-9_]{0,23})?$")]
    private static partial Regex Key { get; }

    /// <summary>Everything wrong with it, a sentence each.</summary>
    public IEnumerable<string> Problems()
    {
        if (Probes is not { Count: <= MaxProbes } || Tables is not { Count: <= MaxTables } || Latencies is not { Count: <= MaxLatencies })
        {
            yield return "it has too many parts, or lacks one";
            yield break;
        }
        foreach (var probe in Probes)
            if (!Is(Name, probe?.Name) || !Is(Function, probe!.Function) || probe.Fields is not { Count: <= MaxFields }
                || probe.Fields.Any(f => !Is(Name, f?.Name) || !Is(Fetch, f!.Fetch) || !Is(FieldType, f.Type)))
                yield return $"the probe {probe?.Name} has no name, function or fields that could be one";
        foreach (var table in Tables)
            if (!Is(Name, table?.Name) || !(Is(KernelEvent, table!.Event) || IsProbe(table.Event)) || !AreKeys(table.Keys) || !IsFilter(table.Filter) || !IsSize(table.Size))
                yield return $"the table {table?.Name} has no name, event, keys, filter or size that could be one";
        foreach (var latency in Latencies)
            if (!Is(Name, latency?.Name) || !IsProbe(latency!.In) || !IsProbe(latency.Out) || !AreKeys(latency.By) || !Is(Name, latency.Label) || !IsFilter(latency.Filter) || !IsSize(latency.Size))
                yield return $"the latency {latency?.Name} has no name, probes, fields, filter or size that could be one";
        // A histogram is known again by its event and its keys.
        if (Repeats(Probes.Select(p => p?.Name)) || Repeats(Tables.Select(t => t?.Name).Concat(Latencies.Select(l => l?.Name)))
            || Repeats([
                .. Tables.Where(t => t?.Keys is not null).Select(t => $"{t.Event} {string.Join(',', t.Keys)}"),
                .. Latencies.Where(l => l?.By is not null).SelectMany(l => new[] { $"{l.In} {string.Join(',', l.By)}", $"{l.Out} {string.Join(',', l.By)}" })]))
            yield return "two of its parts have one name, or count one event by the same keys";
    }

    private static bool Is(Regex shape, string? text) => text is not null && shape.IsMatch(text) && !text.EndsWith('\n');

    private bool IsProbe(string name) => Probes.Any(p => p?.Name == name);

    private static bool AreKeys(IReadOnlyList<string>? keys) => keys is { Count: >= 1 and <= MaxKeys } && keys.All(key => Is(Key, key));

    private static bool IsFilter(TraceFilter? filter) => filter is null || (Is(Name, filter.Field) && filter.Mask > 0);

    private static bool IsSize(int size) => size is >= LeastSize and <= MostSize && int.IsPow2(size);

    private static bool Repeats(IEnumerable<string?> names) => names.GroupBy(n => n, StringComparer.Ordinal).Any(group => group.Skip(1).Any());
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(TracePlan))]
[JsonSerializable(typeof(TraceReport))]
[JsonSerializable(typeof(TracedCounts))]
internal sealed partial class TraceJson : JsonSerializerContext;
