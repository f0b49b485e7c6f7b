using System.Buffers.Binary;

namespace Worker.Hardware.Pci;

public enum Presence { Unknown, Absent, Present }

/// <summary>What became of reading a function's configuration space. <c>Truncated</c>: an unprivileged reader gets 64 bytes (pci-sysfs).
/// <c>Damaged</c>: a list that runs in a circle or points outside. <c>Gone</c>: all ones, the function does not answer.</summary>
public enum ConfigState { Complete, Truncated, Damaged, Gone }

/// <summary>Address Translation Services. <c>QueueDepth</c>: 1 to 32 invalidations (0 in the register means 32).</summary>
public sealed record AtsCapability(int QueueDepth, bool PageAligned, bool Enabled);

/// <summary>Page Request Interface. <c>MaxRequests</c>: page requests that the function can have outstanding.</summary>
public sealed record PriCapability(long MaxRequests, bool Enabled);

/// <summary>Process Address Space ID. <c>WidthBits</c>: Max PASID Width, 0 to 20.</summary>
public sealed record PasidCapability(int WidthBits, bool Execute, bool Privileged, bool Enabled);

/// <summary>Access Control Services; bits of both registers: SV 0, TB 1, RR 2, CR 3, UF 4, EC 5, DT 6.</summary>
public sealed record AcsCapability(ushort Supported, ushort Enabled);

/// <summary>Single Root I/O Virtualization of a physical function.</summary>
public sealed record SriovCapability(int TotalVfs, int NumVfs, bool Enabled);

/// <summary>The capabilities of one function (PCI Express Base Specification, pci_regs.h). A part that could not be read is Unknown or null, never absent.</summary>
public sealed record PciCapabilities(
    ConfigState State, bool? IsExpress, Presence Flr, Presence Ats, Presence Pri, Presence Pasid, Presence Acs, Presence Sriov, Presence Aer,
    AtsCapability? AtsDetail, PriCapability? PriDetail, PasidCapability? PasidDetail, AcsCapability? AcsDetail, SriovCapability? SriovDetail)
{
    public static readonly PciCapabilities Unreadable = new(
        ConfigState.Truncated, null, Presence.Unknown, Presence.Unknown, Presence.Unknown, Presence.Unknown, Presence.Unknown, Presence.Unknown, Presence.Unknown,
        null, null, null, null, null);
}

// Pure: bytes of a configuration space to capabilities. Never throws and always ends, whatever the bytes are: each list is walked at most once.
public static class PciConfigSpace
{
    public const int Bytes = 4096, ConventionalBytes = 256, UnprivilegedBytes = 64;
    private const int FirstExtended = 0x100, MaxExtendedHops = 960;
    private const byte ExpressId = 0x10, AdvancedFeaturesId = 0x13;
    private const ushort AerId = 0x01, AcsId = 0x0D, AtsId = 0x0F, SriovId = 0x10, PriId = 0x13, PasidId = 0x1B;

    public static PciCapabilities Parse(ReadOnlySpan<byte> config)
    {
        if (config.Length < UnprivilegedBytes)
            return PciCapabilities.Unreadable;
        // Both ids of a virtual function read as all ones (SR-IOV, 3.4.1); the rest of its header does not.
        if (!config[..UnprivilegedBytes].ContainsAnyExcept((byte)0xFF))
            return PciCapabilities.Unreadable with { State = ConfigState.Gone };
        var standard = WalkStandard(config, out var standardState);
        int? express = standard.TryGetValue(ExpressId, out var at) ? at : null;
        var isExpress = express is not null ? true : standardState == ConfigState.Complete ? false : (bool?)null;
        var extended = WalkExtended(config, isExpress, out var extendedState);

        Presence Extended(ushort id) => extended.ContainsKey(id) ? Presence.Present : extendedState == ConfigState.Complete ? Presence.Absent : Presence.Unknown;
        return new PciCapabilities(
            standardState == ConfigState.Complete ? extendedState : standardState, isExpress, FlrOf(config, express, standard, standardState),
            Extended(AtsId), Extended(PriId), Extended(PasidId), Extended(AcsId), Extended(SriovId), Extended(AerId),
            extended.TryGetValue(AtsId, out var ats) ? ReadAts(config, ats) : null,
            extended.TryGetValue(PriId, out var pri) ? ReadPri(config, pri) : null,
            extended.TryGetValue(PasidId, out var pasid) ? ReadPasid(config, pasid) : null,
            extended.TryGetValue(AcsId, out var acs) && Word(config, acs + 4) is { } cap && Word(config, acs + 6) is { } control ? new AcsCapability(cap, control) : null,
            extended.TryGetValue(SriovId, out var sriov) ? ReadSriov(config, sriov) : null);
    }

