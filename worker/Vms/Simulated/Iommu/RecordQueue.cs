using Worker.Vms.Simulated.Memory;

namespace Worker.Vms.Simulated.Iommu;

/// <summary>A circular queue of records in memory, with producer and consumer indexes that have a wrap bit and the two flags of an overflow (IHI 0070, 3.5).</summary>
internal sealed class RecordQueue(PhysicalMemory memory, ulong address, int sizeBits, int words)
{
    private uint _produced, _consumed;
    private readonly uint _mask = (1u << sizeBits) - 1, _wrapped = (2u << sizeBits) - 1;

    public bool IsEmpty => _produced == _consumed;
    public bool IsFull => (_produced & _mask) == (_consumed & _mask) && _produced != _consumed;
    public int Count => (int)((_produced - _consumed) & _wrapped);

    /// <summary>OVFLG differs from OVACKFLG.</summary>
    public bool HasOverflowed { get; private set; }

    public void Overflow() => HasOverflowed = true;

    public void AcknowledgeOverflow() => HasOverflowed = false;

    public bool TryPut(ReadOnlySpan<ulong> record)
    {
        if (IsFull)
            return false;
        var at = address + ((_produced & _mask) * (ulong)words * sizeof(ulong));
        for (var word = 0; word < words; word++)
            memory.Write(at + ((ulong)word * sizeof(ulong)), record[word]);
        _produced = (_produced + 1) & _wrapped;
        return true;
    }

    public void Peek(Span<ulong> record)
    {
        var at = address + ((_consumed & _mask) * (ulong)words * sizeof(ulong));
        for (var word = 0; word < words; word++)
            record[word] = memory.Read(at + ((ulong)word * sizeof(ulong)));
    }

    public bool TryTake(Span<ulong> record)
    {
        if (IsEmpty)
            return false;
        Peek(record);
        Advance();
        return true;
    }

    public void Advance() => _consumed = (_consumed + 1) & _wrapped;
}
