using CsCheck;
using Worker.Vms.Simulated;
using Worker.Vms.Simulated.Iommu;
using Worker.Vms.Simulated.Memory;
using Xunit;

namespace Worker.Tests.Simulated;

/// <summary>Walks of one and of both stages, with either granule, and every fault that one can meet.</summary>
public sealed class TableWalkTests
{
    private const ulong Origin = 0x8_0000_0000, Address = 0x7F12_3456_7000;
    private static readonly Gen<int> Shifts = Gen.Bool.Select(large => large ? 16 : 12);

    private sealed class Ground
    {
        public readonly PhysicalMemory Memory = new(Origin, 4096);
        public readonly PageTables Stage2;
        public readonly GuestPhysicalMemory Guest;
        public readonly PageTables Stage1;

        public Ground(int shift1, int shift2)
        {
            Stage2 = new PageTables(Memory, null, shift2);
            Guest = new GuestPhysicalMemory(Memory, Stage2, shift1, 8 << 20);
            Stage1 = new PageTables(Memory, Guest, shift1);
        }

        public TranslationContext Context => new()
        {
            Stage1 = true, Stage2 = true, Shift1 = Stage1.Shift, Shift2 = Stage2.Shift, InputBits1 = 48, InputBits2 = 48, Root1 = Stage1.Root, Root2 = Stage2.Root,
        };

        public WalkResult Walk(ulong address, Permissions wanted, TranslationContext? context = null)
        {
            TableWalk.Run(Memory, context ?? Context, address, wanted, out var result);
            return result;
        }
    }

    [Theory]
    [InlineData(12, 12, 24)]
    [InlineData(12, 16, 19)]
    [InlineData(16, 12, 19)]
    [InlineData(16, 16, 15)]
    public void Nested_OfAMappedPage_ReadsAsManyWordsAsTheLevelsNeed(int shift1, int shift2, int reads)
    {
        var ground = new Ground(shift1, shift2);
        var frame = ground.Guest.Take();
        var page = Address & ~((1UL << shift1) - 1);
        ground.Stage1.TrySet(page, Descriptor.Page(frame, Permissions.Read | Permissions.Write));
        var result = ground.Walk(page | 0x234, Permissions.Write);
        Assert.Equal((EventType.None, ground.Guest.ToPhysical(frame) + 0x234, Permissions.Read | Permissions.Write, shift1, reads), (result.Fault, result.Output, result.Permissions, result.LeafShift, result.Reads));
    }

    [Theory]
    [InlineData(12)]
    [InlineData(16)]
    public void OneStage_OfEither_LeadsToThePage(int shift)
    {
        var memory = new PhysicalMemory(Origin, 1024);
        var tables = new PageTables(memory, null, shift);
        var page = Address & ~((1UL << shift) - 1);
        tables.TrySet(page, Descriptor.Page(Origin + 0x10_0000, Permissions.Read));
        var first = new TranslationContext { Stage1 = true, Shift1 = shift, InputBits1 = 48, Root1 = tables.Root };
        TableWalk.Run(memory, first, page + 8, Permissions.Read, out var result);
        Assert.Equal((EventType.None, Origin + 0x10_0008), (result.Fault, result.Output));
        tables.TrySet(page, Descriptor.Stage2(Origin + 0x20_0000, Permissions.All));
        var second = new TranslationContext { Stage2 = true, Shift2 = shift, InputBits2 = 48, Root2 = tables.Root };
        TableWalk.Run(memory, second, page + 8, Permissions.Read, out result);
        Assert.Equal((EventType.None, Origin + 0x20_0008), (result.Fault, result.Output));
    }

    [Theory]
    [InlineData(12, 2, 21)]
    [InlineData(12, 1, 30)]
    [InlineData(16, 2, 29)]
    public void Block_OfALevel_TranslatesAllOfIt(int shift, int level, int leafShift)
    {
        var memory = new PhysicalMemory(Origin, 1024);
        var tables = new PageTables(memory, null, shift);
        var start = Address & ~((1UL << leafShift) - 1);
        tables.TrySet(start, Descriptor.Block(Descriptor.Page(0x40_0000_0000, Permissions.Read)), level);
        var context = new TranslationContext { Stage1 = true, Shift1 = shift, InputBits1 = 48, Root1 = tables.Root };
        TableWalk.Run(memory, context, Address + 0x77, Permissions.Read, out var result);
        Assert.Equal((EventType.None, 0x40_0000_0000 + (Address + 0x77 - start), leafShift), (result.Fault, result.Output, result.LeafShift));
    }

