using System.Runtime.CompilerServices;

namespace Worker.Vms.Simulated.Iommu;

// A set associative cache of translations: an SMMU's TLB, tagged by VMID and ASID, and a device's ATC, tagged by PASID. An entry translates one page of the
// granule; one that comes from a block remembers how large that is, for a block is invalidated as a whole.
internal sealed class TranslationCache
{
    private const int Ways = 4, SmallShift = 12, LargeShift = 16;

    private struct Entry
    {
        public ulong Page, Tag, Output;
        public byte Shift, LeafShift;
        public Permissions Permissions1, Permissions2;
    }

    private readonly Entry[] _entries;
    private readonly byte[] _next;
    private readonly ulong _mask;

    /// <param name="entries">A power of two, 4 at least.</param>
    public TranslationCache(int entries)
    {
        _entries = new Entry[entries];
        _next = new byte[entries / Ways];
        _mask = (ulong)(entries / Ways) - 1;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryFind(ulong tag, ulong address, int shift, out ulong output, out Permissions permissions1, out Permissions permissions2)
    {
        var page = address >> shift;
        var first = FirstOf(tag, page);
        for (var at = first; at < first + Ways; at++)
        {
            ref var entry = ref _entries[at];
            if (entry.Page != page || entry.Tag != tag || entry.Shift != shift)
                continue;
            output = entry.Output | (address & ((1UL << shift) - 1));
            (permissions1, permissions2) = (entry.Permissions1, entry.Permissions2);
            return true;
        }
        output = 0;
        permissions1 = permissions2 = Permissions.None;
        return false;
    }

    public void Fill(ulong tag, ulong address, int shift, int leafShift, ulong output, Permissions permissions1, Permissions permissions2)
    {
        var page = address >> shift;
        var first = FirstOf(tag, page);
        var at = -1;
        for (var way = 0; way < Ways; way++)
        {
            ref var entry = ref _entries[first + way];
            if (entry.Shift == 0 || (entry.Page == page && entry.Tag == tag && entry.Shift == shift))
            {
                at = way;
                if (entry.Shift != 0)
                    break;
            }
        }
        if (at < 0)
            at = _next[first / Ways]++ % Ways;
        _entries[first + at] = new Entry
        {
            Page = page, Tag = tag, Shift = (byte)shift, LeafShift = (byte)Math.Max(shift, leafShift), Output = output & ~((1UL << shift) - 1), Permissions1 = permissions1, Permissions2 = permissions2,
        };
        if (leafShift > shift)
            _blocks = true;
    }

    private bool _blocks;

    /// <summary>Every entry of a tag that translates any address of a range.</summary>
    /// <param name="tag">As it was filled.</param>
    /// <param name="address">Aligned to the size.</param>
    /// <param name="sizeShift">log2 of the range's bytes.</param>
    public void InvalidateRange(ulong tag, ulong address, int sizeShift)
    {
        if (sizeShift <= LargeShift && !_blocks)
        {
            Drop(tag, address >> LargeShift, LargeShift);
            for (var page = address >> SmallShift; page <= (address + (1UL << sizeShift) - 1) >> SmallShift; page++)
                Drop(tag, page, SmallShift);
            return;
        }
        foreach (ref var entry in _entries.AsSpan())
        {
            var wide = Math.Max(sizeShift, entry.LeafShift);
            if (entry.Shift != 0 && entry.Tag == tag && (wide >= 64 || ((entry.Page << entry.Shift) ^ address) >> wide == 0))
                entry = default;
        }
    }

    /// <summary>Every entry whose tag has these bits.</summary>
    public void InvalidateTags(ulong mask, ulong bits)
    {
        foreach (ref var entry in _entries.AsSpan())
            if ((entry.Tag & mask) == bits)
                entry = default;
    }

    public void InvalidateAll() => Array.Clear(_entries);

    private void Drop(ulong tag, ulong page, int shift)
    {
        var first = FirstOf(tag, page);
        for (var at = first; at < first + Ways; at++)
            if (_entries[at].Page == page && _entries[at].Tag == tag && _entries[at].Shift == shift)
                _entries[at] = default;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private int FirstOf(ulong tag, ulong page) => (int)((page ^ (page >> 9) ^ (tag * 0x9E37_79B9)) & _mask) * Ways;
}
