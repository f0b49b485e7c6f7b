using System.Buffers;
using System.Buffers.Binary;
using System.Text;

namespace Contracts;

/// <summary>A sample as it is sent and stored: its readings in the form of <see cref="FaultSamplesEncoding"/>, already checked.</summary>
public readonly record struct EncodedSample(Guid SandboxId, int Incarnation, DateTimeOffset At, ReadOnlyMemory<byte> Readings)
{
    /// <summary>Of all its readings the origin that is nearest to hardware; <c>Simulated</c> of none.</summary>
    public Origin Nearest { get; init; } = Origin.Simulated;

    public FaultSample Decode() => new(SandboxId, Incarnation, At, FaultSamplesEncoding.Decode(Readings.Span));
}

// How samples travel from a worker and lie in the database: ten thousand a second are too many for JSON.
//   batch    = version (1 byte), samples to the end
//   sample   = sandbox (16 bytes, RFC 9562 order), incarnation (varint), time (8 bytes, little endian: µs since 1970, UTC), length of readings (varint), readings
//   readings = version (1 byte), readings to the end
//   reading  = source (name), flags (1 byte: bits 0-1 origin 0 hardware, 1 emulated, 2 simulated; 2 lower bound; 3 has a value; 4 has latencies; the others 0),
//              then the value (varint) or the reason (name), then, where it has them, the latencies
//   latency  = sum in ns (varint), which buckets are not 0 (varint, bit i for bucket i), their counts (varints)
//   name     = varint n; even: word n/2 of FaultWords; odd: (n-1)/2 bytes follow, of A-Z a-z 0-9 . _ -
//   varint   = LEB128 of 0 to 2^63-1: 7 bits a byte, the least significant first, in as few bytes as it takes
// Guarantees: whatever the bytes are, checking them ends and allocates nothing for a reading, and what is read is well formed (IsWellFormed).
// A version is forever: what changes the meaning of bytes that are stored is another version.
public static partial class FaultSamplesEncoding
{
    public const byte Version = 1;
    public const int MaxReadings = 128, MaxNameLength = 64, MaxBatchSamples = 4096, MaxBatchBytes = 2 << 20;
    /// <summary>Of one sample; what workers tell, with every event type and histogram, has a few KiB.</summary>
    public const int MaxReadingsBytes = 20 << 10;
    /// <summary>A batch that is as long as this gets no further sample.</summary>
    private const int FullBatchBytes = 1 << 20;
    private const int OriginBits = 3, LowerBound = 4, HasValue = 8, HasLatency = 16, Flags = 31, IdBytes = 16;
    private const int MostVarintBytes = 9;

    private static readonly ulong[] WordHashes = [.. FaultWords.All.Select(word => Hash(Encoding.ASCII.GetBytes(word)))];

    private delegate bool Wanted(string source);

    private static ulong Hash(ReadOnlySpan<byte> name)
    {
        var hash = 14695981039346656037UL;
        foreach (var b in name)
            hash = (hash ^ b) * 1099511628211UL;
        return hash;
    }

    /// <summary>Whether a reading can be said: exactly one of value and reason, no negative count, names of plain letters, latencies only beside a value.</summary>
    public static bool IsWellFormed(SourceReading? reading) =>
        reading is not null && IsName(reading.Source) && reading.Value is null != reading.NullReason is null && reading.Value is not < 0 && (reading.NullReason is null || IsName(reading.NullReason))
        && Enum.IsDefined(reading.Origin) && (reading.Latency is null || (reading.Value is not null && reading.Latency.IsWellFormed));

    public static bool IsWellFormed(FaultSample sample) => sample is { Incarnation: >= 0, Readings.Count: <= MaxReadings } && sample.Readings.All(IsWellFormed);

    public static bool IsName(string? text) => text is { Length: > 0 and <= MaxNameLength } && text.All(c => c < 128 && IsNameByte((byte)c));

    /// <summary>Samples as batches, none larger than is taken. Each must be well formed.</summary>
    public static IEnumerable<byte[]> Batches(IEnumerable<FaultSample> samples)
    {
        var (batch, readings, count) = (new ArrayBufferWriter<byte>(4096), new ArrayBufferWriter<byte>(512), 0);
        foreach (var sample in samples)
        {
            readings.ResetWrittenCount();
            Write(readings, sample);
            if (count == MaxBatchSamples || batch.WrittenCount + readings.WrittenCount > FullBatchBytes)
            {
                yield return batch.WrittenSpan.ToArray();
                (batch, count) = (new ArrayBufferWriter<byte>(batch.WrittenCount), 0);
            }
            if (count++ == 0)
                batch.Write([Version]);
            sample.SandboxId.TryWriteBytes(batch.GetSpan(IdBytes), bigEndian: true, out _);
            batch.Advance(IdBytes);
            WriteVarint(batch, sample.Incarnation);
            BinaryPrimitives.WriteInt64LittleEndian(batch.GetSpan(sizeof(long)), (sample.At.UtcTicks - DateTimeOffset.UnixEpoch.Ticks) / TimeSpan.TicksPerMicrosecond);
            batch.Advance(sizeof(long));
            WriteVarint(batch, readings.WrittenCount);
            batch.Write(readings.WrittenSpan);
        }
        if (count > 0)
            yield return batch.WrittenSpan.ToArray();
    }

