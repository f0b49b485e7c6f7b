using Worker.Vms.Simulated.Iommu;

namespace Worker.Vms.Simulated.Memory;

// The guest's memory: intermediate physical addresses, each backed by a frame of the host's before anybody can use it, and mapped by stage 2 from then on.
// That is how a VM with assigned devices has its memory: pinned, and never taken back while it runs. Pages are handed out in the guest's own granule
// and counted, because processes share them after a fork.
internal sealed class GuestPhysicalMemory
{
    public const ulong Origin = 0x4000_0000;
    private readonly PhysicalMemory _host;
    private readonly PageTables _stage2;
    private readonly int _shift, _pages;
    private readonly Stack<int> _free = new();
    private readonly ulong[] _physical;
    private readonly int[] _references;
    private int _next;

    /// <param name="host">Where its frames lie.</param>
    /// <param name="stage2">What maps them.</param>
    /// <param name="shift">Of the guest's granule: 12 or 16.</param>
    /// <param name="bytes">How much there is; a multiple of 64 KiB.</param>
    public GuestPhysicalMemory(PhysicalMemory host, PageTables stage2, int shift, long bytes)
    {
        (_host, _stage2, _shift, _pages) = (host, stage2, shift, (int)(bytes >> shift));
        _physical = new ulong[bytes >> stage2.Shift];
        _references = new int[_pages];
    }

    public int PagesTaken { get; private set; }

    public bool TryTake(out ulong address)
    {
        if (!_free.TryPop(out var page))
        {
            if (_next == _pages)
            {
                address = 0;
                return false;
            }
            page = _next;
            if (!TryBack(Origin + ((ulong)page << _shift)))
            {
                address = 0;
                return false;
            }
            _next++;
        }
        _references[page] = 1;
        PagesTaken++;
        address = Origin + ((ulong)page << _shift);
        return true;
    }

    public ulong Take() => TryTake(out var address) ? address : throw new InvalidOperationException("the simulated guest has no memory left");

    public int References(ulong address) => _references[PageOf(address)];

    public void Share(ulong address) => _references[PageOf(address)]++;

    /// <summary>Free once nobody has it.</summary>
    public void Return(ulong address)
    {
        var page = PageOf(address);
        if (_references[page] <= 0)
            throw new InvalidOperationException("a page of the simulated guest was given back twice");
        if (--_references[page] > 0)
            return;
        PagesTaken--;
        _free.Push(page);
    }

    /// <summary>What the guest's own CPU sees through stage 2.</summary>
    public ulong ToPhysical(ulong address)
    {
        var offset = address - Origin;
        return _physical[offset >> _stage2.Shift] + (offset & ((1UL << _stage2.Shift) - 1));
    }

    public ulong Read(ulong address) => _host.Read(ToPhysical(address));

    public void Write(ulong address, ulong word) => _host.Write(ToPhysical(address), word);

    /// <summary>A table's page holds nothing when it is handed out again.</summary>
    public void Clear(ulong address)
    {
        for (var offset = 0UL; offset < 1UL << _shift; offset += sizeof(ulong))
            if (_host.TryRead(ToPhysical(address + offset), out var word) && word != 0)
                Write(address + offset, 0);
    }

    private int PageOf(ulong address) => (int)((address - Origin) >> _shift);

    private bool TryBack(ulong address)
    {
        for (var at = address; at < address + (1UL << _shift); at += 1UL << _stage2.Shift)
        {
            var index = (at - Origin) >> _stage2.Shift;
            if (_physical[index] != 0)
                continue;
            if (!_host.TryTake(_stage2.Shift, out var frame) || !_stage2.TrySet(at & ~((1UL << _stage2.Shift) - 1), Descriptor.Stage2(frame, Permissions.All)))
                return false;
            _physical[index] = frame;
        }
        return true;
    }
}