    [Fact]
    public void Block_WhereNoneMayBe_IsATranslationFault()
    {
        var memory = new PhysicalMemory(Origin, 1024);
        var tables = new PageTables(memory, null, 12);
        tables.TrySet(0, Descriptor.Block(Descriptor.Page(0, Permissions.All)), 0);
        TableWalk.Run(memory, new TranslationContext { Stage1 = true, Shift1 = 12, InputBits1 = 48, Root1 = tables.Root }, 0, Permissions.Read, out var result);
        Assert.Equal(EventType.Translation, result.Fault);
    }

    public static TheoryData<string, int, bool, int> Faults => new()
    {
        { "unmapped", 0x10, false, 2 },
        { "not valid", 0x10, false, 2 },
        { "no access flag", 0x12, false, 2 },
        { "read-only", 0x13, false, 2 },
        { "privileged", 0x13, false, 2 },
        { "beyond the input", 0x10, false, 2 },
        { "walks disabled", 0x10, false, 2 },
        { "unbacked", 0x10, true, 2 },
        { "beyond stage 2", 0x10, true, 2 },
        { "read-only at stage 2", 0x13, true, 2 },
        { "no access flag at stage 2", 0x12, true, 2 },
        { "table unbacked", 0x10, true, 1 },
        { "table outside of memory", 0x0B, true, 1 },
    };

    [Theory]
    [MemberData(nameof(Faults))]
    public void Fault_OfEachKind_HasItsTypeStageAndClass(string kind, int type, bool atStage2, int of)
    {
        var ground = new Ground(12, 12);
        var frame = ground.Guest.Take();
        var page = Descriptor.Page(frame, Permissions.Read | Permissions.Write);
        var (address, context) = (Address, ground.Context);
        ground.Stage1.TrySet(Address, kind switch
        {
            "unmapped" => 0,
            "not valid" => page & ~Descriptor.Valid,
            "no access flag" => page & ~Descriptor.AccessFlag,
            "read-only" => page | Descriptor.ReadOnly,
            "privileged" => page & ~Descriptor.Unprivileged,
            "unbacked" => Descriptor.Page(GuestPhysicalMemory.Origin + (6 << 20), Permissions.All),
            "beyond stage 2" => Descriptor.Page(1UL << 41, Permissions.All),
            _ => page,
        });
        switch (kind)
        {
            case "beyond the input":
                address |= 1UL << 50;
                break;
            case "walks disabled":
                context.WalksDisabled = true;
                break;
            case "beyond stage 2":
                context.InputBits2 = 39;
                context.Root2 = ground.Memory.Read(ground.Stage2.Root) & 0xFFFF_FFFF_F000;
                break;
            case "read-only at stage 2":
                ground.Stage2.TrySet(frame, Descriptor.Stage2(ground.Guest.ToPhysical(frame), Permissions.Read));
                break;
            case "no access flag at stage 2":
                ground.Stage2.TrySet(frame, Descriptor.Stage2(ground.Guest.ToPhysical(frame), Permissions.All) & ~Descriptor.AccessFlag);
                break;
            case "table unbacked":
                ground.Stage2.TrySet(ground.Stage1.Root, 0);
                break;
            case "table outside of memory":
                ground.Memory.Write(ground.Stage2.Root, Descriptor.Table(0x1000));
                break;
        }
        var result = ground.Walk(address, Permissions.Write, context);
        Assert.Equal((type, atStage2, of), ((int)result.Fault, result.AtStage2, (int)result.Class));
    }

    [Fact]
    public void Walk_OfTablesOfAnyKind_IsThePlainOne() =>
        Gen.Select(Shifts, Shifts, Gen.Select(Gen.Int[0, 40], Gen.Int[0, 5]).Array[1, 30], (shift1, shift2, pages) => (shift1, shift2, pages)).Sample(seen =>
        {
            var ground = new Ground(seen.shift1, seen.shift2);
            foreach (var (page, kind) in seen.pages)
            {
                var address = 0x7F00_0000_0000 + ((ulong)(page * page * page) << seen.shift1);
                var entry = Descriptor.Page(kind == 5 ? GuestPhysicalMemory.Origin + (1UL << 34) : ground.Guest.Take(), (Permissions)(kind & 3) | Permissions.Read);
                ground.Stage1.TrySet(address, kind == 4 ? 0 : kind == 3 ? entry & ~Descriptor.AccessFlag : entry);
            }
            for (var page = 0; page <= 40; page++)
            {
                var address = 0x7F00_0000_0000 + ((ulong)(page * page * page) << seen.shift1) + 0x18;
                var plain = PlainWalk.Both(ground.Memory, ground.Stage1.Root, seen.shift1, ground.Stage2.Root, seen.shift2, address);
                var (read, write) = (ground.Walk(address, Permissions.Read), ground.Walk(address, Permissions.Write));
                if ((read.Fault == EventType.None) != plain is not null || (write.Fault == EventType.None) != (plain?.Writable ?? false) || (plain is { } found && read.Output != found.Physical))
                    return false;
            }
            return true;
        }, iter: 500);
}
