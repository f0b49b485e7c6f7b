using CsCheck;
using Worker.Console;
using Xunit;

namespace Worker.Tests.Console;

public sealed class ConsoleRingTests : IDisposable
{
    private readonly TemporaryDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    private static byte[] Bytes(int length, int seed)
    {
        var bytes = new byte[length];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }

    private static void AssertTail(ConsoleRing ring, List<byte> all)
    {
        Assert.Equal(all.Count, ring.End);
        var start = Math.Max(0, all.Count - ConsoleRing.Capacity);
        var (offset, data) = ring.Read(0, int.MaxValue);
        Assert.Equal(start, offset);
        Assert.True(data.AsSpan().SequenceEqual(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(all)[start..]));
    }

    [Fact]
    public void Read_AfterAnyAppendsAndReopenings_IsTheTailOfAll()
    {
        var step = Gen.Select(Gen.Frequency((3, Gen.Int[0, 5000]), (1, Gen.Int[60_000, 300_000])), Gen.Bool, Gen.Int);
        var run = 0;
        step.Array[1, 12].Sample(steps =>
        {
            var path = _directory.Of($"ring{Interlocked.Increment(ref run)}");
            var all = new List<byte>();
            var ring = new ConsoleRing(path);
            try
            {
                foreach (var (length, reopen, seed) in steps)
                {
                    var bytes = Bytes(length, seed);
                    ring.Append(bytes);
                    all.AddRange(bytes);
                    if (reopen)
                    {
                        ring.Dispose();
                        ring = new ConsoleRing(path);
                    }
                    AssertTail(ring, all);
                }
            }
            finally
            {
                ring.Dispose();
                File.Delete(path);
            }
        }, iter: 60);
    }

    [Fact]
    public void Read_AfterAKillInTheMiddleOfAnAppend_IsTheTailBeforeIt() =>
        Gen.Select(Gen.Int[0, 3 * ConsoleRing.Capacity], Gen.Int[1, ConsoleRing.Slack], Gen.Int).Sample((before, length, seed) =>
        {
            var path = _directory.Of($"torn{seed}-{before}-{length}");
            var all = new List<byte>(Bytes(before, seed));
            using (var ring = new ConsoleRing(path))
                ring.Append(all.ToArray());
            var header = File.ReadAllBytes(path)[..512];
            using (var ring = new ConsoleRing(path))
                ring.Append(Bytes(length, seed + 1));
            // What a SIGKILL between the bytes and the count leaves: the new bytes under the old header.
            using (var file = File.OpenHandle(path, FileMode.Open, FileAccess.Write))
                RandomAccess.Write(file, header, 0);
            using (var ring = new ConsoleRing(path))
                AssertTail(ring, all);
            File.Delete(path);
        }, iter: 60);

    [Fact]
    public void Read_OfAnyRange_IsClampedToWhatIsThere()
    {
        using var ring = new ConsoleRing(_directory.Of("ring"));
        var all = Bytes(ConsoleRing.Capacity + 70_000, 5);
        ring.Append(all);
        Gen.Select(Gen.Long[-5, all.Length + 5], Gen.Int[-5, all.Length]).Sample((from, max) =>
        {
            var (offset, data) = ring.Read(from, max);
            Assert.InRange(offset, all.Length - ConsoleRing.Capacity, all.Length);
            Assert.Equal(Math.Clamp(from, all.Length - ConsoleRing.Capacity, all.Length), offset);
            Assert.Equal(Math.Min(Math.Max(0, max), all.Length - offset), data.Length);
            Assert.True(data.AsSpan().SequenceEqual(all.AsSpan((int)offset, data.Length)));
        }, iter: 200);
    }

    [Theory]
    [InlineData("")]
    [InlineData("short")]
    [InlineData("something else that is longer than any header could be, or so one would think")]
    public void Open_WhenTheFileIsNoRing_BeginsAnew(string content)
    {
        File.WriteAllText(_directory.Of("ring"), content);
        using var ring = new ConsoleRing(_directory.Of("ring"));
        Assert.Equal((0, null), (ring.End, ring.Listening));
        Assert.Empty(ring.Read(0, 100).Data);
    }

    [Fact]
    public void Listening_WhenReopened_IsKept()
    {
        var listening = new ConsoleListening(77, new DateTimeOffset(2026, 1, 2, 3, 4, 5, TimeSpan.Zero));
        using (var ring = new ConsoleRing(_directory.Of("ring")))
        {
            Assert.Null(ring.Listening);
            ring.NoteListening(listening);
            ring.Append("x"u8);
        }
        using var again = new ConsoleRing(_directory.Of("ring"));
        Assert.Equal((listening, 1L), (again.Listening!.Value, again.End));
    }
}
