namespace Worker.Vms.Simulated.Iommu;

/// <summary>Numbers of event records (IHI 0070, 7.3).</summary>
internal enum EventType : byte
{
    None = 0, BadStreamId = 0x02, SteFetch = 0x03, BadSte = 0x04, BadAtsRequest = 0x05, StreamDisabled = 0x06, BadSubstreamId = 0x08, CdFetch = 0x09, BadCd = 0x0A,
    WalkExternalAbort = 0x0B, Translation = 0x10, AddressSize = 0x11, Access = 0x12, Permission = 0x13,
}

/// <summary>One record of the event queue, 32 bytes (IHI 0070, 7.3). <c>Stag</c>: -1 for a transaction that does not wait.</summary>
internal readonly record struct EventRecord(
    EventType Type, uint StreamId, int SubstreamId, int Stag, bool Read, bool AtStage2, FaultClass Class, ulong Address, ulong Intermediate)
{
    public const int Words = 4;
    private const ulong SubstreamValid = 1 << 11, Stalled = 1UL << 31, ReadNotWrite = 1UL << 35, Stage2 = 1UL << 39, IntermediateBits = 0x000F_FFFF_FFFF_F000;

    /// <summary>The specification's name, as the kernel and QEMU write it.</summary>
    public static string NameOf(EventType type) => type switch
    {
        EventType.BadStreamId => "C_BAD_STREAMID",
        EventType.SteFetch => "F_STE_FETCH",
        EventType.BadSte => "C_BAD_STE",
        EventType.BadAtsRequest => "F_BAD_ATS_TREQ",
        EventType.StreamDisabled => "F_STREAM_DISABLED",
        EventType.BadSubstreamId => "C_BAD_SUBSTREAMID",
        EventType.CdFetch => "F_CD_FETCH",
        EventType.BadCd => "C_BAD_CD",
        EventType.WalkExternalAbort => "F_WALK_EABT",
        EventType.Translation => "F_TRANSLATION",
        EventType.AddressSize => "F_ADDR_SIZE",
        EventType.Access => "F_ACCESS",
        EventType.Permission => "F_PERMISSION",
        _ => "UNKNOWN",
    };

    public void Encode(Span<ulong> words)
    {
        words[0] = (ulong)Type | (SubstreamId >= 0 ? SubstreamValid | ((ulong)SubstreamId << 12) : 0) | ((ulong)StreamId << 32);
        words[1] = (Stag >= 0 ? Stalled | (ulong)Stag : 0) | (Read ? ReadNotWrite : 0) | (AtStage2 ? Stage2 : 0) | ((ulong)Class << 40);
        words[2] = Address;
        words[3] = AtStage2 ? Intermediate & IntermediateBits : 0;
    }

    public static EventRecord Decode(ReadOnlySpan<ulong> words) => new(
        (EventType)(byte)words[0], (uint)(words[0] >> 32), (words[0] & SubstreamValid) != 0 ? (int)((words[0] >> 12) & 0xFFFFF) : -1,
        (words[1] & Stalled) != 0 ? (int)(words[1] & 0xFFFF) : -1, (words[1] & ReadNotWrite) != 0, (words[1] & Stage2) != 0, (FaultClass)((words[1] >> 40) & 3), words[2], words[3]);
}
