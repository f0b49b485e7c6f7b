using System.Buffers.Binary;
using Worker.Hardware.Pci;

namespace Worker.Hardware;

/// <summary>Where the firmware says that a function's DMA arrives. <c>SmmuBase</c>: the address of that SMMU, by which /sys/class/iommu names it.</summary>
public readonly record struct DmaStream(ulong SmmuBase, uint StreamId);

// Pure but for reading it: the firmware's IO Remapping Table (Arm DEN 0049), by which alone user space can know a function's StreamID and whose a performance monitor (PMCG) is.
// Guarantees: a table that is cut, loops or points beyond itself is null, or knows less; nothing is guessed. A mapping that ends one too late, as firmware
// and QEMU write it, gives way to the one that begins there, as in Linux.
// Assumes: a function's requests bear its own number; aliases of conventional PCI and of quirks are not seen. A host with a device tree has no such table.
public sealed class IortTable
{
    private const int MaxBytes = 1 << 20, HeaderBytes = 48, NodeHeaderBytes = 16, MappingBytes = 20, MostNodes = 4096, MostMappings = 65_536;
    private const byte RootComplex = 2, SmmuV3 = 4, Monitor = 5;
    private const uint SingleMapping = 1;
    private readonly Dictionary<uint, ulong> _smmus = [];
    private readonly List<(uint Segment, Mapping Mapping)> _mappings = [];
    private readonly List<(ulong Base, uint Of)> _monitors = [];

    private readonly record struct Mapping(uint First, uint CountLessOne, uint Output, uint Target, bool IsSingle);

    private IortTable()
    {
    }

    /// <summary>Null when there is none, or it may not be read: that takes root.</summary>
    public static IortTable? Read(HostTree tree) => tree.Bytes("sys/firmware/acpi/tables/IORT", MaxBytes) is { } bytes ? Parse(bytes) : null;

    internal static IortTable? Parse(ReadOnlySpan<byte> table)
    {
        if (table.Length < HeaderBytes || !table.StartsWith("IORT"u8) || Word(table, 4) is not { } length || length > table.Length)
            return null;
        table = table[..(int)length];
        var read = new IortTable();
        var (nodes, at) = (Word(table, 36) ?? 0, (long)(Word(table, 40) ?? 0));
        if (nodes > MostNodes || at < HeaderBytes)
            return null;
        for (var node = 0; node < nodes; node++)
        {
            if (at + NodeHeaderBytes > table.Length)
                return null;
            var bytes = BinaryPrimitives.ReadUInt16LittleEndian(table[(int)(at + 1)..]);
            if (bytes < NodeHeaderBytes || at + bytes > table.Length || !read.Take((uint)at, table.Slice((int)at, bytes)))
                return null;
            at += bytes;
        }
        return read;
    }

    /// <summary>Null when the firmware names no SMMU for the function, or two.</summary>
    public DmaStream? StreamOf(PciAddress function)
    {
        var id = ((uint)function.Bus << 8) | ((uint)function.Device << 3) | function.Function;
        var fitting = _mappings.Where(m => m.Segment == function.Domain && (m.Mapping.IsSingle || (id >= m.Mapping.First && id - m.Mapping.First <= m.Mapping.CountLessOne))).Select(m => m.Mapping).ToList();
        if (fitting.Count > 1)
            fitting.RemoveAll(m => !m.IsSingle && m.CountLessOne > 0 && id - m.First == m.CountLessOne);
        return fitting is [var only] && _smmus.TryGetValue(only.Target, out var smmu) ? new DmaStream(smmu, only.IsSingle ? only.Output : unchecked(only.Output + (id - only.First))) : null;
    }

    /// <summary>The addresses of an SMMU's performance monitors.</summary>
    public IReadOnlyList<ulong> MonitorsOf(ulong smmuBase) => [.. _monitors.Where(monitor => _smmus.TryGetValue(monitor.Of, out var smmu) && smmu == smmuBase).Select(monitor => monitor.Base)];

    private bool Take(uint offset, ReadOnlySpan<byte> node)
    {
        const int smmuBytes = 24, rootBytes = 32, monitorBytes = 32;
        switch (node[0])
        {
            case SmmuV3 when node.Length >= smmuBytes:
                _smmus[offset] = BinaryPrimitives.ReadUInt64LittleEndian(node[16..]);
                return true;
            case RootComplex when node.Length >= rootBytes:
                return TakeMappings(Word(node, 28)!.Value, node);
            case Monitor when node.Length >= monitorBytes:
                _monitors.Add((BinaryPrimitives.ReadUInt64LittleEndian(node[16..]), Word(node, 28)!.Value));
                return true;
            default:
                return node[0] is not (SmmuV3 or RootComplex or Monitor);
        }
    }

    private bool TakeMappings(uint segment, ReadOnlySpan<byte> node)
    {
        var (count, from) = (Word(node, 8)!.Value, Word(node, 12)!.Value);
        if (count > MostMappings || from + (ulong)count * MappingBytes > (ulong)node.Length)
            return false;
        for (var index = 0; index < count; index++)
        {
            var at = node.Slice((int)from + (index * MappingBytes), MappingBytes);
            _mappings.Add((segment, new Mapping(Word(at, 0)!.Value, Word(at, 4)!.Value, Word(at, 8)!.Value, Word(at, 12)!.Value, (Word(at, 16)!.Value & SingleMapping) != 0)));
        }
        return _mappings.Count <= MostMappings;
    }

    private static uint? Word(ReadOnlySpan<byte> bytes, int at) => at + sizeof(uint) <= bytes.Length ? BinaryPrimitives.ReadUInt32LittleEndian(bytes[at..]) : null;
}
