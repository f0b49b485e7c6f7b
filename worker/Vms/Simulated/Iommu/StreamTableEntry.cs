using Worker.Vms.Simulated.Memory;

namespace Worker.Vms.Simulated.Iommu;

/// <summary>STE.Config[2:0] (IHI 0070, 5.2).</summary>
internal enum StreamConfig : byte { Abort = 0b000, Bypass = 0b100, Stage1 = 0b101, Stage2 = 0b110, Nested = 0b111 }

/// <summary>STE.S1DSS: what happens to a transaction without a substream ID.</summary>
internal enum DefaultSubstream : byte { Terminate = 0, BypassStage1 = 1, Substream0 = 2 }

/// <summary>One entry of the stream table, 64 bytes (IHI 0070, 5.2). Granules as shifts, 12 or 16; addresses in bytes.</summary>
/// <param name="Valid">STE.V.</param>
/// <param name="Config">Which stages translate.</param>
/// <param name="ContextTable">STE.S1ContextPtr; intermediate physical when stage 2 translates too.</param>
/// <param name="ContextBits">STE.S1CDMax: log2 of how many context descriptors there are.</param>
/// <param name="Default">STE.S1DSS.</param>
/// <param name="Ats">STE.EATS is 0b01: full ATS.</param>
/// <param name="StallDisabled">STE.S1STALLD.</param>
/// <param name="Vmid">STE.S2VMID.</param>
/// <param name="Stage2InputBits">64 - STE.S2T0SZ.</param>
/// <param name="Stage2Shift">STE.S2TG.</param>
/// <param name="Stage2Root">STE.S2TTB.</param>
/// <param name="Stage2AccessFaultDisabled">STE.S2AFFD.</param>
internal readonly record struct StreamTableEntry(
    bool Valid, StreamConfig Config, ulong ContextTable, int ContextBits, DefaultSubstream Default, bool Ats, bool StallDisabled,
    ushort Vmid, int Stage2InputBits, int Stage2Shift, ulong Stage2Root, bool Stage2AccessFaultDisabled)
{
    public const int Bytes = 64;
    private const ulong ContextTableBits = 0x000F_FFFF_FFFF_FFC0, Stage2RootBits = 0x000F_FFFF_FFFF_FFF0;
    private const ulong Stage2Aarch64 = 1UL << 51, Stage2RecordsFaults = 1UL << 58;
    /// <summary>STE.S2PS for output addresses of 48 bits.</summary>
    private const ulong Output48 = 0b101;

    public bool HasStage1 => Config is StreamConfig.Stage1 or StreamConfig.Nested;
    public bool HasStage2 => Config is StreamConfig.Stage2 or StreamConfig.Nested;

    public void Write(PhysicalMemory memory, ulong address)
    {
        memory.Write(address, (Valid ? 1UL : 0) | ((ulong)Config << 1) | (ContextTable & ContextTableBits) | ((ulong)ContextBits << 59));
        memory.Write(address + 8, (ulong)Default | (StallDisabled ? 1UL << 27 : 0) | (Ats ? 1UL << 28 : 0));
        memory.Write(address + 16, !HasStage2 ? Vmid : Vmid | ((ulong)(64 - Stage2InputBits) << 32)
            | (StartLevel(Stage2Shift) << 38) | ((Stage2Shift == 16 ? 1UL : 0) << 46) | (Output48 << 48) | Stage2Aarch64
            | (Stage2AccessFaultDisabled ? 1UL << 53 : 0) | Stage2RecordsFaults);
        memory.Write(address + 24, Stage2Root & Stage2RootBits);
    }

    /// <summary>False where the words cannot be read.</summary>
    public static bool TryRead(PhysicalMemory memory, ulong address, out StreamTableEntry entry)
    {
        entry = default;
        if (!memory.TryRead(address, out var word0) || !memory.TryRead(address + 8, out var word1) || !memory.TryRead(address + 16, out var word2) || !memory.TryRead(address + 24, out var word3))
            return false;
        entry = new StreamTableEntry(
            (word0 & 1) != 0, (StreamConfig)((word0 >> 1) & 7), word0 & ContextTableBits, (int)(word0 >> 59), (DefaultSubstream)(word1 & 3),
            ((word1 >> 28) & 3) == 1, (word1 & (1UL << 27)) != 0, (ushort)word2, 64 - (int)((word2 >> 32) & 0x3F), ((word2 >> 46) & 3) == 1 ? 16 : 12,
            word3 & Stage2RootBits, (word2 & (1UL << 53)) != 0);
        return true;
    }

    /// <summary>STE.S2SL0 of 48-bit addresses: level 0 with 4 KiB, level 1 with 64 KiB granules.</summary>
    private static ulong StartLevel(int shift) => shift is 12 or 16 ? 2UL : 0;
}
