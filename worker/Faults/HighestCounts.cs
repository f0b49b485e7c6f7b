using Contracts;
using Microsoft.Extensions.Logging;
using Worker.Channels;
using Worker.Vms;

namespace Worker.Faults;

// What was told of each source of one VM so far. Guarantees: no count and no latency goes back within an incarnation. One that does was reset or is a lie: the highest that was
// told is told on, as a lower bound for good, for nobody knows what was counted before the reset. What its collector calls a lower bound is one as long as it says so: it may come to know.
// Stored in a file of the VM's directory, every ten seconds and at once when a count becomes a lower bound, so the next worker goes on from there: one that went back while no
// worker looked is known by what was told up to ten seconds before. Not each second, for the sampling of all guests would wait for the disk.
// A simulation's are held in memory alone: its own process counts from its beginning on, whichever worker asks.
// Assumes: one reader at a time. On a crash: the file is the old or the new one, whole; where there is none although the guest has begun, every count is a lower bound.
internal sealed class HighestCounts
{
    private const int MaxBytes = 1 << 16, MaxSources = 512;
    private readonly string? _path;
    private readonly Guid _sandbox;
    private readonly int _incarnation;
    private readonly bool _late;
    private readonly RareWarning? _trouble;
    /// <summary>The highest, marked as a lower bound where it went back.</summary>
    private readonly Dictionary<string, SourceReading> _shown = new(StringComparer.Ordinal);
    private static readonly TimeSpan Period = TimeSpan.FromSeconds(10);
    private readonly TimeProvider _time = TimeProvider.System;
    private bool _changed, _isUrgent;
    private long? _storedAt;

    private HighestCounts()
    {
    }

    /// <param name="directory">Of the VM.</param>
    /// <param name="incarnation">Of its guest; what is kept of another counts for nothing.</param>
    /// <param name="adopted">Whether an earlier worker has started it.</param>
    /// <param name="time">For warnings.</param>
    /// <param name="log">For what goes wrong.</param>
    public HighestCounts(RuntimeDirectory directory, int incarnation, bool adopted, TimeProvider time, ILogger log)
    {
        (_path, _sandbox, _incarnation) = (Path.Combine(directory.FullPath, "faults.state"), directory.Id, incarnation);
        (_time, _trouble) = (time, new RareWarning(time, log, _path));
        if (adopted && Load(_path) is { } kept)
            foreach (var reading in kept)
                _shown[reading.Source] = reading;
        else
            _late = adopted;
    }

    public static HighestCounts OfASimulation() => new();

    public SourceReading Hold(SourceReading reading)
    {
        if (reading.Value is not { } value)
            return reading;
        // Read one after the other, an answer may be in the latencies whose fault is not in the count yet.
        value = Math.Max(value, reading.Latency?.Total ?? 0);
        var held = reading with { Value = value, LowerBound = _late };
        if (_shown.TryGetValue(reading.Source, out var before))
        {
            // Latencies that are not told now were not taken back.
            var isLatencyBack = before.Latency is { } past && reading.Latency is { } latency && latency.Since(past) is null;
            held = held with
            {
                Value = Math.Max(value, before.Value!.Value),
                Latency = isLatencyBack || reading.Latency is null ? before.Latency : reading.Latency,
                LowerBound = held.LowerBound || before.LowerBound || value < before.Value || isLatencyBack,
            };
        }
        else if (_shown.Count == MaxSources)
            return held with { LowerBound = true };
        _changed |= held != before;
        _isUrgent |= held.LowerBound && before?.LowerBound != true;
        _shown[reading.Source] = held;
        return held with { LowerBound = held.LowerBound || reading.LowerBound };
    }

    /// <summary>Writes what has changed. What a full file system does not take is held in memory: only a restart of the worker would lose it.</summary>
    public void Store()
    {
        if (!_changed || _path is null || (!_isUrgent && _storedAt is { } last && _time.GetElapsedTime(last) < Period))
            return;
        _storedAt = _time.GetTimestamp();
        try
        {
            var samples = _shown.Values.Where(FaultSamplesEncoding.IsWellFormed).Chunk(FaultSamplesEncoding.MaxReadings).Select(part => new FaultSample(_sandbox, _incarnation, DateTimeOffset.UnixEpoch, part));
            WholeFile.ReplaceInCache(_path, FaultSamplesEncoding.Batches(samples).FirstOrDefault() ?? []);
            _changed = _isUrgent = false;
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            _trouble!.Add($"the highest counts are not stored: {problem.Message}");
        }
    }

    private IReadOnlyList<SourceReading>? Load(string path)
    {
        try
        {
            var samples = new List<EncodedSample>();
            return new FileInfo(path) is { Exists: true, Length: <= MaxBytes } && FaultSamplesEncoding.TryRead(File.ReadAllBytes(path), samples, out var malformed) && malformed == 0
                && samples.All(sample => (sample.SandboxId, sample.Incarnation) == (_sandbox, _incarnation)) ? [.. samples.SelectMany(sample => sample.Decode().Readings).Where(reading => reading.Value is not null)] : null;
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
