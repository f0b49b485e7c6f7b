using Contracts;
using System.Diagnostics;
using System.Runtime.InteropServices;

namespace GuestAgent.Probe;

/// <summary>QEMU's edu device, opened through VFIO: its DMA engine copies between memory and its own buffer of 4096 bytes.</summary>
internal sealed unsafe class EduDevice : IDisposable
{
    public const string VendorId = "1234", DeviceId = "11e8";
    /// <summary>Half of the device's buffer: QEMU 7.2 takes a transfer that ends with the buffer for one beyond it and ends the whole VMM.</summary>
    public const int TransferBytes = 2048;
    private const ulong BufferAddress = 0x40000;
    private const int Source = 0x80, Destination = 0x88, Count = 0x90, Command = 0x98;
    private const ulong Start = 1, FromDevice = 2;
    private const nuint GetRegionInfo = 0x3B6C;
    private const uint FirstBar = 0, ConfigRegion = 7, CanMap = 4;
    private const int CommandRegister = 4;
    private const ushort MemoryEnable = 2, BusMaster = 4;
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(10);
    private readonly int _device;
    private readonly nuint _registersLength;
    private readonly nint _registers;
    private readonly long _config;

    [StructLayout(LayoutKind.Sequential)]
    private struct RegionInfo
    {
        public uint Size, Flags, Index, CapabilityOffset;
        public ulong Length, Offset;
    }

    public EduDevice(int device)
    {
        _device = device;
        try
        {
            var bar = Region(FirstBar);
            if ((bar.Flags & CanMap) == 0 || bar.Length < Command + sizeof(ulong))
                throw new ProbeException(ProbeReasons.RegionUnmappable, $"region 0 has flags {bar.Flags:x} and {bar.Length} bytes");
            _config = (long)Region(ConfigRegion).Offset;
            _registersLength = (nuint)bar.Length;
            SetCommand(MemoryEnable | BusMaster, true);
            _registers = LibC.Map(0, _registersLength, LibC.ProtectRead | LibC.ProtectWrite, LibC.MapShared, _device, (long)bar.Offset);
            if (_registers == -1)
                throw ProbeException.FromErrno(ProbeReasons.RegionMapFailed, "mmap of the registers");
        }
        catch (ProbeException)
        {
            LibC.Close(_device);
            throw;
        }
    }

    /// <summary>The device reads <paramref name="bytes"/> at this address into its buffer.</summary>
    public void ReadFrom(nint address, int bytes) => Transfer((ulong)address, BufferAddress, bytes, Start);

    /// <summary>The device writes the beginning of its buffer to this address.</summary>
    public void WriteTo(nint address, int bytes) => Transfer(BufferAddress, (ulong)address, bytes, Start | FromDevice);

    private void Transfer(ulong source, ulong destination, int bytes, ulong command)
    {
        Put(Source, source);
        Put(Destination, destination);
        Put(Count, (ulong)bytes);
        Put(Command, command);
        var started = Stopwatch.GetTimestamp();
        while ((Volatile.Read(ref *(ulong*)(_registers + Command)) & Start) != 0)
        {
            if (Stopwatch.GetElapsedTime(started) > Deadline)
                throw new ProbeException(ProbeReasons.DeviceTimeout, $"the device did not end a transfer within {Deadline.TotalSeconds} s");
            LibC.Pause(2);
        }
    }

    private void Put(int register, ulong value) => Volatile.Write(ref *(ulong*)(_registers + register), value);

    private RegionInfo Region(uint index)
    {
        var info = new RegionInfo { Size = (uint)sizeof(RegionInfo), Index = index };
        return LibC.Control(_device, GetRegionInfo, (nuint)(&info)) < 0
            ? throw ProbeException.FromErrno(ProbeReasons.RegionInfoFailed, $"VFIO_DEVICE_GET_REGION_INFO of region {index}")
            : info;
    }

    private void SetCommand(ushort bits, bool on)
    {
        ushort value;
        if (LibC.ReadAt(_device, &value, sizeof(ushort), _config + CommandRegister) != sizeof(ushort))
            throw ProbeException.FromErrno(ProbeReasons.BusMasterFailed, "read of the command register");
        value = on ? (ushort)(value | bits) : (ushort)(value & ~bits);
        if (LibC.WriteAt(_device, &value, sizeof(ushort), _config + CommandRegister) != sizeof(ushort))
            throw ProbeException.FromErrno(ProbeReasons.BusMasterFailed, "write of the command register");
    }

    public void Dispose()
    {
        LibC.Unmap(_registers, _registersLength);
        try
        {
            SetCommand(BusMaster, false);
        }
        finally
        {
            LibC.Close(_device);
        }
    }
}
