using CsCheck;
using Worker.Vms.Simulated;
using Worker.Vms.Simulated.Iommu;
using Worker.Vms.Simulated.Memory;
using Xunit;

namespace Worker.Tests.Simulated;

/// <summary>The cache of translations against a dictionary, queues, the agenda, and the generator of numbers.</summary>
public sealed class CachesTests
{
    private static readonly Gen<int> Shifts = Gen.Bool.Select(large => large ? 16 : 12);

    /// <summary>What it answers was put in and not invalidated since; it may forget, and never invents.</summary>
    [Fact]
    public void Cache_AfterAnyFillsAndInvalidations_AnswersOnlyWhatIsStillValid() =>
        Gen.Select(Gen.Int[0, 5], Gen.ULong[0, 3], Gen.ULong[0, 40], Shifts).Array[1, 80].Sample(steps =>
        {
            var cache = new TranslationCache(16);
            var valid = new Dictionary<(ulong Tag, ulong Page, int Shift), (ulong Output, int Leaf)>();
            var number = 0UL;
            foreach (var (what, tag, at, shift) in steps)
            {
                var address = at << 14;
                switch (what)
                {
                    case 0 or 1:
                        var output = ++number << 16;
                        cache.Fill(tag, address, shift, what == 1 ? 21 : shift, output, Permissions.All, Permissions.Read);
                        valid[(tag, address >> shift, shift)] = (output, what == 1 ? 21 : shift);
                        break;
                    case 2:
                        cache.InvalidateRange(tag, address >> 12 << 12, 12);
                        foreach (var gone in valid.Where(v => v.Key.Tag == tag && ((v.Key.Page << v.Key.Shift) ^ address) >> v.Value.Leaf == 0).ToList())
                            valid.Remove(gone.Key);
                        break;
                    case 3:
                        cache.InvalidateTags(ulong.MaxValue, tag);
                        foreach (var gone in valid.Keys.Where(key => key.Tag == tag).ToList())
                            valid.Remove(gone);
                        break;
                    case 4:
                        cache.InvalidateRange(tag, address & ~0xFFFFUL, 16);
                        foreach (var gone in valid.Where(v => v.Key.Tag == tag && ((v.Key.Page << v.Key.Shift) ^ address) >> Math.Max(16, v.Value.Leaf) == 0).ToList())
                            valid.Remove(gone.Key);
                        break;
                    case 5 when at == 0:
                        cache.InvalidateAll();
                        valid.Clear();
                        break;
                }
                for (var page = 0UL; page <= 40; page++)
                    foreach (var look in (int[])[12, 16])
                        for (var of = 0UL; of <= 3; of++)
                            if (cache.TryFind(of, (page << 14) + 8, look, out var found, out var first, out var second)
                                && (!valid.TryGetValue((of, page << 14 >> look, look), out var known) || found != (known.Output | (((page << 14) + 8) & ((1UL << look) - 1))) || (first & second) != Permissions.Read))
                                return false;
            }
            return true;
        }, iter: 300);

    [Fact]
    public void Cache_WhatWasFilledLast_IsFound()
    {
        var cache = new TranslationCache(64);
        for (var page = 0UL; page < 1000; page++)
        {
            cache.Fill(5, page << 12, 12, 12, page << 20, Permissions.All, Permissions.All);
            Assert.True(cache.TryFind(5, page << 12, 12, out var output, out _, out _));
            Assert.Equal(page << 20, output);
            Assert.False(cache.TryFind(6, page << 12, 12, out _, out _, out _));
        }
    }

    [Fact]
    public void Queue_OfAnyPutsAndTakes_KeepsOrderAndNeverMoreThanItsSize() => Gen.Bool.Array[1, 200].Sample(steps =>
    {
        var memory = new PhysicalMemory(0x8_0000_0000, 32);
        var queue = new RecordQueue(memory, memory.Take(16), 3, 2);
        var model = new Queue<ulong>();
        var number = 0UL;
        foreach (var put in steps)
        {
            if (put)
            {
                if (queue.TryPut([++number, ~number]) != model.Count < 8)
                    return false;
                if (model.Count < 8)
                    model.Enqueue(number);
            }
            else if (model.TryDequeue(out var expected))
            {
                var record = new ulong[2];
                queue.Peek(record);
                queue.Advance();
                if (record[0] != expected || record[1] != ~expected)
                    return false;
            }
            if (queue.Count != model.Count || queue.IsEmpty != (model.Count == 0) || queue.IsFull != (model.Count == 8))
                return false;
        }
        return true;
    }, iter: 500);

    [Fact]
    public void Agenda_GivesWhatIsDueInOrderOfTimeAndThenOfEntry() => Gen.Int[0, 20].Array[1, 200].Sample(delays =>
    {
        var agenda = new Agenda(new VirtualClock());
        foreach (var (index, delay) in delays.Index())
            agenda.After(delay, Activity.WalkEnds, 0, index);
        var taken = Enumerable.Range(0, delays.Length).Select(_ => agenda.Take().Item).ToList();
        return taken.SequenceEqual(Enumerable.Range(0, delays.Length).OrderBy(index => delays[index])) && agenda.NextAt == long.MaxValue;
    }, iter: 500);

    [Fact]
    public void Random_OfASeed_IsAlwaysTheSameAndNeverBeyondItsBound()
    {
        var (one, same, other) = (new SeededRandom(7), new SeededRandom(7), new SeededRandom(8));
        Assert.Equal(Enumerable.Range(0, 100).Select(_ => one.Next()), Enumerable.Range(0, 100).Select(_ => same.Next()));
        Assert.NotEqual(one.Next(), other.Next());
        var counts = new int[10];
        for (var draw = 0; draw < 100_000; draw++)
            counts[one.Below(10)]++;
        Assert.All(counts, count => Assert.InRange(count, 9_000, 11_000));
    }
}
