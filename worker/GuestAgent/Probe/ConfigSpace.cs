using System.Buffers.Binary;

namespace GuestAgent.Probe;

/// <summary>What a PCI function's config space says about sharing addresses. The bytes come from the device and are not trusted.
/// A capability is false only when its absence is certain: the whole list was walked, or the function is provably not PCI Express.</summary>
public sealed record ConfigSpace(bool? Pasid, bool? Ats, bool? Pri)
{
    private const ushort AtsId = 0x0F, PriId = 0x13, PasidId = 0x1B;
    private const byte ExpressId = 0x10;
    private const int StandardBytes = 256, ExtendedBytes = 4096, StatusOffset = 6, ListPointer = 0x34, FirstCapability = 0x40;
    private const ushort HasList = 0x10;
    private static readonly ConfigSpace Unknown = new(null, null, null);
    private static readonly ConfigSpace None = new(false, false, false);

    public static ConfigSpace Parse(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length < StandardBytes || Word(bytes, 0) == 0xFFFF)
            return Unknown;
        if (bytes.Length < ExtendedBytes)
            return IsExpress(bytes) is false ? None : Unknown;
        return Extended(bytes[..ExtendedBytes]);
    }

    /// <summary>Null when the list is broken: it loops or points outside of its area.</summary>
    private static bool? IsExpress(ReadOnlySpan<byte> bytes)
    {
        if ((Word(bytes, StatusOffset) & HasList) == 0)
            return false;
        var at = bytes[ListPointer] & 0xFC;
        for (var seen = 0; at != 0; seen++)
        {
            if (at < FirstCapability || seen > (StandardBytes - FirstCapability) / 4)
                return null;
            if (bytes[at] == ExpressId)
                return true;
            at = bytes[at + 1] & 0xFC;
        }
        return false;
    }

    private static ConfigSpace Extended(ReadOnlySpan<byte> bytes)
    {
        bool pasid = false, ats = false, pri = false;
        var at = StandardBytes;
        for (var seen = 0; at != 0; seen++)
        {
            var whole = at >= StandardBytes && seen <= (ExtendedBytes - StandardBytes) / 4;
            var header = whole ? BinaryPrimitives.ReadUInt32LittleEndian(bytes[at..]) : uint.MaxValue;
            if (header == uint.MaxValue)
                // What was found is there; what was not found may stand behind the break.
                return new(pasid ? true : null, ats ? true : null, pri ? true : null);
            var id = (ushort)header;
            pasid |= id == PasidId;
            ats |= id == AtsId;
            pri |= id == PriId;
            at = (int)(header >> 20) & 0xFFC;
        }
        return new(pasid, ats, pri);
    }

    private static ushort Word(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt16LittleEndian(bytes[at..]);
}
