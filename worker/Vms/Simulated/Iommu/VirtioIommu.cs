using System.Buffers.Binary;

namespace Worker.Vms.Simulated.Iommu;

/// <summary>Status of a request (Virtual I/O Device 1.3, 5.13.6).</summary>
internal enum VirtioStatus : byte { Ok = 0, IoError = 1, Unsupported = 2, DeviceError = 3, Invalid = 4, Range = 5, NoEntry = 6, Fault = 7, NoMemory = 8 }

/// <summary>Reason of a fault event (5.13.6.9).</summary>
internal enum VirtioFaultReason : byte { Unknown = 0, Domain = 1, Mapping = 2 }

// virtio-iommu (Virtual I/O Device 1.3, 5.13): requests as bytes in a descriptor chain's device-readable part, the status as the last part's first byte, and
// fault events of 24 bytes. It knows endpoints and domains, and neither PASIDs nor page requests: what it isolates, nobody can share.
// Features: INPUT_RANGE, DOMAIN_RANGE, MAP_UNMAP, PROBE, MMIO. Guarantees: mappings of a domain never overlap; a fault event that finds no buffer is counted as lost.
internal sealed class VirtioIommu(ulong inputEnd, uint domainEnd, IReadOnlySet<uint> endpoints)
{
    public const byte Attach = 1, Detach = 2, Map = 3, Unmap = 4, Probe = 5;
    public const uint MapRead = 1, MapWrite = 2, MapMmio = 4, FaultRead = 1, FaultWrite = 2, FaultHasAddress = 1 << 8;
    public const int EventBytes = 24, ProbeBytes = 64;
    /// <summary>Doorbells of message signalled interrupts: a reserved region of the endpoint (RESV_MEM, subtype MSI).</summary>
    public const ulong MsiStart = 0x0800_0000, MsiEnd = 0x080F_FFFF;
    private const int MostMappings = 1 << 16, MostEvents = 64;

    private readonly record struct Mapping(ulong End, ulong Physical, uint Flags);

    private readonly Dictionary<uint, SortedList<ulong, Mapping>> _domains = [];
    private readonly Dictionary<uint, uint> _domainOf = [];
    private readonly Queue<byte[]> _events = new();

    private readonly long[] _faults = new long[Enum.GetValues<VirtioFaultReason>().Length];

    public long FaultsRecorded => _faults.Sum();
    public long FaultsLost { get; private set; }
    /// <summary>The queue is not empty any more: the device interrupts its driver.</summary>
    public Action? Interrupt { get; init; }
    public int Domains => _domains.Count;

    public long FaultsOf(VirtioFaultReason reason) => _faults[(int)reason];

    /// <summary>Serves one request; <paramref name="properties"/> takes what PROBE answers.</summary>
    public VirtioStatus Serve(ReadOnlySpan<byte> request, Span<byte> properties = default)
    {
        if (request.Length < 4)
            return VirtioStatus.Invalid;
        var body = request[4..];
        return request[0] switch
        {
            Attach => body.Length < 16 ? VirtioStatus.Invalid : ServeAttach(Word(body, 0), Word(body, 4), Word(body, 8)),
            Detach => body.Length < 16 ? VirtioStatus.Invalid : ServeDetach(Word(body, 0), Word(body, 4)),
            Map => body.Length < 32 ? VirtioStatus.Invalid : ServeMap(Word(body, 0), Long(body, 4), Long(body, 12), Long(body, 20), Word(body, 28)),
            Unmap => body.Length < 24 ? VirtioStatus.Invalid : ServeUnmap(Word(body, 0), Long(body, 4), Long(body, 12)),
            Probe => body.Length < 4 ? VirtioStatus.Invalid : ServeProbe(Word(body, 0), properties),
            _ => VirtioStatus.Unsupported,
        };
    }

    /// <summary>False for an access that is not allowed: it has become a fault event.</summary>
    public bool TryTranslate(uint endpoint, ulong address, bool write, out ulong physical)
    {
        physical = 0;
        if (!_domainOf.TryGetValue(endpoint, out var domain))
            return Report(VirtioFaultReason.Domain, endpoint, address, write);
        var mappings = _domains[domain];
        var at = Last(mappings, address);
        if (at < 0 || mappings.Values[at] is var mapping && (mapping.End < address || (mapping.Flags & (write ? MapWrite : MapRead)) == 0))
            return Report(VirtioFaultReason.Mapping, endpoint, address, write);
        physical = mapping.Physical + (address - mappings.Keys[at]);
        return true;
    }

    /// <summary>The next fault event, as it lies in the event queue.</summary>
    public bool TryTakeEvent(out byte[] record) => _events.TryDequeue(out record!);

    public static byte[] AttachRequest(uint domain, uint endpoint) => Request(Attach, 16, body => { Put(body, 0, domain); Put(body, 4, endpoint); });

    public static byte[] DetachRequest(uint domain, uint endpoint) => Request(Detach, 16, body => { Put(body, 0, domain); Put(body, 4, endpoint); });

    public static byte[] MapRequest(uint domain, ulong start, ulong end, ulong physical, uint flags) => Request(Map, 32, body =>
    {
        Put(body, 0, domain);
        Put(body, 4, start);
        Put(body, 12, end);
        Put(body, 20, physical);
        Put(body, 28, flags);
    });

    public static byte[] UnmapRequest(uint domain, ulong start, ulong end) => Request(Unmap, 24, body => { Put(body, 0, domain); Put(body, 4, start); Put(body, 12, end); });

    public static byte[] ProbeRequest(uint endpoint) => Request(Probe, 68, body => Put(body, 0, endpoint));

