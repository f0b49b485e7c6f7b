using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.RegularExpressions;
using Contracts;
using Microsoft.Extensions.Logging;
using Worker.Channels;
using Worker.Hardware;
using Worker.Hardware.Pci;

namespace Worker.Faults;

/// <summary>What the host's SMMU has reported of one sandbox's functions, by type. <c>Reason</c>: why it cannot be known at all.</summary>
internal sealed record HostSmmuReading(IReadOnlyDictionary<string, long> Events, string? Reason)
{
    public bool LowerBound { get; init; } = true;

    /// <summary>Whether the SMMU's queue was full, so that no reader can have seen all events; or that cannot be known.</summary>
    public bool MayHaveLost { get; init; } = true;

    public static readonly HostSmmuReading None = new(new Dictionary<string, long>(), NullReasons.NoAssignedDevice);
}

/// <summary>One event of the kernel's log: its place there, whose it is, and its type (F_TRANSLATION).</summary>
internal readonly record struct LoggedSmmuEvent(ulong Sequence, PciAddress Function, string Type);

// Counts the SMMU's events in the host's kernel log (/dev/kmsg), by the function that they name. The log is the only place where mainline's arm-smmu-v3 tells
// an event of a device that is not nested without being traced; it limits itself to ten lines in five seconds, so every count is a lower bound. Events of a
// nested stage 1 go to the guest and not there. That an SMMU's queue was full is told by a line of its own, which names no function. Guarantees: no line is counted twice, over worker restarts too, as long as the log still has it; nothing of an earlier
// tenant is counted, for a counter begins at the log's end of that moment. On a crash: the next worker reads on from the place that is stored with the counts.
internal sealed partial class HostSmmuEvents(string logPath, KernelFacts kernel, TimeProvider time, ILogger log) : IDisposable
{
    private const int MaxRemembered = 8192, RecordBytes = 8192, MostRecordsAtOnce = 1 << 20;
    private const int NoMore = 11, Overwritten = 32;
    /// <summary>The first kernel whose lines were seen to name the function.</summary>
    private static readonly Version NamesFunctions = new(6, 18);
    private readonly Lock _lock = new();
    private readonly Queue<LoggedSmmuEvent> _events = new();
    private readonly RareWarning _trouble = new(time, log, logPath);
    private int? _descriptor;
    private ulong _last, _overflow;

    [GeneratedRegex(@"^\d{1,10},(?<sequence>\d{1,19}),[^;]{1,64};arm-smmu-v3 \S{1,64}: EVTQ overflow detected")]
    private static partial Regex OverflowLine { get; }

    [GeneratedRegex(@"^\d{1,10},(?<sequence>\d{1,19}),")]
    private static partial Regex AnyLine { get; }

    /// <summary>A counter of a sandbox's functions; with a stored state it goes on where that ended.</summary>
    public HostSmmuCounter Track(IReadOnlyList<PciAddress> functions, string statePath) => new(this, functions, statePath);

    internal void Warn(string problem)
    {
        lock (_lock)
            _trouble.Add(problem);
    }

    /// <summary>Why nothing can be counted; null when something can.</summary>
    internal string? Reason
    {
        get
        {
            lock (_lock)
                return kernel.Version < NamesFunctions ? NullReasons.KernelLogNamesNoDevice : Open() < 0 ? NullReasons.KernelLogUnreadable : null;
        }
    }

    internal bool IsReadable
    {
        get
        {
            lock (_lock)
                return Open() >= 0;
        }
    }

    /// <summary>The events after a place, whether a queue was full after it, and the log's end now.</summary>
    internal (IReadOnlyList<LoggedSmmuEvent> Events, bool Overflow, ulong Last) After(ulong sequence)
    {
        lock (_lock)
        {
            Drain();
            return ([.. _events.Where(e => e.Sequence > sequence)], _overflow > sequence, _last);
        }
    }

    internal static LoggedSmmuEvent? Parse(string record) =>
        SmmuLogLine.Parse(record) is { Client: { } client } line && PciAddress.TryParse(client, out var function) ? new LoggedSmmuEvent(line.Sequence, function, line.Type) : null;

    public void Dispose()
    {
        lock (_lock)
        {
            if (_descriptor is >= 0 and var open)
                _ = LibC.Close(open);
            _descriptor = -1;
        }
    }