    /// <summary>The samples of a batch, each with its part of it. False: it is no batch, and which samples it was to hold cannot be told.
    /// A sample whose readings are not well formed is left out and counted in <paramref name="malformed"/>: it must not spoil the others.</summary>
    public static bool TryRead(ReadOnlyMemory<byte> batch, List<EncodedSample> samples, out int malformed)
    {
        malformed = 0;
        var cursor = new Cursor(batch.Span);
        if (batch.Length > MaxBatchBytes || !cursor.TryByte(out var version) || version != Version)
            return false;
        while (!cursor.IsAtEnd)
        {
            if (samples.Count + malformed == MaxBatchSamples || !cursor.TryBytes(IdBytes, out var id) || !cursor.TryVarint(int.MaxValue, out var incarnation)
                || !cursor.TryBytes(sizeof(long), out var time) || !cursor.TryVarint(batch.Length, out var length))
                return false;
            var from = cursor.Position;
            if (!cursor.TryBytes((int)length, out var readings))
                return false;
            if (length <= MaxReadingsBytes && TimeOf(BinaryPrimitives.ReadInt64LittleEndian(time)) is { } at && AreReadings(readings, out var nearest))
                samples.Add(new EncodedSample(new Guid(id, bigEndian: true), (int)incarnation, at, batch.Slice(from, (int)length)) { Nearest = nearest });
            else
                malformed++;
        }
        return true;
    }

    public static byte[] EncodeReadings(IReadOnlyList<SourceReading> readings)
    {
        var into = new ArrayBufferWriter<byte>(512);
        Write(into, new FaultSample(Guid.Empty, 0, default, readings));
        return into.WrittenSpan.ToArray();
    }

    /// <summary>Of bytes that were checked when they came in; an <see cref="InvalidDataException"/> for others.</summary>
    /// <param name="encoded">As they are stored.</param>
    /// <param name="sources">Those wanted; all when empty. The others cost next to nothing.</param>
    public static List<SourceReading> Decode(ReadOnlySpan<byte> encoded, IReadOnlyCollection<string>? sources = null)
    {
        var readings = new List<SourceReading>(12);
        if (!TryReadings(encoded, sources is { Count: > 0 } ? sources.Contains : null, readings))
            throw new InvalidDataException("these are no readings");
        return readings;
    }

    /// <summary>Well formed, no source twice, for two series of one name would be told, and nothing answered more often than it happened.</summary>
    private static bool AreReadings(ReadOnlySpan<byte> encoded, out Origin nearest)
    {
        nearest = Origin.Simulated;
        var cursor = new Cursor(encoded);
        if (!cursor.TryByte(out var version) || version != Version)
            return false;
        Span<ulong> seen = stackalloc ulong[MaxReadings];
        for (var count = 0; !cursor.IsAtEnd; count++)
        {
            if (count == MaxReadings || !cursor.TryNameHash(out seen[count]) || seen[..count].Contains(seen[count]))
                return false;
            cursor.Back();
            if (!TryReading(ref cursor, null, null, out var origin, out var unanswered) || unanswered < 0)
                return false;
            nearest = origin < nearest ? origin : nearest;
        }
        return true;
    }

    /// <summary>One way through the bytes for those who check and those who read.</summary>
    private static bool TryReadings(ReadOnlySpan<byte> encoded, Wanted? wanted, List<SourceReading>? into)
    {
        var cursor = new Cursor(encoded);
        if (!cursor.TryByte(out var version) || version != Version)
            return false;
        for (var count = 0; !cursor.IsAtEnd; count++)
            if (count == MaxReadings || !TryReading(ref cursor, wanted, into, out _, out _))
                return false;
        return true;
    }

