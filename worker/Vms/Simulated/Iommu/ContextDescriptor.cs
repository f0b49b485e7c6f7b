using Worker.Vms.Simulated.Memory;

namespace Worker.Vms.Simulated.Iommu;

/// <summary>One context descriptor, 64 bytes, of one substream (IHI 0070, 5.4): a process's address space.</summary>
/// <param name="Valid">CD.V.</param>
/// <param name="Asid">CD.ASID.</param>
/// <param name="Root">CD.TTB0.</param>
/// <param name="Shift">CD.TG0 as a shift: 12 or 16.</param>
/// <param name="InputBits">64 - CD.T0SZ.</param>
/// <param name="Stall">CD.S: a faulting transaction waits.</param>
/// <param name="RecordsFaults">CD.R.</param>
/// <param name="AccessFaultDisabled">CD.AFFD.</param>
/// <param name="Disabled">CD.EPD0: no walks, every address faults.</param>
internal readonly record struct ContextDescriptor(
    bool Valid, ushort Asid, ulong Root, int Shift, int InputBits, bool Stall, bool RecordsFaults, bool AccessFaultDisabled, bool Disabled)
{
    public const int Bytes = 64;
    private const ulong RootBits = 0x000F_FFFF_FFFF_FFF0, Aarch64 = 1UL << 41, UpperHalfDisabled = 1UL << 30, Aborts = 1UL << 46, OwnAsids = 1UL << 47;
    /// <summary>CD.IPS for intermediate addresses of 48 bits.</summary>
    private const ulong Output48 = 0b101;
    private const ulong NormalWriteBack = 0xFF;

    /// <summary>The four words that have something in them.</summary>
    public (ulong Word0, ulong Word1, ulong Word2, ulong Word3) Encode() => (
        (uint)(64 - InputBits) | ((Shift == 16 ? 1UL : 0) << 6) | (Disabled ? 1UL << 14 : 0) | UpperHalfDisabled | (Valid ? 1UL << 31 : 0) | (Output48 << 32)
        | (AccessFaultDisabled ? 1UL << 35 : 0) | Aarch64 | (Stall ? 1UL << 44 : 0) | (RecordsFaults ? 1UL << 45 : 0) | Aborts | OwnAsids | ((ulong)Asid << 48),
        Root & RootBits, 0, NormalWriteBack);

    public static ContextDescriptor Decode(ulong word0, ulong word1) => new(
        (word0 & (1UL << 31)) != 0, (ushort)(word0 >> 48), word1 & RootBits, ((word0 >> 6) & 3) == 1 ? 16 : 12, 64 - (int)(word0 & 0x3F),
        (word0 & (1UL << 44)) != 0, (word0 & (1UL << 45)) != 0, (word0 & (1UL << 35)) != 0, (word0 & (1UL << 14)) != 0);

    /// <summary>AArch64 tables of a size that this SMMU walks; anything else is C_BAD_CD.</summary>
    public static bool IsLegal(ulong word0) => (word0 & Aarch64) != 0 && ((word0 >> 6) & 3) is 0 or 1 && (word0 & 0x3F) is >= 16 and <= 39;

    /// <summary>Where a guest's table of descriptors has those of a substream, into its memory.</summary>
    public void Write(GuestPhysicalMemory guest, ulong address)
    {
        var (word0, word1, word2, word3) = Encode();
        // The word with V last: whoever reads in between finds no descriptor rather than half of one.
        guest.Write(address + 8, word1);
        guest.Write(address + 16, word2);
        guest.Write(address + 24, word3);
        guest.Write(address, word0);
    }
}
