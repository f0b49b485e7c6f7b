using Worker.Vms.Simulated.Memory;

namespace Worker.Vms.Simulated.Iommu;

// A walk of one or both stages, from words of memory as they are at this moment (DDI 0487, D8; IHI 0070, 3.4 and 3.13). Each address of a table of stage 1 goes
// through stage 2 when both translate. No access flag or dirty state is updated by hardware. Pure; allocates nothing.
internal static class TableWalk
{
    private const int OutputBits = 48;

    public static void Run(PhysicalMemory memory, in TranslationContext context, ulong address, Permissions wanted, out WalkResult result)
    {
        result = new WalkResult { Permissions1 = Permissions.All, Permissions2 = Permissions.All, LeafShift = PageTables.AddressBits, Output = address, Intermediate = address, Class = FaultClass.Input };
        if (context.Stage1 && !Stage1(memory, context, address, wanted, ref result))
            return;
        result.Intermediate = result.Output;
        if (context.Stage2 && Stage2(memory, context, result.Intermediate, wanted, FaultClass.Input, ref result, out var output))
            result.Output = output;
    }

    private static bool Stage1(PhysicalMemory memory, in TranslationContext context, ulong address, Permissions wanted, ref WalkResult result)
    {
        if (context.WalksDisabled || address >> context.InputBits1 != 0)
            return Fail(ref result, EventType.Translation, false, FaultClass.Input);
        var (table, shift) = (context.Root1, context.Shift1);
        for (var level = FirstLevel(context.InputBits1, shift); ; level++)
        {
            var entry = table + (PageTables.IndexOf(address, level, shift) * sizeof(ulong));
            if (context.Stage2)
            {
                result.Intermediate = entry;
                if (!Stage2(memory, context, entry, Permissions.Read, FaultClass.Table, ref result, out entry))
                    return false;
            }
            result.Reads++;
            if (!memory.TryRead(entry, out var descriptor))
                return Fail(ref result, EventType.WalkExternalAbort, false, FaultClass.Table);
            if ((descriptor & Descriptor.Valid) == 0)
                return Fail(ref result, EventType.Translation, false, FaultClass.Input);
            var isTable = (descriptor & Descriptor.TableOrPage) != 0;
            if (level < PageTables.LastLevel && isTable)
            {
                table = Descriptor.AddressOf(descriptor, shift);
                continue;
            }
            if (!IsLeaf(level, isTable, shift))
                return Fail(ref result, EventType.Translation, false, FaultClass.Input);
            if ((descriptor & Descriptor.AccessFlag) == 0 && !context.AccessFaultDisabled1)
                return Fail(ref result, EventType.Access, false, FaultClass.Input);
            var leaf = PageTables.ShiftOf(level, shift);
            result.Permissions1 = Descriptor.Stage1Permissions(descriptor);
            result.LeafShift = leaf;
            result.Output = Descriptor.AddressOf(descriptor, leaf) | (address & ((1UL << leaf) - 1));
            return (result.Permissions1 & wanted) == wanted || Fail(ref result, EventType.Permission, false, FaultClass.Input);
        }
    }

    // The permissions of a page that holds a table are not the transaction's: they are looked at and forgotten.
    private static bool Stage2(PhysicalMemory memory, in TranslationContext context, ulong address, Permissions wanted, FaultClass of, ref WalkResult result, out ulong output)
    {
        output = 0;
        if (address >> context.InputBits2 != 0)
            return Fail(ref result, EventType.Translation, true, of);
        var (table, shift) = (context.Root2, context.Shift2);
        for (var level = FirstLevel(context.InputBits2, shift); ; level++)
        {
            result.Reads++;
            if (!memory.TryRead(table + (PageTables.IndexOf(address, level, shift) * sizeof(ulong)), out var descriptor))
                return Fail(ref result, EventType.WalkExternalAbort, true, of);
            if ((descriptor & Descriptor.Valid) == 0)
                return Fail(ref result, EventType.Translation, true, of);
            var isTable = (descriptor & Descriptor.TableOrPage) != 0;
            if (level < PageTables.LastLevel && isTable)
            {
                table = Descriptor.AddressOf(descriptor, shift);
                continue;
            }
            if (!IsLeaf(level, isTable, shift))
                return Fail(ref result, EventType.Translation, true, of);
            if ((descriptor & Descriptor.AccessFlag) == 0 && !context.AccessFaultDisabled2)
                return Fail(ref result, EventType.Access, true, of);
            var leaf = PageTables.ShiftOf(level, shift);
            var permissions = Descriptor.Stage2Permissions(descriptor);
            output = Descriptor.AddressOf(descriptor, leaf) | (address & ((1UL << leaf) - 1));
            if (of == FaultClass.Input)
            {
                result.Permissions2 = permissions;
                // What an invalidation by address names is a leaf of stage 1, however small the pages of stage 2 below it are.
                result.LeafShift = context.Stage1 ? result.LeafShift : leaf;
            }
            if (output >> OutputBits != 0)
                return Fail(ref result, EventType.AddressSize, true, of);
            return (permissions & wanted) == wanted || Fail(ref result, EventType.Permission, true, of);
        }
    }

    /// <summary>The table of the first level may be smaller than a granule: what lies above the input address is checked before.</summary>
    private static int FirstLevel(int inputBits, int shift) => PageTables.LastLevel - ((inputBits - shift - 1) / (shift - 3));

    /// <summary>A page at the last level; a block of 2 MiB or 1 GiB with 4 KiB, of 512 MiB with 64 KiB granules.</summary>
    private static bool IsLeaf(int level, bool isTable, int shift) => level == PageTables.LastLevel ? isTable : !isTable && (level == 2 || (level == 1 && shift == 12));

    private static bool Fail(ref WalkResult result, EventType fault, bool atStage2, FaultClass of)
    {
        (result.Fault, result.AtStage2, result.Class) = (fault, atStage2, of);
        return false;
    }
}
