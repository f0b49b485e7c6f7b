using System.Globalization;

namespace Worker.Hardware;

/// <summary>Cores of one kind. <c>Name</c> is null for a part that this table does not know.</summary>
public sealed record CpuCores(byte Implementer, ushort Part, byte Variant, byte Revision, string? Name, int Count);

// MIDR_EL1 (Arm ARM D24.2.122): implementer 31:24, variant 23:20, part 15:4, revision 3:0. Cores of a machine may differ, so all are read.
public static class CpuScan
{
    private const string Directory = "sys/devices/system/cpu";

    private static readonly Dictionary<(byte, ushort), string> Names = new()
    {
        [(0x41, 0xD0C)] = "Neoverse N1",
        [(0x41, 0xD40)] = "Neoverse V1",
        [(0x41, 0xD49)] = "Neoverse N2",
        [(0x41, 0xD4F)] = "Neoverse V2",
        [(0x41, 0xD83)] = "Neoverse V3AE",
        [(0x41, 0xD84)] = "Neoverse V3",
        [(0x41, 0xD8E)] = "Neoverse N3",
        [(0x48, 0xD01)] = "Kunpeng 920",
        [(0x6D, 0xD49)] = "Azure Cobalt 100",
        [(0xC0, 0xAC3)] = "AmpereOne",
    };

    public static IReadOnlyList<CpuCores> Read(HostTree tree) =>
    [
        .. tree.Names(Directory).Where(IsCpu).Select(cpu => tree.Number($"{Directory}/{cpu}/regs/identification/midr_el1")).OfType<long>()
            .GroupBy(midr => midr).OrderBy(kind => kind.Key).Select(kind => Decode((ulong)kind.Key, kind.Count())),
    ];

    internal static CpuCores Decode(ulong midr, int count)
    {
        var (implementer, part) = ((byte)(midr >> 24), (ushort)(midr >> 4 & 0xFFF));
        return new CpuCores(implementer, part, (byte)(midr >> 20 & 0xF), (byte)(midr & 0xF), Names.GetValueOrDefault((implementer, part)), count);
    }

    private static bool IsCpu(string name) =>
        name.StartsWith("cpu", StringComparison.Ordinal) && int.TryParse(name.AsSpan(3), NumberStyles.None, CultureInfo.InvariantCulture, out _);
}
