using System.Buffers;
using System.IO.Pipelines;
using System.Runtime.CompilerServices;

namespace Worker;

/// <summary>Splits a byte stream into lines of bounded length.</summary>
internal static class Lines
{
    /// <summary>Each line without its end. The memory is valid until the next one. A line that is too long is an <see cref="InvalidDataException"/>.</summary>
    public static async IAsyncEnumerable<ReadOnlyMemory<byte>> ReadAsync(PipeReader reader, int maxBytes, [EnumeratorCancellation] CancellationToken ct)
    {
        while (true)
        {
            var result = await reader.ReadAsync(ct);
            var buffer = result.Buffer;
            while (buffer.PositionOf((byte)'\n') is { } end)
            {
                var line = buffer.Slice(0, end);
                buffer = buffer.Slice(buffer.GetPosition(1, end));
                if (line.Length > maxBytes)
                    throw new InvalidDataException($"a line of more than {maxBytes} bytes");
                if (line.Length > 1)
                    yield return line.IsSingleSegment ? line.First : line.ToArray();
            }
            if (buffer.Length > maxBytes)
                throw new InvalidDataException($"a line of more than {maxBytes} bytes");
            reader.AdvanceTo(buffer.Start, buffer.End);
            if (result.IsCompleted)
                yield break;
        }
    }
}
