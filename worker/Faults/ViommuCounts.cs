using System.Buffers;
using System.Text;
using System.Text.Json.Serialization;

namespace Worker.Faults;

/// <summary>What has been counted of one VM's trace log so far, of the one IOMMU that its guest sees, and how far it has been read. <c>Skipping</c>: the offset lies within a line
/// that is too long to be QEMU's. The bounds say that lines are known to have been lost. <c>Refused</c>: lines that begin like an event and are none, which may have been one.</summary>
public sealed record ViommuCounts(
    long Offset, IReadOnlyDictionary<string, long> Events, long TlbHits, long TlbMisses, bool EventsLowerBound, bool TlbLowerBound, bool Skipping, long Refused = 0)
{
    public static readonly ViommuCounts Zero = new(0, new Dictionary<string, long>(), 0, 0, false, false, false);
    /// <summary>QEMU's own lines are far shorter.</summary>
    public const int MaxLineBytes = 4096;
    public const string Unknown = "UNKNOWN";
    /// <summary>The names are the VMM's; one that was taken over must not grow the worker, or the samples, without bound.</summary>
    public const string Other = "OTHER";
    private const int MaxTypes = 64;
    private const int MaxTypeBytes = 40;
    private static readonly SearchValues<byte> TypeBytes = SearchValues.Create("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"u8);
    private static readonly SearchValues<byte> Digits = SearchValues.Create("0123456789"u8), HexDigits = SearchValues.Create("0123456789abcdef"u8);

    [JsonIgnore]
    public long Total => Events.Values.Sum();

    public ViommuCounts WithBounds(bool events, bool tlb) =>
        this with { EventsLowerBound = EventsLowerBound || events, TlbLowerBound = TlbLowerBound || tlb };

    /// <summary>Pure: adds the whole lines of a part of the log that begins at <see cref="Offset"/>; a line that is not finished is left for the next
    /// part, unless it is too long, and then it is passed over to its end, in whatever parts it comes.</summary>
    public ViommuCounts Add(ReadOnlySpan<byte> part)
    {
        var events = new Dictionary<string, long>(Events, StringComparer.Ordinal);
        var (hits, misses, skipping, lost, used, refused) = (TlbHits, TlbMisses, Skipping, false, 0, 0L);
        while (true)
        {
            var rest = part[used..];
            var end = rest.IndexOf((byte)'\n');
            if (end < 0)
            {
                if (skipping || rest.Length > MaxLineBytes)
                    (skipping, used) = (true, part.Length);
                break;
            }
            used += end + 1;
            if (skipping || end > MaxLineBytes)
                (skipping, lost, refused) = (false, true, refused + 1);
            else if (!Count(rest[..end], events, ref hits, ref misses))
                (lost, refused) = (true, refused + 1);
        }
        return (this with { Offset = Offset + used, Events = events, TlbHits = hits, TlbMisses = misses, Skipping = skipping, Refused = Refused + refused }).WithBounds(lost, lost);
    }

    /// <summary>Lines are <c>smmu_iotlb_lookup_hit …</c> or, with time stamps on, <c>1234@1700000000.123456:smmu_iotlb_lookup_hit …</c>.</summary>
    /// <returns>False for one that has an event's name and not its form.</returns>
    private static bool Count(ReadOnlySpan<byte> line, Dictionary<string, long> events, ref long hits, ref long misses)
    {
        var text = WithoutStamp(line);
        var space = text.IndexOf((byte)' ');
        if (space < 0)
            return true;
        var name = text[..space];
        var arguments = text[(space + 1)..];
        if (name.SequenceEqual("smmu_iotlb_lookup_hit"u8))
            hits++;
        else if (name.SequenceEqual("smmu_iotlb_lookup_miss"u8))
            misses++;
        else if (name.SequenceEqual("smmuv3_record_event"u8) || name.SequenceEqual("smmuv3_propagate_event"u8))
            return Count(events, TypeOf(arguments));
        else if (name.SequenceEqual("virtio_iommu_report_fault"u8))
            return Count(events, ReasonOf(arguments));
        return true;
    }

    private static bool Count(Dictionary<string, long> events, string? type)
    {
        if (type is null)
            return false;
        if (events.Count >= MaxTypes && !events.ContainsKey(type))
            type = Other;
        events[type] = events.GetValueOrDefault(type) + 1;
        return true;
    }

    private static ReadOnlySpan<byte> WithoutStamp(ReadOnlySpan<byte> line)
    {
        var at = line.IndexOf((byte)'@');
        if (at <= 0 || line[..at].ContainsAnyExcept(Digits))
            return line;
        var colon = line.IndexOf((byte)':');
        var dot = line.IndexOf((byte)'.');
        return dot > at + 1 && colon > dot + 1 && !line[(at + 1)..dot].ContainsAnyExcept(Digits) && !line[(dot + 1)..colon].ContainsAnyExcept(Digits)
            ? line[(colon + 1)..]
            : line;
    }

    /// <summary>The reason in <c>FAULT reason=2 flags=256 endpoint=256 address =0xffff96a4a000</c> (Virtual I/O Device 1.3, 5.13.6.9).</summary>
    private static string? ReasonOf(ReadOnlySpan<byte> arguments)
    {
        var prefix = "FAULT reason="u8;
        if (!arguments.StartsWith(prefix) || !HasNumber(arguments, " endpoint="u8, Digits) || !HasNumber(arguments, " address =0x"u8, HexDigits))
            return null;
        var reason = arguments[prefix.Length..];
        return reason.StartsWith("1 "u8) ? "DOMAIN" : reason.StartsWith("2 "u8) ? "MAPPING" : HasNumber(arguments, prefix, Digits) ? Unknown : null;
    }

    private static bool HasNumber(ReadOnlySpan<byte> text, ReadOnlySpan<byte> before, SearchValues<byte> digits) =>
        text.IndexOf(before) is >= 0 and var at && at + before.Length < text.Length && digits.Contains(text[at + before.Length]);

    /// <summary>The type in <c>SMMU_EVT_F_TRANSLATION sid=0x100</c>.</summary>
    private static string? TypeOf(ReadOnlySpan<byte> arguments)
    {
        var prefix = "SMMU_EVT_"u8;
        var space = arguments.IndexOf((byte)' ');
        if (space < 0 || !HasNumber(arguments[space..], " sid=0x"u8, HexDigits))
            return null;
        var type = arguments[..space];
        // QEMU's words for what it has no name for.
        if (type.SequenceEqual("<unknown>"u8) || type.SequenceEqual("(null)"u8) || type.SequenceEqual("UNKNOWN"u8))
            return Unknown;
        var name = type.StartsWith(prefix) ? type[prefix.Length..] : default;
        return name.Length is 0 or > MaxTypeBytes || name.ContainsAnyExcept(TypeBytes) ? null : Encoding.ASCII.GetString(name);
    }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(ViommuCounts))]
internal sealed partial class ViommuCountsJson : JsonSerializerContext;
