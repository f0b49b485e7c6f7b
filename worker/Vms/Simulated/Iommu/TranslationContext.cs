namespace Worker.Vms.Simulated.Iommu;

/// <summary>What an SMMU has read of a stream and substream: everything that a translation needs.</summary>
internal struct TranslationContext
{
    public uint StreamId;
    public int SubstreamId;
    /// <summary>Why nothing of it is translated; <see cref="EventType.None"/> where it is.</summary>
    public EventType Fault;
    public bool Bypass, Stage1, Stage2, Ats, Stalls, RecordsFaults, AccessFaultDisabled1, AccessFaultDisabled2, WalksDisabled;
    public ushort Asid, Vmid;
    public int Shift1, Shift2, InputBits1, InputBits2;
    public ulong Root1, Root2;

    /// <summary>Of an entry of the TLB: whichever stage has the smaller granule.</summary>
    public readonly int PageShift => !Stage1 ? Shift2 : !Stage2 ? Shift1 : Math.Min(Shift1, Shift2);

    public readonly ulong Tag => TagOf(Vmid, Asid, Stage1);

    public static ulong TagOf(ushort vmid, ushort asid, bool stage1 = true) => ((ulong)vmid << 16) | asid | (stage1 ? 1UL << 32 : 0);
}

/// <summary>Where in a translation a fault was met: event records' CLASS (IHI 0070, 7.3).</summary>
internal enum FaultClass : byte { ContextDescriptor = 0, Table = 1, Input = 2 }

/// <summary>What a walk found. <c>Permissions1</c> and <c>Permissions2</c>: of each stage. <c>LeafShift</c>: how large the leaf of stage 1 is, or of stage 2 without one.
/// <c>Reads</c>: words of memory that were read.</summary>
internal struct WalkResult
{
    public EventType Fault;
    public FaultClass Class;
    public bool AtStage2;
    public Permissions Permissions1, Permissions2;
    public int LeafShift, Reads;
    public ulong Output, Intermediate;

    public readonly Permissions Permissions => Permissions1 & Permissions2;
}
