using System.Buffers.Binary;

namespace Contracts;

/// <summary>What the first bytes of a disk tell of it, so that QEMU opens no other file than the one whose digest was verified. Pure.
/// A qcow2's header may name a backing file or a file for its data (docs/interop/qcow2.rst of QEMU).</summary>
public static class DiskHeader
{
    /// <summary>So many of its first bytes are asked for; a disk may have fewer.</summary>
    public const int Bytes = 80;
    private const uint Magic = 0x514649fb;
    private const ulong ExternalData = 1 << 2;

    /// <summary>Null when the disk is of that format and whole in itself. A raw disk is never asked what it is: its first bytes are the guest's.</summary>
    /// <param name="format">What it is said to be.</param>
    /// <param name="header">Its first bytes.</param>
    /// <param name="maxBytes">The largest disk that its guest may see; a raw one is as large as its file.</param>
    public static string? Problem(DiskFormat format, ReadOnlySpan<byte> header, ulong maxBytes = ulong.MaxValue)
    {
        if (format == DiskFormat.Raw)
            return null;
        if (header.Length < 72 || BinaryPrimitives.ReadUInt32BigEndian(header) != Magic)
            return "is no qcow2";
        var version = BinaryPrimitives.ReadUInt32BigEndian(header[4..]);
        if (version is not (2 or 3) || (version == 3 && header.Length < Bytes))
            return $"is a qcow2 of version {version}";
        if (BinaryPrimitives.ReadUInt64BigEndian(header[8..]) != 0)
            return "has a backing file";
        if (BinaryPrimitives.ReadUInt32BigEndian(header[32..]) != 0)
            return "is encrypted";
        // Offset 24. What a guest writes to it grows up to that on the node.
        if (BinaryPrimitives.ReadUInt64BigEndian(header[24..]) is var size && size > maxBytes)
            return $"is a disk of {size} bytes; at most {maxBytes} are taken";
        // Version 2 ends before its features.
        return version == 3 && (BinaryPrimitives.ReadUInt64BigEndian(header[72..]) & ExternalData) != 0 ? "keeps its data in another file" : null;
    }
}
