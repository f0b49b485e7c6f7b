using Worker.Vms.Simulated.Memory;

namespace Worker.Vms.Simulated.Iommu;

// Translation tables of 48-bit addresses, as an operating system builds them: 4 KiB granule from level 0, 64 KiB granule from level 1 (DDI 0487, D8.2).
// Tables of a guest's stage 1 lie in its own memory and name each other by its addresses; those of stage 2 lie in the host's.
internal sealed class PageTables
{
    public const int AddressBits = 48, LastLevel = 3;
    private readonly PhysicalMemory _memory;
    private readonly GuestPhysicalMemory? _guest;
    private readonly List<ulong> _tables = [];

    /// <param name="memory">The host's.</param>
    /// <param name="guest">Null for tables that name physical addresses.</param>
    /// <param name="shift">Of the granule: 12 or 16.</param>
    public PageTables(PhysicalMemory memory, GuestPhysicalMemory? guest, int shift)
    {
        (_memory, _guest, Shift) = (memory, guest, shift);
        Root = TryTakeTable(out var root) ? root : throw new InvalidOperationException("there is no memory for a table");
    }

    public int Shift { get; }
    public ulong Root { get; }

    public static int FirstLevel(int shift) => shift == 12 ? 0 : 1;

    /// <summary>Of the addresses that an entry of a level translates.</summary>
    public static int ShiftOf(int level, int shift) => shift + ((LastLevel - level) * (shift - 3));

    public static ulong IndexOf(ulong address, int level, int shift) => (address >> ShiftOf(level, shift)) & ((1UL << (shift - 3)) - 1);

    /// <summary>Writes the entry of an address; false when there is no memory for a table on the way.</summary>
    public bool TrySet(ulong address, ulong descriptor, int level = LastLevel)
    {
        var table = Root;
        for (var at = FirstLevel(Shift); at < level; at++)
        {
            var entry = table + (IndexOf(address, at, Shift) * sizeof(ulong));
            var next = Read(entry);
            if ((next & Descriptor.Valid) == 0)
            {
                if (!TryTakeTable(out var made))
                    return false;
                Write(entry, next = Descriptor.Table(made));
            }
            table = Descriptor.AddressOf(next, Shift);
        }
        Write(table + (IndexOf(address, level, Shift) * sizeof(ulong)), descriptor);
        return true;
    }

    /// <summary>The entry of an address at the last level; 0 where there is none.</summary>
    public ulong Get(ulong address)
    {
        var table = Root;
        for (var at = FirstLevel(Shift); at < LastLevel; at++)
        {
            var next = Read(table + (IndexOf(address, at, Shift) * sizeof(ulong)));
            if ((next & (Descriptor.Valid | Descriptor.TableOrPage)) != (Descriptor.Valid | Descriptor.TableOrPage))
                return 0;
            table = Descriptor.AddressOf(next, Shift);
        }
        return Read(table + (IndexOf(address, LastLevel, Shift) * sizeof(ulong)));
    }

    /// <summary>Gives the tables' own memory back: nothing may walk them any more.</summary>
    public void Release()
    {
        foreach (var table in _tables)
        {
            if (_guest is null)
                _memory.Return(table, Shift);
            else
            {
                _guest.Clear(table);
                _guest.Return(table);
            }
        }
        _tables.Clear();
    }

    private ulong Read(ulong address) => _guest?.Read(address) ?? _memory.Read(address);

    private void Write(ulong address, ulong descriptor)
    {
        if (_guest is null)
            _memory.Write(address, descriptor);
        else
            _guest.Write(address, descriptor);
    }

    private bool TryTakeTable(out ulong table)
    {
        if (!(_guest is null ? _memory.TryTake(Shift, out table) : _guest.TryTake(out table)))
            return false;
        _tables.Add(table);
        return true;
    }
}
