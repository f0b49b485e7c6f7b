using System.Security.Cryptography;
using System.Text;
using Contracts;
using CsCheck;
using Xunit;
using static Api.Tests.Faults.FaultBytes;

namespace Api.Tests.Faults;

public sealed class FaultSamplesEncodingTests
{
    private static readonly DateTimeOffset _at = new(2026, 11, 25, 12, 0, 0, 123, 456, TimeSpan.Zero);
    private static readonly Guid _id = Guid.Parse("00112233-4455-6677-8899-aabbccddeeff");

    private static readonly Gen<string> _name = Gen.OneOf(Gen.Int[0, FaultWords.All.Count - 1].Select(n => FaultWords.All[n]), Gen.Char["azAZ09._-"].Array[1, 64].Select(c => new string(c)));
    private static readonly Gen<LatencyHistogram> _latency = Gen.Select(Gen.OneOf(Gen.Const(0L), Gen.Long[0, LatencyHistogram.MostCounts]).Array[LatencyHistogram.Buckets], Gen.Long[0, LatencyHistogram.MostNanoseconds],
        (counts, sum) => new LatencyHistogram(counts, sum));
    private static readonly Gen<SourceReading> _reading = Gen.Select(_name, Gen.OneOf(Gen.Long[0, 1000], Gen.Long[0, long.MaxValue]), _name, Gen.Bool, Gen.Enum<Origin>(), Gen.Int[0, 2], _latency,
        (source, value, reason, bound, origin, what, latency) => what == 0 ? new SourceReading(source, null, reason, bound, origin) : new SourceReading(source, what == 2 ? Math.Max(value, latency.Total) : value, null, bound, origin, what == 2 ? latency : null));
    private static readonly Gen<FaultSample> _sample = Gen.Select(Gen.Guid, Gen.Int[0, int.MaxValue], Gen.Long[-1_000_000_000_000, 4_000_000_000_000_000], _reading.Array[0, 12],
        (id, incarnation, microseconds, readings) => new FaultSample(id, incarnation, DateTimeOffset.UnixEpoch.AddTicks(microseconds * 10), [.. readings.DistinctBy(r => r.Source)]));

    private static (bool IsBatch, List<EncodedSample> Samples, int Malformed) Read(byte[] batch)
    {
        var samples = new List<EncodedSample>();
        var isBatch = FaultSamplesEncoding.TryRead(batch, samples, out var malformed);
        return (isBatch, samples, malformed);
    }

    private static bool Same(FaultSample a, FaultSample b) => (a.SandboxId, a.Incarnation, a.At) == (b.SandboxId, b.Incarnation, b.At) && a.Readings.SequenceEqual(b.Readings);

    [Fact]
    public void Read_OfWhatWasWritten_IsTheSame() => _sample.Array[0, 20].Sample(samples =>
    {
        var read = FaultSamplesEncoding.Batches(samples).SelectMany(b => Read(b).Samples).Select(s => s.Decode()).ToList();
        return read.Count == samples.Length && read.Zip(samples).All(pair => Same(pair.First, pair.Second));
    });

    [Fact]
    public void Read_OfAnyBytes_IsRefusedOrWellFormed() => Gen.Select(_sample.Array[1, 4], Gen.Select(Gen.Int[0, 4000], Gen.Byte).Array[0, 6], Gen.Int[0, 4000]).Sample((samples, changes, cut) =>
    {
        var bytes = FaultSamplesEncoding.Batches(samples).First();
        foreach (var (place, value) in changes) bytes[place % bytes.Length] = value;
        if (cut < bytes.Length) bytes = bytes[..cut];
        foreach (var read in Read(bytes).Samples.Select(s => s.Decode()))
            if (!FaultSamplesEncoding.IsWellFormed(read) || !Same(Read(Of(read)).Samples.Single().Decode(), read)) return false;
        return true;
    });

