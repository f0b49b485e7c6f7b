using System.Text.Json;
using System.Text.Json.Serialization;
using Microsoft.Extensions.Logging;
using Worker.Channels;

namespace Worker.Faults;

/// <summary>A counter of the kernel's, counted from a tenancy's start. <c>Seen</c>: what the kernel's said last.</summary>
internal sealed record Tally(long Value, long Seen, bool LowerBound)
{
    /// <summary>Pure. One that went back was begun anew: what it counted between the last look and that is not known.</summary>
    public Tally Next(long now) => now >= Seen ? this with { Value = Plus(Value, now - Seen), Seen = now } : new Tally(Plus(Value, now), now, true);

    public static long Plus(long value, long more) => value > long.MaxValue - more ? long.MaxValue : value + more;
}

/// <summary>What a file of tallies holds; <c>Incarnation</c>: whose.</summary>
internal sealed record KeptTallyState(int Incarnation, IReadOnlyDictionary<string, Tally> Tallies);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(KeptTallyState))]
internal sealed partial class KeptTalliesJson : JsonSerializerContext;

// Counters of the kernel that began before one tenancy, or begin again within it, counted from that tenancy's start, in a file of the VM's directory.
// Guarantees: no count goes back; one that may lack something is marked a lower bound, and stays so; what is told was stored before, so the next worker goes on from there.
// Assumes: one reader at a time. On a crash: the file is the old or the new one, whole; where there is none although the tenancy has begun, counts begin at 0 as lower bounds.
internal sealed class KeptTallies
{
    private const int MaxBytes = 1 << 20;
    private readonly string _path;
    private readonly int _incarnation;
    private readonly bool _late;
    private readonly RareWarning _trouble;
    private readonly Dictionary<string, Tally> _tallies = new(StringComparer.Ordinal);
    private bool _changed;

    /// <param name="path">The file.</param>
    /// <param name="incarnation">Whose tenancy; what another has left there counts for nothing.</param>
    /// <param name="adopted">Whether the tenancy has begun before.</param>
    /// <param name="endsWithWorker">Whether the kernel's counters end with the worker that asks for them, and the next one's begin at 0.</param>
    /// <param name="time">For warnings.</param>
    /// <param name="log">For what goes wrong.</param>
    public KeptTallies(string path, int incarnation, bool adopted, bool endsWithWorker, TimeProvider time, ILogger log)
    {
        (_path, _incarnation) = (path, incarnation);
        _trouble = new RareWarning(time, log, path);
        if (adopted && Load(path, incarnation) is { } stored)
            foreach (var (key, tally) in stored)
                _tallies[key] = endsWithWorker ? tally with { Seen = 0, LowerBound = true } : tally;
        else
            _late = adopted;
    }

    /// <summary>Counts on. <paramref name="now"/>: null when the kernel does not tell, which leaves what is known as a lower bound; the answer is null when nothing is known.
    /// <paramref name="from"/>: what the kernel's counter was at the tenancy's start, for the first time that it is told; null: what it is then.
    /// <paramref name="incomplete"/>: it is known to lack something.</summary>
    public Tally? Count(string key, long? now, long? from = null, bool incomplete = false)
    {
        var before = _tallies.GetValueOrDefault(key);
        var next = now is { } told ? (before ?? new Tally(0, from ?? told, _late)).Next(told) : before;
        if (next is null)
            return null;
        next = next with { LowerBound = next.LowerBound || incomplete || now is null };
        _changed |= next != before;
        return _tallies[key] = next;
    }

    /// <summary>Writes what has changed. What a full file system does not take is counted on in memory: only a restart of the worker would lose it.</summary>
    public void Store()
    {
        if (!_changed)
            return;
        try
        {
            WholeFile.ReplaceInCache(_path, JsonSerializer.SerializeToUtf8Bytes(new KeptTallyState(_incarnation, _tallies), KeptTalliesJson.Default.KeptTallyState));
            _changed = false;
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            _trouble.Add($"the counts are not stored: {problem.Message}");
        }
    }

    private static IReadOnlyDictionary<string, Tally>? Load(string path, int incarnation)
    {
        try
        {
            var file = new FileInfo(path);
            return file is { Exists: true, Length: <= MaxBytes } && JsonSerializer.Deserialize(File.ReadAllBytes(path), KeptTalliesJson.Default.KeptTallyState) is { Tallies: not null } state
                && state.Incarnation == incarnation && state.Tallies.Values.All(tally => tally is { Value: >= 0, Seen: >= 0 }) ? state.Tallies : null;
        }
        catch (Exception problem) when (problem is JsonException or IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