    private static bool TryReading(ref Cursor cursor, Wanted? wanted, List<SourceReading>? into, out Origin origin, out long unanswered)
    {
        (origin, unanswered) = (default, 0);
        if (!cursor.TryName(into is not null, out var source) || !cursor.TryByte(out var flags) || (flags & ~Flags) != 0 || (flags & OriginBits) > 2 || (flags & (HasValue | HasLatency)) == HasLatency)
            return false;
        origin = (flags & OriginBits) switch { 0 => Origin.Hardware, 1 => Origin.Emulated, _ => Origin.Simulated };
        var make = into is not null && (wanted is null || wanted(source!));
        var (value, reason) = (0L, default(string));
        if ((flags & HasValue) != 0 ? !cursor.TryVarint(long.MaxValue, out value) : !cursor.TryName(make, out reason))
            return false;
        var latency = default(LatencyHistogram);
        if ((flags & HasLatency) != 0)
        {
            if (!TryLatency(ref cursor, make, out latency, out var answered))
                return false;
            unanswered = value - answered;
        }
        if (make)
            into!.Add(new SourceReading(source!, (flags & HasValue) != 0 ? value : null, reason, (flags & LowerBound) != 0, origin, latency));
        return true;
    }

    private static bool TryLatency(ref Cursor cursor, bool make, out LatencyHistogram? latency, out long total)
    {
        (latency, total) = (null, 0);
        if (!cursor.TryVarint(LatencyHistogram.MostNanoseconds, out var sum) || !cursor.TryVarint((1L << LatencyHistogram.Buckets) - 1, out var filled))
            return false;
        var counts = make ? new long[LatencyHistogram.Buckets] : null;
        for (var bucket = 0; bucket < LatencyHistogram.Buckets; bucket++)
        {
            if ((filled >> bucket & 1) == 0)
                continue;
            if (!cursor.TryVarint(LatencyHistogram.MostCounts, out var count) || count == 0)
                return false;
            total += count;
            if (counts is not null)
                counts[bucket] = count;
        }
        latency = counts is null ? null : new LatencyHistogram(counts, sum);
        return true;
    }

    private static void Write(ArrayBufferWriter<byte> into, FaultSample sample)
    {
        if (!IsWellFormed(sample))
            throw new ArgumentException("a reading is not well formed", nameof(sample));
        into.Write([Version]);
        foreach (var reading in sample.Readings)
        {
            WriteName(into, reading.Source);
            var origin = reading.Origin switch { Origin.Hardware => 0, Origin.Emulated => 1, _ => 2 };
            into.Write([(byte)(origin | (reading.LowerBound ? LowerBound : 0) | (reading.Value is null ? 0 : HasValue) | (reading.Latency is null ? 0 : HasLatency))]);
            if (reading.Value is { } value)
                WriteVarint(into, value);
            else
                WriteName(into, reading.NullReason!);
            if (reading.Latency is { } latency)
                Write(into, latency);
        }
    }

    private static void Write(ArrayBufferWriter<byte> into, LatencyHistogram latency)
    {
        var filled = 0L;
        for (var bucket = 0; bucket < LatencyHistogram.Buckets; bucket++)
            filled |= latency.Counts[bucket] == 0 ? 0 : 1L << bucket;
        WriteVarint(into, latency.SumNanoseconds);
        WriteVarint(into, filled);
        for (var bucket = 0; bucket < LatencyHistogram.Buckets; bucket++)
            if (latency.Counts[bucket] != 0)
                WriteVarint(into, latency.Counts[bucket]);
    }

    private static void WriteName(ArrayBufferWriter<byte> into, string name)
    {
        if (FaultWords.NumberOf(name) is { } word)
        {
            WriteVarint(into, 2L * word);
            return;
        }
        WriteVarint(into, 2L * name.Length + 1);
        into.Advance(Encoding.ASCII.GetBytes(name, into.GetSpan(name.Length)));
    }

    private static void WriteVarint(ArrayBufferWriter<byte> into, long value)
    {
        var span = into.GetSpan(MostVarintBytes);
        var length = 0;
        for (; value > 127; value >>= 7)
            span[length++] = (byte)(value & 127 | 128);
        span[length++] = (byte)value;
        into.Advance(length);
    }

    private static DateTimeOffset? TimeOf(long microseconds) =>
        microseconds < (DateTimeOffset.MinValue - DateTimeOffset.UnixEpoch).Ticks / TimeSpan.TicksPerMicrosecond || microseconds > (DateTimeOffset.MaxValue - DateTimeOffset.UnixEpoch).Ticks / TimeSpan.TicksPerMicrosecond
            ? null
            : DateTimeOffset.UnixEpoch.AddTicks(microseconds * TimeSpan.TicksPerMicrosecond);

    private static bool IsNameByte(byte b) => char.IsAsciiLetterOrDigit((char)b) || b is (byte)'.' or (byte)'_' or (byte)'-';
}