    [Fact]
    public void Write_OfASample_IsTheseBytes()
    {
        var sample = new FaultSample(_id, 1, _at, [
            new("guest.minorFaults", 300, null, true, Origin.Emulated), new("x.y", null, "NotSimulated", false, Origin.Hardware),
            new("io.pageFaults", 3, null, false, Origin.Simulated, new LatencyHistogram([2, 0, 0, 1, .. new long[18]], 9000))]);
        Assert.Equal(Batch(Sample(_id, _at, Readings([0, 8 + 4 + 1, 0xAC, 0x02], [7, (byte)'x', (byte)'.', (byte)'y', 0, 80], [20, 16 + 8 + 2, 3, .. Varint(9000), 9, 2, 1]))), Of(sample));
    }

    [Fact]
    public void Words_OnceStored_KeepTheirNumbers()
    {
        Assert.Equal("18A096A5", Convert.ToHexString(SHA256.HashData(Encoding.UTF8.GetBytes(string.Join(' ', FaultWords.All.Take(41)))))[..8]);
        Assert.All(FaultWords.All, word => Assert.True(FaultSamplesEncoding.IsName(word), word));
    }

    [Fact]
    public void Decode_OfSourcesAskedFor_IsThoseOnly() =>
        Assert.Equal("b", FaultSamplesEncoding.Decode(Readings(Reading("a", 8, 1), Reading("b", 8, 2), Reading("c", 0, Name("Why"))), ["b", "d"]).Single().Source);

    public static TheoryData<string, byte[]> MalformedReadings() => new()
    {
        { "nothing", [] },
        { "another version", [2, .. Reading("a", 8, 1)] },
        { "a value that is longer than 63 bits", Readings(Reading("a", 8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1)) },
        { "a number in more bytes than it takes", Readings(Reading("a", 8, 0x81, 0x00)) },
        { "a number that ends midway", Readings(Reading("a", 8, 0x81)) },
        { "neither value nor reason", Readings(Reading("a", 0)) },
        { "a reason without letters", Readings(Reading("a", 0, 1)) },
        { "a name of other letters", Readings(Reading("a/b", 8, 1)) },
        { "a name beyond ASCII", Readings([5, 0xC3, 0xA4, 8, 1]) },
        { "a name that is too long", Readings(Reading(new string('a', 65), 8, 1)) },
        { "a name longer than what follows", Readings([41, (byte)'a']) },
        { "a word that nobody knows", Readings([.. Varint(2 * FaultWords.All.Count), 8, 1]) },
        { "an origin that nobody knows", Readings(Reading("a", 8 + 3, 1)) },
        { "a flag that nobody knows", Readings(Reading("a", 8 + 32, 1)) },
        { "latencies without a value", Readings(Reading("a", 16, [.. Name("Why"), 0, 0])) },
        { "a latency of a bucket that is none", Readings(Reading("a", 24, [1, 0, .. Varint(1 << 22), 1])) },
        { "a latency that was counted as 0", Readings(Reading("a", 24, [1, 0, 1, 0])) },
        { "latencies that are too long together", Readings(Reading("a", 24, [1, .. Varint((1L << 60) + 1), 0])) },
        { "more latencies than can be", Readings(Reading("a", 24, [1, 0, 1, .. Varint((1L << 53) + 1)])) },
        { "129 readings", Readings([.. Enumerable.Repeat(Reading("a", 8, 1), FaultSamplesEncoding.MaxReadings + 1)]) },
    };

    [Fact]
    public void Read_WhenReadingsAreLongerThanASampleIs_LeavesThatOneOut()
    {
        byte[] Of(int readings) => Readings([.. Enumerable.Range(0, readings).Select(n => Reading($"{n:D3}{new string('s', 61)}", 24, [.. Varint(1L << 57), .. Varint(1L << 40), .. Varint((1L << 22) - 1), .. Enumerable.Repeat(Varint(1L << 52), 22).SelectMany(b => b)]))]);
        Assert.InRange(Of(120).Length, FaultSamplesEncoding.MaxReadingsBytes, int.MaxValue);
        var (isBatch, samples, malformed) = Read(Batch(Sample(_id, _at, Of(40)), Sample(_id, _at, Of(120))));
        Assert.Equal((true, 1, 1), (isBatch, samples.Count, malformed));
    }