    private static Dictionary<byte, int> WalkStandard(ReadOnlySpan<byte> config, out ConfigState state)
    {
        const int status = 0x06, first = 0x34, capabilityList = 1 << 4;
        var found = new Dictionary<byte, int>();
        state = ConfigState.Complete;
        if ((config[status] & capabilityList) == 0)
            return found;
        var seen = new HashSet<int>();
        for (var at = config[first] & 0xFC; at != 0; at = config[at + 1] & 0xFC)
        {
            if (at < UnprivilegedBytes || !seen.Add(at))
            {
                state = ConfigState.Damaged;
                return found;
            }
            if (at + 1 >= config.Length)
            {
                state = ConfigState.Truncated;
                return found;
            }
            found.TryAdd(config[at], at);
        }
        return found;
    }

    private static Dictionary<ushort, int> WalkExtended(ReadOnlySpan<byte> config, bool? isExpress, out ConfigState state)
    {
        var found = new Dictionary<ushort, int>();
        // A function that is provably no PCI Express one has no extended space.
        state = isExpress == false ? ConfigState.Complete : config.Length < Bytes ? ConfigState.Truncated : ConfigState.Complete;
        if (state != ConfigState.Complete || isExpress == false)
            return found;
        var seen = new HashSet<int>();
        var at = FirstExtended;
        for (var hop = 0; hop < MaxExtendedHops; hop++)
        {
            if (at > Bytes - 4 || !seen.Add(at))
                break;
            var header = BinaryPrimitives.ReadUInt32LittleEndian(config[at..]);
            if (header == 0xFFFFFFFF)
                break;
            if (header == 0)
                return found;
            found.TryAdd((ushort)header, at);
            var next = (int)(header >> 20) & ~3;
            if (next == 0)
                return found;
            if (next < FirstExtended)
                break;
            at = next;
        }
        state = ConfigState.Damaged;
        return found;
    }

    private static Presence FlrOf(ReadOnlySpan<byte> config, int? express, Dictionary<byte, int> standard, ConfigState state)
    {
        var unsure = state != ConfigState.Complete;
        if (express is { } pcie)
        {
            if (Double(config, pcie + 4) is not { } capabilities)
                unsure = true;
            else if ((capabilities & 1u << 28) != 0)
                return Presence.Present;
        }
        if (standard.TryGetValue(AdvancedFeaturesId, out var af))
        {
            if (af + 3 >= config.Length)
                unsure = true;
            else if ((config[af + 3] & 2) != 0)
                return Presence.Present;
        }
        return unsure ? Presence.Unknown : Presence.Absent;
    }

    private static AtsCapability? ReadAts(ReadOnlySpan<byte> config, int at) =>
        Word(config, at + 4) is { } cap && Word(config, at + 6) is { } control
            ? new AtsCapability((cap & 0x1F) == 0 ? 32 : cap & 0x1F, (cap & 1 << 5) != 0, (control & 1 << 15) != 0)
            : null;

    private static PriCapability? ReadPri(ReadOnlySpan<byte> config, int at) =>
        Word(config, at + 4) is { } control && Double(config, at + 8) is { } most ? new PriCapability(most, (control & 1) != 0) : null;

    private static PasidCapability? ReadPasid(ReadOnlySpan<byte> config, int at) =>
        Word(config, at + 4) is { } cap && Word(config, at + 6) is { } control
            ? new PasidCapability(cap >> 8 & 0x1F, (cap & 2) != 0, (cap & 4) != 0, (control & 1) != 0)
            : null;

    private static SriovCapability? ReadSriov(ReadOnlySpan<byte> config, int at) =>
        Word(config, at + 8) is { } control && Word(config, at + 0xE) is { } total && Word(config, at + 0x10) is { } number
            ? new SriovCapability(total, number, (control & 1) != 0)
            : null;

    private static ushort? Word(ReadOnlySpan<byte> config, int at) => at + 2 <= config.Length ? BinaryPrimitives.ReadUInt16LittleEndian(config[at..]) : null;

    private static uint? Double(ReadOnlySpan<byte> config, int at) => at + 4 <= config.Length ? BinaryPrimitives.ReadUInt32LittleEndian(config[at..]) : null;
}
