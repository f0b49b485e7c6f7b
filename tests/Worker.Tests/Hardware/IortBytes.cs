using System.Buffers.Binary;

namespace Worker.Tests.Hardware;

/// <summary>Firmware tables: that of QEMU 7.2's arm64 machine with an SMMU, read from /sys/firmware/acpi/tables in a guest under UEFI, and what is added to it.</summary>
internal static class IortBytes
{
    public const ulong SmmuBase = 0x9050000;
    public const string Smmu = "smmu3.0x0000000009050000";
    /// <summary>Offsets of the nodes that it has: ITS group, SMMUv3, root complex, which gives bus 0 to the SMMU and the others to the ITS.</summary>
    public const uint ItsNode = 48, SmmuNode = 72, RootNode = 160;
    private const int Length = 4, Nodes = 36;

    public static byte[] OfQemu() => Convert.FromHexString(
        "494f5254ec0000000355424f43485320" + "42585043202020200100000042585043" + "01000000030000003000000000000000" + "00180001000000000000000000000000" + "01000000000000000458000401000000"
        + "01000000440000000000050900000000" + "01000000000000000000000000000000" + "000000006a0000006b0000006d000000" + "6c000000000000000000000000000000" + "ffff0000000000003000000000000000"
        + "024c0003020000000200000024000000" + "01000000000000030000000000000000" + "40000000000000000001000000000000" + "480000000000000000010000fffe0000" + "000100003000000000000000");

    /// <summary>With a performance monitor (PMCG, node type 5) of a node's.</summary>
    public static byte[] WithMonitor(this byte[] table, ulong at, uint of)
    {
        var node = new byte[40];
        node[0] = 5;
        BinaryPrimitives.WriteUInt16LittleEndian(node.AsSpan(1), (ushort)node.Length);
        BinaryPrimitives.WriteUInt64LittleEndian(node.AsSpan(16), at);
        BinaryPrimitives.WriteUInt32LittleEndian(node.AsSpan(28), of);
        return table.With(node);
    }

    /// <summary>With a root complex (node type 2) whose functions go to a node.</summary>
    public static byte[] WithRoot(this byte[] table, uint segment, uint first, uint countLessOne, uint output, uint target, bool single = false)
    {
        var node = new byte[36 + 20];
        node[0] = 2;
        BinaryPrimitives.WriteUInt16LittleEndian(node.AsSpan(1), (ushort)node.Length);
        foreach (var (at, value) in (ReadOnlySpan<(int, uint)>)[(8, 1u), (12, 36u), (28, segment), (36, first), (40, countLessOne), (44, output), (48, target), (52, single ? 1u : 0u)])
            BinaryPrimitives.WriteUInt32LittleEndian(node.AsSpan(at), value);
        return table.With(node);
    }

    /// <summary>With one word of it changed.</summary>
    public static byte[] Set(this byte[] table, int at, uint value)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(table.AsSpan(at), value);
        return table;
    }

    private static byte[] With(this byte[] table, byte[] node)
    {
        byte[] all = [.. table, .. node];
        return all.Set(Length, (uint)all.Length).Set(Nodes, BinaryPrimitives.ReadUInt32LittleEndian(table.AsSpan(Nodes)) + 1);
    }
}
