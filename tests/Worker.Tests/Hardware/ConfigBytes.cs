using System.Buffers.Binary;
using Worker.Hardware.Pci;

namespace Worker.Tests.Hardware;

/// <summary>A configuration space put together register by register.</summary>
internal sealed class ConfigBytes
{
    private readonly byte[] _bytes = new byte[PciConfigSpace.Bytes];
    private int _standard = 0x40, _lastStandard = 0x34;
    private int _extended = 0x100, _lastExtended;

    public ConfigBytes(uint id)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(_bytes, (ushort)(id >> 16));
        BinaryPrimitives.WriteUInt16LittleEndian(_bytes.AsSpan(2), (ushort)id);
    }

    public ConfigBytes Express(bool flr = true) => Standard(0x10, at => BinaryPrimitives.WriteUInt32LittleEndian(_bytes.AsSpan(at + 4), flr ? 1u << 28 : 0));
    public ConfigBytes AdvancedFeatures(bool flr) => Standard(0x13, at => _bytes[at + 3] = (byte)(flr ? 2 : 0));
    public ConfigBytes Ats(int depth = 0, bool enabled = false) => Extended(0x0F, at => Words(at + 4, (ushort)(depth | 1 << 5), (ushort)(enabled ? 1 << 15 : 0)));
    public ConfigBytes Pri(uint most = 64) => Extended(0x13, at => BinaryPrimitives.WriteUInt32LittleEndian(_bytes.AsSpan(at + 8), most));
    public ConfigBytes Pasid(int width = 20) => Extended(0x1B, at => Words(at + 4, (ushort)(width << 8 | 2), 1));
    public ConfigBytes Acs() => Extended(0x0D, at => Words(at + 4, 0x1F, 0x1D));
    public ConfigBytes Sriov(ushort total, ushort number) => Extended(0x10, at =>
    {
        Words(at + 8, (ushort)(number > 0 ? 1 : 0));
        Words(at + 0xE, total, number);
    });
    public ConfigBytes Aer() => Extended(0x01, _ => { });

    /// <summary>The last extended capability points back to the first.</summary>
    public byte[] Looping()
    {
        var header = BinaryPrimitives.ReadUInt32LittleEndian(_bytes.AsSpan(_lastExtended));
        BinaryPrimitives.WriteUInt32LittleEndian(_bytes.AsSpan(_lastExtended), header & 0xFFFFF | 0x100u << 20);
        return _bytes;
    }

    public byte[] Build(int length = PciConfigSpace.Bytes) => _bytes[..length];

    private ConfigBytes Standard(byte id, Action<int> fill)
    {
        _bytes[6] |= 1 << 4;
        _bytes[_lastStandard] = (byte)_standard;
        (_bytes[_standard], _lastStandard) = (id, _standard + 1);
        fill(_standard);
        _standard += 0x40;
        return this;
    }

    private ConfigBytes Extended(ushort id, Action<int> fill)
    {
        if (_lastExtended != 0)
            BinaryPrimitives.WriteUInt32LittleEndian(_bytes.AsSpan(_lastExtended), BinaryPrimitives.ReadUInt32LittleEndian(_bytes.AsSpan(_lastExtended)) | (uint)_extended << 20);
        BinaryPrimitives.WriteUInt32LittleEndian(_bytes.AsSpan(_extended), id | 1u << 16);
        _lastExtended = _extended;
        fill(_extended);
        _extended += 0x40;
        return this;
    }

    private void Words(int at, params ushort[] words)
    {
        foreach (var (index, word) in words.Index())
            BinaryPrimitives.WriteUInt16LittleEndian(_bytes.AsSpan(at + (2 * index)), word);
    }
}
