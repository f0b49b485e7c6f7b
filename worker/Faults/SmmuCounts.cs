using System.Buffers;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Worker.Faults;

/// <summary>What has been counted of one VM's trace log so far, and how far it has been read.</summary>
public sealed record SmmuCounts(long Offset, IReadOnlyDictionary<string, long> Events, long TlbHits, long TlbMisses, bool LowerBound)
{
    public static readonly SmmuCounts Zero = new(0, new Dictionary<string, long>(), 0, 0, false);
    private const int MaxTypes = 64;
    private static readonly SearchValues<byte> TypeBytes = SearchValues.Create("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"u8);

    public long Total => Events.Values.Sum();

    /// <summary>Pure: adds the whole lines of a part of the log; a line that is not finished is left for the next part.</summary>
    public SmmuCounts Add(ReadOnlySpan<byte> part)
    {
        var end = part.LastIndexOf((byte)'\n');
        if (end < 0)
            return this;
        var events = new Dictionary<string, long>(Events, StringComparer.Ordinal);
        var (hits, misses) = (TlbHits, TlbMisses);
        foreach (var range in part[..end].Split((byte)'\n'))
        {
            var line = part[range];
            if (TypeOf(line) is { } type)
            {
                // The names are the VMM's; a VMM that was taken over must not grow the worker without bound.
                if (events.Count < MaxTypes || events.ContainsKey(type))
                    events[type] = events.GetValueOrDefault(type) + 1;
            }
            else if (line.IndexOf("smmu_iotlb_lookup_hit "u8) >= 0)
                hits++;
            else if (line.IndexOf("smmu_iotlb_lookup_miss "u8) >= 0)
                misses++;
        }
        return this with { Offset = Offset + end + 1, Events = events, TlbHits = hits, TlbMisses = misses };
    }

    /// <summary>The type in <c>smmuv3_record_event SMMU_EVT_F_TRANSLATION sid=0x100</c>; newer QEMU calls the event smmuv3_propagate_event.</summary>
    private static string? TypeOf(ReadOnlySpan<byte> line)
    {
        if (line.IndexOf("smmuv3_record_event "u8) < 0 && line.IndexOf("smmuv3_propagate_event "u8) < 0)
            return null;
        var prefix = "SMMU_EVT_"u8;
        var at = line.IndexOf(prefix);
        if (at < 0)
            return "UNKNOWN";
        var name = line[(at + prefix.Length)..];
        var length = name.IndexOfAnyExcept(TypeBytes);
        name = length < 0 ? name : name[..length];
        return name.Length is 0 or > 40 ? "UNKNOWN" : Encoding.ASCII.GetString(name);
    }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(SmmuCounts))]
internal sealed partial class SmmuCountsJson : JsonSerializerContext;