    private VirtioStatus ServeAttach(uint domain, uint endpoint, uint flags)
    {
        if (flags != 0)
            return VirtioStatus.Invalid;
        if (!endpoints.Contains(endpoint))
            return VirtioStatus.NoEntry;
        if (domain > domainEnd)
            return VirtioStatus.Range;
        if (_domainOf.TryGetValue(endpoint, out var before))
        {
            if (before == domain)
                return VirtioStatus.Ok;
            Leave(endpoint, before);
        }
        _domainOf[endpoint] = domain;
        _domains.TryAdd(domain, []);
        return VirtioStatus.Ok;
    }

    private VirtioStatus ServeDetach(uint domain, uint endpoint)
    {
        if (!endpoints.Contains(endpoint))
            return VirtioStatus.NoEntry;
        if (!_domainOf.TryGetValue(endpoint, out var attached) || attached != domain)
            return VirtioStatus.Invalid;
        Leave(endpoint, domain);
        return VirtioStatus.Ok;
    }

    /// <summary>A domain that no endpoint is in any more ends, and its mappings with it.</summary>
    private void Leave(uint endpoint, uint domain)
    {
        _domainOf.Remove(endpoint);
        if (!_domainOf.ContainsValue(domain))
            _domains.Remove(domain);
    }

    private VirtioStatus ServeMap(uint domain, ulong start, ulong end, ulong physical, uint flags)
    {
        if (!_domains.TryGetValue(domain, out var mappings))
            return VirtioStatus.NoEntry;
        if ((flags & ~(MapRead | MapWrite | MapMmio)) != 0 || (start & 0xFFF) != 0 || (end & 0xFFF) != 0xFFF || (physical & 0xFFF) != 0 || start > end)
            return start > end || (flags & ~(MapRead | MapWrite | MapMmio)) != 0 ? VirtioStatus.Invalid : VirtioStatus.Range;
        if (end > inputEnd)
            return VirtioStatus.Range;
        if (Overlaps(mappings, start, end) || (start <= MsiEnd && end >= MsiStart))
            return VirtioStatus.Invalid;
        if (mappings.Count >= MostMappings)
            return VirtioStatus.NoMemory;
        mappings.Add(start, new Mapping(end, physical, flags));
        return VirtioStatus.Ok;
    }

    /// <summary>All mappings within the range, and nothing if one of them would have to be split (5.13.6.6).</summary>
    private VirtioStatus ServeUnmap(uint domain, ulong start, ulong end)
    {
        if (!_domains.TryGetValue(domain, out var mappings))
            return VirtioStatus.NoEntry;
        if (start > end)
            return VirtioStatus.Invalid;
        var covered = mappings.Where(mapping => mapping.Key <= end && mapping.Value.End >= start).ToList();
        if (covered.Exists(mapping => mapping.Key < start || mapping.Value.End > end))
            return VirtioStatus.Range;
        foreach (var mapping in covered)
            mappings.Remove(mapping.Key);
        return VirtioStatus.Ok;
    }

    private VirtioStatus ServeProbe(uint endpoint, Span<byte> properties)
    {
        if (!endpoints.Contains(endpoint))
            return VirtioStatus.NoEntry;
        if (properties.Length < ProbeBytes)
            return VirtioStatus.Invalid;
        properties.Clear();
        BinaryPrimitives.WriteUInt16LittleEndian(properties, 1);
        BinaryPrimitives.WriteUInt16LittleEndian(properties[2..], 20);
        properties[4] = 1;
        BinaryPrimitives.WriteUInt64LittleEndian(properties[8..], MsiStart);
        BinaryPrimitives.WriteUInt64LittleEndian(properties[16..], MsiEnd);
        return VirtioStatus.Ok;
    }

    private bool Report(VirtioFaultReason reason, uint endpoint, ulong address, bool write)
    {
        if (_events.Count == MostEvents)
        {
            FaultsLost++;
            return false;
        }
        var record = new byte[EventBytes];
        record[0] = (byte)reason;
        Put(record, 4, (write ? FaultWrite : FaultRead) | FaultHasAddress);
        Put(record, 8, endpoint);
        Put(record, 16, address);
        _events.Enqueue(record);
        if (_events.Count == 1)
            Interrupt?.Invoke();
        _faults[(int)reason]++;
        return false;
    }

    private static bool Overlaps(SortedList<ulong, Mapping> mappings, ulong start, ulong end)
    {
        var at = Last(mappings, end);
        return at >= 0 && mappings.Values[at].End >= start;
    }

    /// <summary>The last mapping that begins at or before an address; -1 without one.</summary>
    private static int Last(SortedList<ulong, Mapping> mappings, ulong address)
    {
        var (low, high) = (0, mappings.Count - 1);
        while (low <= high)
        {
            var middle = (low + high) / 2;
            if (mappings.Keys[middle] <= address)
                low = middle + 1;
            else
                high = middle - 1;
        }
        return high;
    }

    private static byte[] Request(byte type, int bodyBytes, Action<byte[]> fill)
    {
        var body = new byte[bodyBytes];
        fill(body);
        return [type, 0, 0, 0, .. body];
    }

    private static uint Word(ReadOnlySpan<byte> body, int at) => BinaryPrimitives.ReadUInt32LittleEndian(body[at..]);

    private static ulong Long(ReadOnlySpan<byte> body, int at) => BinaryPrimitives.ReadUInt64LittleEndian(body[at..]);

    private static void Put(byte[] body, int at, uint word) => BinaryPrimitives.WriteUInt32LittleEndian(body.AsSpan(at), word);

    private static void Put(byte[] body, int at, ulong word) => BinaryPrimitives.WriteUInt64LittleEndian(body.AsSpan(at), word);
}
