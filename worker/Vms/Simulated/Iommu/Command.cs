namespace Worker.Vms.Simulated.Iommu;

/// <summary>Opcodes of the command queue (IHI 0070, 4.1).</summary>
internal enum Opcode : byte
{
    ConfigureSte = 0x03, ConfigureAll = 0x04, ConfigureCd = 0x05, ConfigureCdAll = 0x06, TlbiAsid = 0x11, TlbiAddress = 0x12, TlbiVm = 0x28, TlbiAll = 0x30,
    InvalidateAtc = 0x40, RespondToPages = 0x41, Resume = 0x44, Sync = 0x46,
}

/// <summary>CMD_PRI_RESP's Resp.</summary>
internal enum PageAnswer : byte { Failure = 0, Invalid = 1, Success = 2 }

/// <summary>CMD_RESUME's Ac and Ab.</summary>
internal enum ResumeAction : byte { Terminate = 0, Retry = 1, Abort = 2 }

/// <summary>One command, 16 bytes, as it lies in the command queue (IHI 0070, 4). Its fields are read from the two words.</summary>
internal readonly record struct Command(ulong Word0, ulong Word1)
{
    public const int Words = 2;
    /// <summary>CMD_ATC_INV's Size for every address.</summary>
    public const int WholeAddressSpace = 52;
    private const ulong SubstreamValid = 1 << 11, PageBits = ~0xFFFUL;

    public Opcode Opcode => (Opcode)(byte)Word0;
    public uint StreamId => (uint)(Word0 >> 32);
    public int SubstreamId => (Word0 & SubstreamValid) != 0 || Opcode == Opcode.ConfigureCd ? (int)((Word0 >> 12) & 0xFFFFF) : -1;
    public ushort Vmid => (ushort)(Word0 >> 32);
    public ushort Asid => (ushort)(Word0 >> 48);
    public ulong Address => Word1 & PageBits;
    /// <summary>log2 of the pages of 4 KiB.</summary>
    public int Size => (int)(Word1 & 0x3F);
    public int Group => (int)(Word1 & 0x1FF);
    public PageAnswer Answer => (PageAnswer)((Word1 >> 12) & 3);
    public ResumeAction Action => (ResumeAction)((Word0 >> 12) & 3);
    public int Stag => (int)(Word1 & 0xFFFF);

    public static Command Ste(uint stream) => new((ulong)Opcode.ConfigureSte | ((ulong)stream << 32), 1);

    /// <summary>CMD_CFGI_ALL: CMD_CFGI_STE_RANGE of every stream.</summary>
    public static Command AllConfiguration() => new((ulong)Opcode.ConfigureAll, 31);

    public static Command Cd(uint stream, int substream) => new((ulong)Opcode.ConfigureCd | ((ulong)substream << 12) | ((ulong)stream << 32), 1);

    public static Command AllCds(uint stream) => new((ulong)Opcode.ConfigureCdAll | ((ulong)stream << 32), 0);

    public static Command TlbiByAddress(ushort vmid, ushort asid, ulong address) => new((ulong)Opcode.TlbiAddress | ((ulong)vmid << 32) | ((ulong)asid << 48), (address & PageBits) | 1);

    public static Command TlbiByAsid(ushort vmid, ushort asid) => new((ulong)Opcode.TlbiAsid | ((ulong)vmid << 32) | ((ulong)asid << 48), 0);

    public static Command TlbiByVmid(ushort vmid) => new((ulong)Opcode.TlbiVm | ((ulong)vmid << 32), 0);

    public static Command TlbiEverything() => new((ulong)Opcode.TlbiAll, 0);

    public static Command Atc(uint stream, int substream, ulong address, int size) =>
        new((ulong)Opcode.InvalidateAtc | SubstreamValid | ((ulong)substream << 12) | ((ulong)stream << 32), (address & PageBits) | (uint)size);

    public static Command Respond(uint stream, int substream, int group, PageAnswer answer) =>
        new((ulong)Opcode.RespondToPages | SubstreamValid | ((ulong)substream << 12) | ((ulong)stream << 32), (uint)group | ((ulong)answer << 12));

    public static Command Resume(uint stream, int stag, ResumeAction action) => new((ulong)Opcode.Resume | ((ulong)action << 12) | ((ulong)stream << 32), (uint)stag);

    public static Command Sync() => new((ulong)Opcode.Sync, 0);
}
