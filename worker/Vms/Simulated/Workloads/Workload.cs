using Worker.Vms.Simulated.Guest;

namespace Worker.Vms.Simulated.Workloads;

/// <summary>One access of a device. <c>Pasid</c>: 0 for none this time.</summary>
internal readonly record struct Access(int Pasid, ulong Address, bool Write);

/// <summary>What a workload works with: a process of the guest with one writable buffer of a power of two of pages.</summary>
internal sealed record WorkloadGround(SvaDriver Driver, ProcessAddressSpace Space, ulong Buffer, int Pages, SeededRandom Random)
{
    public int Shift => Driver.Shift;
    public int Pasid => Driver.IsBound(Space) ? Space.Pasid : 0;
    public ulong Bytes => (ulong)Pages << Shift;

    public ulong AddressOf(int page, ulong offset) => Buffer + ((ulong)page << Shift) + offset;

    /// <summary>Anywhere in the buffer, at a multiple of 64 bytes.</summary>
    public ulong Anywhere(int pages) => Buffer + ((Random.Next() % ((ulong)pages << Shift)) & ~63UL);

    /// <summary>Some pages that the process gives up; the next access finds them gone.</summary>
    public void GiveUp(int pages) => Driver.Unmap(Space, AddressOf(Random.Below(Pages - pages + 1), 0), pages, keepArea: true);
}

/// <summary>A generator of accesses, the same for the same seed. <c>Outstanding</c>: how many may be under way at once. <c>ActsEvery</c>: nanoseconds between two acts of its process.</summary>
internal abstract class Workload(WorkloadGround ground)
{
    protected WorkloadGround Ground => ground;

    public virtual int Outstanding => int.MaxValue;
    public virtual long ActsEvery => 5_000_000;

    public abstract void Next(out Access access);

    public virtual void Act() => ground.GiveUp(Math.Min(8, ground.Pages));
}

/// <summary>One line of 64 bytes after the other: reads, and every fourth writes what was read.</summary>
internal sealed class Streaming(WorkloadGround ground) : Workload(ground)
{
    private ulong _offset;

    public override void Next(out Access access)
    {
        access = new Access(Ground.Pasid, Ground.Buffer + _offset, (_offset & 0xC0) == 0xC0);
        _offset += 64;
        if (_offset >= Ground.Bytes)
            _offset = 0;
    }
}

/// <summary>Any line of the buffer, one in four written to.</summary>
internal sealed class RandomAccesses(WorkloadGround ground) : Workload(ground)
{
    public override void Next(out Access access) => access = new Access(Ground.Pasid, Ground.Anywhere(Ground.Pages), (Ground.Random.Next() & 3) == 0);
}

/// <summary>Nine of ten accesses to a sixteenth of the buffer.</summary>
internal sealed class HotSet(WorkloadGround ground) : Workload(ground)
{
    public override void Next(out Access access) =>
        access = new Access(Ground.Pasid, Ground.Anywhere(Ground.Random.Below(10) == 0 ? Ground.Pages : Math.Max(1, Ground.Pages / 16)), (Ground.Random.Next() & 3) == 0);
}

/// <summary>Each address follows from what was read at the one before, so one access is under way at a time; a cycle through every page.</summary>
internal sealed class PointerChase(WorkloadGround ground) : Workload(ground)
{
    private uint _at;

    public override int Outstanding => 1;

    public override void Next(out Access access)
    {
        // A full period modulo a power of two (Hull and Dobell): the multiplier is one more than a multiple of four, the increment odd.
        _at = ((_at * 1_664_525) + 1_013_904_223) & ((uint)Ground.Pages - 1);
        access = new Access(Ground.Pasid, Ground.AddressOf((int)_at, (_at * 64) & 0xFC0), false);
    }
}

/// <summary>Most accesses go where nothing is mapped: what a driver's error, or an attack, looks like.</summary>
internal sealed class Storm(WorkloadGround ground) : Workload(ground)
{
    public override void Next(out Access access) => access = Ground.Random.Below(5) == 0
        ? new Access(Ground.Pasid, Ground.Anywhere(Ground.Pages), true)
        : new Access(Ground.Pasid, Ground.Buffer + Ground.Bytes + (1UL << 32) + (Ground.Random.Next() & 0xFFFF_FFC0), (Ground.Random.Next() & 1) == 0);
}