    private int Open()
    {
        const int readOnlyNonBlockingCloseOnExec = 0x800 | 0x80000;
        return _descriptor ??= LibC.Open(logPath, readOnlyNonBlockingCloseOnExec);
    }

    /// <summary>Each read gives one record.</summary>
    private unsafe void Drain()
    {
        var descriptor = Open();
        if (descriptor < 0)
            return;
        var buffer = stackalloc byte[RecordBytes];
        for (var record = 0; record < MostRecordsAtOnce; record++)
        {
            var read = LibC.Read(descriptor, buffer, RecordBytes);
            if (read > 0)
                Take(System.Text.Encoding.UTF8.GetString(buffer, (int)read));
            else if (read == 0 || System.Runtime.InteropServices.Marshal.GetLastPInvokeError() is NoMore)
                return;
            else if (System.Runtime.InteropServices.Marshal.GetLastPInvokeError() != Overwritten)
            {
                _trouble.Add($"the kernel's log cannot be read: errno {System.Runtime.InteropServices.Marshal.GetLastPInvokeError()}");
                return;
            }
        }
    }

    private void Take(string record)
    {
        if (AnyLine.Match(record) is { Success: true } any)
            _last = ulong.Parse(any.Groups["sequence"].ValueSpan, System.Globalization.CultureInfo.InvariantCulture);
        if (OverflowLine.IsMatch(record))
            _overflow = _last;
        if (Parse(record) is not { } found)
            return;
        if (_events.Count == MaxRemembered)
            _events.Dequeue();
        _events.Enqueue(found);
    }
}

/// <summary>How far a sandbox's counter has read, and what it has counted. <c>Overflow</c>: a queue was full meanwhile.</summary>
internal sealed record HostSmmuState(ulong Sequence, IReadOnlyDictionary<string, long> Events, bool Overflow = false);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(HostSmmuState))]
internal sealed partial class HostSmmuJson : JsonSerializerContext;

/// <summary>One sandbox's share of the host's SMMU events. For one sampler.</summary>
internal sealed class HostSmmuCounter
{
    /// <summary>All that a specification names: a type that is not told was not seen.</summary>
    private static readonly int MaxTypes = FaultMetrics.EventTypes.Count;
    private readonly HostSmmuEvents _events;
    private readonly IReadOnlyList<PciAddress> _functions;
    private readonly string _statePath;
    private HostSmmuState _state;

    public HostSmmuCounter(HostSmmuEvents events, IReadOnlyList<PciAddress> functions, string statePath)
    {
        (_events, _functions, _statePath) = (events, functions, statePath);
        if (Load(statePath) is { } state)
            _state = state;
        else
            Store(_state = new HostSmmuState(events.After(ulong.MaxValue).Last, new Dictionary<string, long>()));
    }

    public HostSmmuReading Read()
    {
        var (found, overflow, last) = _events.After(_state.Sequence);
        var own = _events.Reason is null ? found.Where(e => _functions.Contains(e.Function)).ToList() : [];
        if (own.Count > 0 || (overflow && !_state.Overflow))
        {
            var counts = new Dictionary<string, long>(_state.Events, StringComparer.Ordinal);
            foreach (var type in own.Select(e => counts.Count < MaxTypes || counts.ContainsKey(e.Type) ? e.Type : ViommuCounts.Other))
                counts[type] = counts.GetValueOrDefault(type) + 1;
            Store(_state = new HostSmmuState(Math.Max(last, _state.Sequence), counts, overflow || _state.Overflow));
        }
        return new HostSmmuReading(_state.Events, _events.Reason) { MayHaveLost = _state.Overflow || !_events.IsReadable };
    }

    /// <summary>What a full file system does not take is counted on in memory: only a restart of the worker would lose it.</summary>
    private void Store(HostSmmuState state)
    {
        try
        {
            WholeFile.ReplaceInCache(_statePath, JsonSerializer.SerializeToUtf8Bytes(state, HostSmmuJson.Default.HostSmmuState));
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            _events.Warn($"the counts of {_statePath} are not stored: {problem.Message}");
        }
    }

    private static HostSmmuState? Load(string path)
    {
        try
        {
            return File.Exists(path) && JsonSerializer.Deserialize(File.ReadAllBytes(path), HostSmmuJson.Default.HostSmmuState) is { Events: not null } state
                && state.Events.Values.All(count => count >= 0) ? state : null;
        }
        catch (Exception problem) when (problem is JsonException or IOException)
        {
            return null;
        }
    }
}
