namespace Worker.Vms.Simulated.Iommu;

[Flags]
internal enum Permissions : byte { None = 0, Read = 1, Write = 2, Execute = 4, All = 7 }

// Entries of translation tables, VMSAv8-64 (Arm ARM DDI 0487, D8.3: descriptor formats). Output addresses of 48 bits.
internal static class Descriptor
{
    public const ulong Valid = 1, TableOrPage = 1 << 1, AccessFlag = 1 << 10, NotGlobal = 1 << 11, PrivilegedExecuteNever = 1UL << 53, ExecuteNever = 1UL << 54;
    /// <summary>AP[1]: unprivileged accesses are allowed; AP[2]: writes are not.</summary>
    public const ulong Unprivileged = 1 << 6, ReadOnly = 1 << 7;
    /// <summary>S2AP.</summary>
    public const ulong Stage2Read = 1 << 6, Stage2Write = 1 << 7;
    /// <summary>One of the bits that hardware ignores: the guest's kernel notes that a write makes a copy.</summary>
    public const ulong CopyOnWrite = 1UL << 55;
    private const ulong InnerShareable = 3 << 8, AddressBits = 0x0000_FFFF_FFFF_F000, NormalMemoryAtStage2 = 0xF << 2, ExecuteNeverAtStage2 = 1UL << 54;

    public static ulong Table(ulong address) => address | TableOrPage | Valid;

    /// <summary>A page of a process: for its own address space only, and for unprivileged accesses.</summary>
    public static ulong Page(ulong address, Permissions permissions) =>
        address | TableOrPage | Valid | Unprivileged | InnerShareable | AccessFlag | NotGlobal | PrivilegedExecuteNever
        | ((permissions & Permissions.Write) == 0 ? ReadOnly : 0) | ((permissions & Permissions.Execute) == 0 ? ExecuteNever : 0);

    public static ulong Stage2(ulong address, Permissions permissions) =>
        address | TableOrPage | Valid | InnerShareable | AccessFlag | NormalMemoryAtStage2
        | ((permissions & Permissions.Read) != 0 ? Stage2Read : 0) | ((permissions & Permissions.Write) != 0 ? Stage2Write : 0)
        | ((permissions & Permissions.Execute) == 0 ? ExecuteNeverAtStage2 : 0);

    public static ulong Block(ulong page) => page & ~TableOrPage;

    public static ulong AddressOf(ulong descriptor, int shift) => descriptor & AddressBits & ~((1UL << shift) - 1);

    /// <summary>Of an unprivileged access.</summary>
    public static Permissions Stage1Permissions(ulong descriptor) => (descriptor & Unprivileged) == 0
        ? Permissions.None
        : Permissions.Read | ((descriptor & ReadOnly) == 0 ? Permissions.Write : 0) | ((descriptor & ExecuteNever) == 0 ? Permissions.Execute : 0);

    public static Permissions Stage2Permissions(ulong descriptor) =>
        ((descriptor & Stage2Read) != 0 ? Permissions.Read : 0) | ((descriptor & Stage2Write) != 0 ? Permissions.Write : 0) | ((descriptor & ExecuteNeverAtStage2) == 0 ? Permissions.Execute : 0);
}
