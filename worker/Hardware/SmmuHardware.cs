using System.Buffers.Binary;
using Worker.Hardware.Pci;

namespace Worker.Hardware;

/// <summary>What iommufd tells of the SMMU in front of one device (include/uapi/linux/iommufd.h, iommu_hw_info_arm_smmuv3). The registers are raw:
/// errata are not taken out of them, so nesting is judged by the driver's own feature bits (SmmuInstance).
/// <c>MaxPasidBits</c>: of this device behind this SMMU; 0: it can have no PASID.</summary>
public sealed record SmmuHardware(int SubstreamBits, int StreamIdBits, int OutputBits, int StallModel, bool RangeInvalidation, int MaxPasidBits, ushort Implementer, ushort Product)
{
    /// <summary>Bytes of the structure: flags, reserved, IDR0 to IDR5, IIDR, AIDR.</summary>
    public const int Bytes = 40;

    /// <summary>IDR5.OAS is a code, and not a linear one (SMMUv3 specification, 6.3.6).</summary>
    private static readonly int[] OutputSizes = [32, 36, 40, 42, 44, 48, 52];

    /// <summary>Null when the data are too short or name no known output size.</summary>
    public static SmmuHardware? Decode(ReadOnlySpan<byte> data, int maxPasidBits)
    {
        if (data.Length < Bytes)
            return null;
        Span<uint> idr = stackalloc uint[6];
        for (var register = 0; register < idr.Length; register++)
            idr[register] = BinaryPrimitives.ReadUInt32LittleEndian(data[(8 + (4 * register))..]);
        var iidr = BinaryPrimitives.ReadUInt32LittleEndian(data[32..]);
        var oas = (int)(idr[5] & 7);
        return oas >= OutputSizes.Length
            ? null
            : new SmmuHardware((int)(idr[1] >> 6 & 0x1F), (int)(idr[1] & 0x3F), OutputSizes[oas], (int)(idr[0] >> 24 & 3), (idr[3] & 1 << 10) != 0, maxPasidBits, (ushort)(iidr & 0xFFF), (ushort)(iidr >> 20));
    }
}

// Asks iommufd for the SMMU behind a function. Assumes the function is on vfio-pci and held by nobody: to be asked it is opened, which resets it.
// A function that somebody holds refuses to be bound a second time, so a mistake harms nothing.
public static unsafe class SmmuQuery
{
    private const int ReadWrite = 2 | 0x80000;
    private const nuint BindIommufd = 0x3B76, GetHardwareInfo = 0x3B8A;
    private const uint SmmuV3 = 2;

    private struct Bind
    {
        public uint Size;
        public uint Flags;
        public int Iommufd;
        public uint DeviceId;
    }

    private struct HardwareInfo
    {
        public uint Size;
        public uint Flags;
        public uint DeviceId;
        public uint DataLength;
        public ulong Data;
        public uint DataType;
        public byte MaxPasidLog2;
        public fixed byte Reserved[3];
        public ulong Capabilities;
    }

    /// <summary>Null when the function has no VFIO device of its own, when iommufd is missing, or when it is in use.</summary>
    public static SmmuHardware? Ask(HostTree tree, PciAddress address)
    {
        if (tree.Names($"{PciScan.Directory}/{address}/vfio-dev") is not [var name] || !name.StartsWith("vfio", StringComparison.Ordinal) || !name.AsSpan(4).ContainsOnlyDigits())
            return null;
        var iommufd = LibC.Open("/dev/iommu", ReadWrite);
        var device = LibC.Open($"/dev/vfio/devices/{name}", ReadWrite);
        try
        {
            var bind = new Bind { Size = (uint)sizeof(Bind), Iommufd = iommufd };
            if (iommufd < 0 || device < 0 || LibC.Control(device, BindIommufd, (nint)(&bind)) != 0)
                return null;
            var data = stackalloc byte[SmmuHardware.Bytes];
            var info = new HardwareInfo { Size = (uint)sizeof(HardwareInfo), DeviceId = bind.DeviceId, DataLength = SmmuHardware.Bytes, Data = (ulong)data };
            return LibC.Control(iommufd, GetHardwareInfo, (nint)(&info)) == 0 && info.DataType == SmmuV3
                ? SmmuHardware.Decode(new ReadOnlySpan<byte>(data, SmmuHardware.Bytes), info.MaxPasidLog2)
                : null;
        }
        finally
        {
            foreach (var descriptor in (int[])[device, iommufd])
                if (descriptor >= 0)
                    _ = LibC.Close(descriptor);
        }
    }

    private static bool ContainsOnlyDigits(this ReadOnlySpan<char> text) => text.Length > 0 && !text.ContainsAnyExceptInRange('0', '9');
}
