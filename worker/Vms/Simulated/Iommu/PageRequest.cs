namespace Worker.Vms.Simulated.Iommu;

/// <summary>Response codes of a PRG Response message (PCI Express, 10.4.2.1; IHI 0070, 8.3).</summary>
internal enum PageResponse : byte { Success = 0b0000, Invalid = 0b0001, Failure = 0b1111 }

/// <summary>One entry of the PRI queue, 16 bytes (IHI 0070, 8). <c>Group</c>: PRGIndex. <c>SubstreamId</c>: -1 without a PASID.</summary>
internal readonly record struct PageRequest(uint StreamId, int SubstreamId, int Group, bool Last, bool Read, bool Write, ulong Address)
{
    public const int Words = 2;
    private const ulong ReadBit = 1UL << 60, WriteBit = 1UL << 61, LastBit = 1UL << 62, SubstreamValid = 1UL << 63, PageBits = ~0xFFFUL;

    public void Encode(Span<ulong> words)
    {
        words[0] = StreamId | (SubstreamId >= 0 ? SubstreamValid | ((ulong)(uint)SubstreamId << 32) : 0) | (Read ? ReadBit : 0) | (Write ? WriteBit : 0) | (Last ? LastBit : 0);
        words[1] = (uint)Group | (Address & PageBits);
    }

    public static PageRequest Decode(ReadOnlySpan<ulong> words) => new(
        (uint)words[0], (words[0] & SubstreamValid) != 0 ? (int)((words[0] >> 32) & 0xFFFFF) : -1, (int)(words[1] & 0x1FF),
        (words[0] & LastBit) != 0, (words[0] & ReadBit) != 0, (words[0] & WriteBit) != 0, words[1] & PageBits);
}
