using Contracts;
using System.Runtime.InteropServices;
using System.Text;

namespace GuestAgent.Probe;

/// <summary>One VFIO type1 container with one group in it. Numbers and layouts are those of the kernel's linux/vfio.h.</summary>
internal sealed unsafe class VfioGroup : IDisposable
{
    private const nuint GetApiVersion = 0x3B64, CheckExtension = 0x3B65, SetIommu = 0x3B66, GetGroupStatus = 0x3B67,
        SetContainer = 0x3B68, GetDeviceDescriptor = 0x3B6A, MapDma = 0x3B71, UnmapDma = 0x3B72;
    private const nuint Type1V2 = 3;
    private const uint GroupViable = 1, DmaRead = 1, DmaWrite = 2;
    private readonly int _container;
    private readonly int _group;

    [StructLayout(LayoutKind.Sequential)]
    private struct GroupStatus
    {
        public uint Size, Flags;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct DmaMap
    {
        public uint Size, Flags;
        public ulong Address, IoAddress, Length;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct DmaUnmap
    {
        public uint Size, Flags;
        public ulong IoAddress, Length;
    }

    public VfioGroup(string number)
    {
        _container = LibC.Open("/dev/vfio/vfio", LibC.ReadWrite | LibC.CloseOnExec);
        if (_container < 0)
            throw ProbeException.FromErrno(ProbeReasons.VfioUnavailable, "open /dev/vfio/vfio");
        _group = -1;
        try
        {
            if (LibC.Control(_container, GetApiVersion, 0) != 0)
                throw new ProbeException(ProbeReasons.VfioApiMismatch, "the kernel's VFIO interface is not version 0");
            if (LibC.Control(_container, CheckExtension, Type1V2) != 1)
                throw new ProbeException(ProbeReasons.Type1Unsupported, "the kernel's VFIO has no type1 v2 IOMMU");
            _group = LibC.Open("/dev/vfio/" + number, LibC.ReadWrite | LibC.CloseOnExec);
            if (_group < 0)
                throw ProbeException.FromErrno(ProbeReasons.GroupOpenFailed, $"open /dev/vfio/{number}");
            Attach(number);
        }
        catch (ProbeException)
        {
            Dispose();
            throw;
        }
    }

    private void Attach(string number)
    {
        var status = new GroupStatus { Size = (uint)sizeof(GroupStatus) };
        if (LibC.Control(_group, GetGroupStatus, (nuint)(&status)) < 0)
            throw ProbeException.FromErrno(ProbeReasons.GroupStatusFailed, "VFIO_GROUP_GET_STATUS");
        if ((status.Flags & GroupViable) == 0)
            throw new ProbeException(ProbeReasons.GroupNotViable, $"group {number} holds another function that is bound to a driver");
        var container = _container;
        if (LibC.Control(_group, SetContainer, (nuint)(&container)) < 0)
            throw ProbeException.FromErrno(ProbeReasons.SetContainerFailed, "VFIO_GROUP_SET_CONTAINER");
        if (LibC.Control(_container, SetIommu, Type1V2) < 0)
            throw ProbeException.FromErrno(ProbeReasons.SetIommuFailed, "VFIO_SET_IOMMU");
    }

    public int OpenDevice(string address)
    {
        fixed (byte* name = Encoding.ASCII.GetBytes(address + "\0"))
        {
            var device = LibC.Control(_group, GetDeviceDescriptor, (nuint)name);
            return device >= 0 ? device : throw ProbeException.FromErrno(ProbeReasons.DeviceOpenFailed, "VFIO_GROUP_GET_DEVICE_FD");
        }
    }

    /// <summary>Maps memory at the I/O address that equals its virtual address.</summary>
    public void Map(nint address, nuint length)
    {
        var map = new DmaMap
        {
            Size = (uint)sizeof(DmaMap), Flags = DmaRead | DmaWrite, Address = (ulong)address, IoAddress = (ulong)address, Length = length,
        };
        if (LibC.Control(_container, MapDma, (nuint)(&map)) < 0)
            throw ProbeException.FromErrno(ProbeReasons.DmaMapFailed, "VFIO_IOMMU_MAP_DMA at the buffer's own virtual address");
    }

    public void Unmap(nint address, nuint length)
    {
        var unmap = new DmaUnmap { Size = (uint)sizeof(DmaUnmap), IoAddress = (ulong)address, Length = length };
        if (LibC.Control(_container, UnmapDma, (nuint)(&unmap)) < 0)
            throw ProbeException.FromErrno(ProbeReasons.DmaUnmapFailed, "VFIO_IOMMU_UNMAP_DMA");
    }

    public void Dispose()
    {
        if (_group >= 0)
            LibC.Close(_group);
        LibC.Close(_container);
    }
}
