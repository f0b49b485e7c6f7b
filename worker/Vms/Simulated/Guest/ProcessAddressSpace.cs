using Worker.Vms.Simulated.Iommu;
using Worker.Vms.Simulated.Memory;

namespace Worker.Vms.Simulated.Guest;

/// <summary>What became of a fault. <c>Break</c>: the page's entry was taken out, and once no translation of it is left <see cref="ProcessAddressSpace.FinishBreak"/> puts
/// the copy in; <c>Busy</c>: that is under way.</summary>
internal enum FaultOutcome : byte { Ready, Invalid, NoMemory, Break, Busy }

/// <summary>A page that is mapped no longer, and what it was mapped to; given back once no translation of it can be left.</summary>
internal readonly record struct GonePage(ulong Address, ulong Frame);

// A process's memory as the guest's kernel keeps it: areas, pages on demand, copies on write, and the translation tables that the device walks too.
// Guarantees: a frame is given back only by whoever has seen the invalidation of its page end; a shared page is never writable.
internal sealed class ProcessAddressSpace(PhysicalMemory memory, GuestPhysicalMemory guest, int shift, ulong firstAddress)
{
    private readonly record struct Area(ulong Start, ulong End, bool Writable);

    private readonly List<Area> _areas = [];
    private readonly SortedDictionary<ulong, ulong> _breaking = [];
    private readonly SortedSet<ulong> _present = [];
    private ulong _next = firstAddress;

    public PageTables Tables { get; } = new(memory, guest, shift);
    public int Shift => shift;
    public ulong PageBytes => 1UL << shift;
    /// <summary>0 while no device may use it.</summary>
    public int Pasid { get; set; }
    public bool HasExited { get; private set; }
    public bool IsBreaking => _breaking.Count > 0;
    public int PagesPresent => _present.Count;
    /// <summary>Faults that were served, like a kernel's pgfault: none is major, for nothing is swapped out.</summary>
    public long FaultsServed { get; private set; }
    public long CopiesMade { get; private set; }

    public ulong Map(int pages, bool writable)
    {
        var start = _next;
        // One page is left out between two areas, as a guard.
        _next += (ulong)(pages + 1) << shift;
        _areas.Add(new Area(start, start + ((ulong)pages << shift), writable));
        return start;
    }

    /// <summary>Takes the mapping away (munmap), or only its pages (MADV_DONTNEED).</summary>
    public List<GonePage> Unmap(ulong address, int pages, bool keepArea)
    {
        var end = address + ((ulong)pages << shift);
        if (!keepArea)
            foreach (var area in _areas.Where(area => area.Start < end && area.End > address).ToList())
            {
                _areas.Remove(area);
                if (area.Start < address)
                    _areas.Add(area with { End = address });
                if (area.End > end)
                    _areas.Add(area with { Start = end });
            }
        var gone = new List<GonePage>();
        foreach (var page in _present.GetViewBetween(address, end - 1).ToList())
        {
            gone.Add(new GonePage(page, Descriptor.AddressOf(Tables.Get(page), shift)));
            Tables.TrySet(page, 0);
            _present.Remove(page);
        }
        return gone;
    }

    public FaultOutcome Fault(ulong address, bool write)
    {
        var page = address & ~(PageBytes - 1);
        if (AreaOf(page) is not { } area || (write && !area.Writable))
            return FaultOutcome.Invalid;
        if (_breaking.ContainsKey(page))
            return FaultOutcome.Busy;
        var entry = Tables.Get(page);
        if ((entry & Descriptor.Valid) == 0)
        {
            if (!guest.TryTake(out var frame))
                return FaultOutcome.NoMemory;
            if (!TrySet(page, frame, area.Writable))
            {
                guest.Return(frame);
                return FaultOutcome.NoMemory;
            }
            FaultsServed++;
            return FaultOutcome.Ready;
        }
        if (!write || (entry & Descriptor.ReadOnly) == 0)
            return FaultOutcome.Ready;
        _breaking[page] = Descriptor.AddressOf(entry, shift);
        Tables.TrySet(page, 0);
        _present.Remove(page);
        return FaultOutcome.Break;
    }

    /// <summary>What a page was mapped to whose copy is under way.</summary>
    public ulong FrameInBreak(ulong page) => _breaking[page];

    /// <summary>After the invalidation: the page is the process's own again, a copy where others still have it.</summary>
    public FaultOutcome FinishBreak(ulong page)
    {
        if (!_breaking.Remove(page, out var old))
            return FaultOutcome.Invalid;
        if (HasExited || AreaOf(page) is null)
        {
            guest.Return(old);
            return FaultOutcome.Invalid;
        }
        var copies = guest.References(old) > 1;
        var frame = old;
        if (copies && !guest.TryTake(out frame))
        {
            SetShared(page, old);
            return FaultOutcome.NoMemory;
        }
        TrySet(page, frame, writable: true);
        FaultsServed++;
        if (!copies)
            return FaultOutcome.Ready;
        CopiesMade++;
        guest.Return(old);
        return FaultOutcome.Ready;
    }

    /// <summary>A child that shares every page until one of the two writes to it; null without memory for its tables. The parent's old translations may still
    /// write until its whole space has been invalidated.</summary>
    public ProcessAddressSpace? Fork()
    {
        if (!guest.TryTake(out var probe))
            return null;
        guest.Return(probe);
        var child = new ProcessAddressSpace(memory, guest, shift, _next);
        child._areas.AddRange(_areas);
        foreach (var page in _present)
        {
            var frame = Descriptor.AddressOf(Tables.Get(page), shift);
            guest.Share(frame);
            if (!child.SetShared(page, frame))
            {
                guest.Return(frame);
                child.Exit();
                return null;
            }
        }
        foreach (var page in child._present)
            Tables.TrySet(page, Descriptor.Page(Descriptor.AddressOf(Tables.Get(page), shift), Permissions.Read) | Descriptor.CopyOnWrite);
        return child;
    }

    /// <summary>Once no device can walk its tables any more.</summary>
    public void Exit()
    {
        HasExited = true;
        foreach (var page in _present)
            guest.Return(Descriptor.AddressOf(Tables.Get(page), shift));
        _present.Clear();
        _areas.Clear();
        Tables.Release();
    }

    private bool TrySet(ulong page, ulong frame, bool writable)
    {
        if (!Tables.TrySet(page, Descriptor.Page(frame, writable ? Permissions.Read | Permissions.Write : Permissions.Read)))
            return false;
        _present.Add(page);
        return true;
    }

    private bool SetShared(ulong page, ulong frame)
    {
        if (!Tables.TrySet(page, Descriptor.Page(frame, Permissions.Read) | Descriptor.CopyOnWrite))
            return false;
        _present.Add(page);
        return true;
    }

    private Area? AreaOf(ulong page)
    {
        foreach (var area in _areas)
            if (page >= area.Start && page < area.End)
                return area;
        return null;
    }
}