    [Theory]
    [InlineData(4, 0)]
    [InlineData(3, 1)]
    public void Read_WhenMoreIsAnsweredThanHappened_LeavesThatOneOut(byte count, int refused)
    {
        var (isBatch, samples, malformed) = Read(Batch(Sample(_id, _at, Readings(Reading("a", 24, [count, 0, 3, 2, 2])))));
        Assert.Equal((true, 1 - refused, refused), (isBatch, samples.Count, malformed));
    }

    [Theory]
    [MemberData(nameof(MalformedReadings))]
    public void Read_WhenOneSampleIsMalformed_LeavesThatOneOut(string what, byte[] readings)
    {
        var good = Sample(_id, _at, Readings(Reading("a", 8, 1)));
        var (isBatch, samples, malformed) = Read(Batch(good, Sample(_id, _at, readings), good));
        Assert.Equal((what, true, 2, 1), (what, isBatch, samples.Count, malformed));
        Assert.Throws<InvalidDataException>(() => FaultSamplesEncoding.Decode(readings));
    }

    [Fact]
    public void Read_WhenATimeIsNone_LeavesThatOneOut()
    {
        var sample = Sample(_id, _at, Readings());
        BitConverter.GetBytes(long.MinValue).CopyTo(sample, 17);
        Assert.Equal((true, 1), (Read(Batch(sample)).IsBatch, Read(Batch(sample)).Malformed));
    }

    public static TheoryData<string, byte[]> NoBatches() => new()
    {
        { "nothing", [] },
        { "another version", [2] },
        { "half an id", [1, 2, 3] },
        { "an incarnation above 2^31", [1, .. _id.ToByteArray(), .. Varint(1L << 31), .. new byte[8], 1, 1] },
        { "readings that are not there", [1, .. _id.ToByteArray(), 1, .. new byte[8], 2, 1] },
        { "4097 samples", Batch([.. Enumerable.Repeat(Sample(_id, _at, 1), FaultSamplesEncoding.MaxBatchSamples + 1)]) },
        { "more bytes than are taken", [1, .. new byte[FaultSamplesEncoding.MaxBatchBytes]] },
    };

    [Theory]
    [MemberData(nameof(NoBatches))]
    public void Read_OfWhatIsNoBatch_IsRefused(string what, byte[] batch) => Assert.Equal((what, false), (what, Read(batch).IsBatch));

    [Fact]
    public void Batches_OfMoreThanOneHolds_AreSeveralThatAreTaken()
    {
        var large = new FaultSample(_id, 1, _at, [.. Enumerable.Range(0, FaultSamplesEncoding.MaxReadings).Select(n => new SourceReading($"{n:D3}{new string('s', 61)}", null, new string('r', 64), false, Origin.Hardware))]);
        foreach (var samples in (FaultSample[][])[[.. Enumerable.Repeat(large, 1000)], [.. Enumerable.Repeat(large with { Readings = [] }, 10_000)]])
            Assert.Equal(samples.Length, FaultSamplesEncoding.Batches(samples).Sum(b => Read(b) is { IsBatch: true, Malformed: 0 } read ? read.Samples.Count : throw new InvalidOperationException()));
    }

    [Fact]
    public void Batches_OfAReadingThatCannotBeSaid_Throw()
    {
        foreach (var bad in (SourceReading[])[new("a", null, null, false, Origin.Hardware), new("a", 1, "Why", false, Origin.Hardware), new("a", -1, null, false, Origin.Hardware), new("", 1, null, false, Origin.Hardware),
            new("a", null, "Why", false, Origin.Hardware, LatencyHistogram.Empty), new("a", 1, null, false, (Origin)3)])
            Assert.Throws<ArgumentException>(() => Of(new FaultSample(_id, 1, _at, [bad])));
    }
}
