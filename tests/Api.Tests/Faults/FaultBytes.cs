using Contracts;

namespace Api.Tests.Faults;

/// <summary>Batches written by hand, as api/Contracts/FaultSamplesEncoding.cs describes them, and not by it: right ones and forged ones.</summary>
internal static class FaultBytes
{
    public static byte[] Batch(params byte[][] samples) => [1, .. samples.SelectMany(s => s)];

    public static byte[] Sample(Guid sandbox, DateTimeOffset at, params byte[] readings) =>
        [.. sandbox.ToByteArray(bigEndian: true), .. Varint(1), .. BitConverter.GetBytes((at - DateTimeOffset.UnixEpoch).Ticks / 10), .. Varint(readings.Length), .. readings];

    public static byte[] Readings(params byte[][] readings) => [1, .. readings.SelectMany(r => r)];

    public static byte[] Reading(string source, int flags, params byte[] rest) => [.. Name(source), (byte)flags, .. rest];

    public static byte[] Name(string name) => [.. Varint(2 * name.Length + 1), .. System.Text.Encoding.UTF8.GetBytes(name)];

    public static byte[] Varint(long value)
    {
        var bytes = new List<byte>();
        for (; value > 127; value /= 128) bytes.Add((byte)(value % 128 + 128));
        return [.. bytes, (byte)value];
    }

    /// <summary>As a worker sends them.</summary>
    public static byte[] Of(params FaultSample[] samples) => FaultSamplesEncoding.Batches(samples).Single();
}
