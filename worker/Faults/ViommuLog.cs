using System.Runtime.InteropServices;
using System.Text.Json;

namespace Worker.Faults;

/// <summary>How much one reading found. <c>Refused</c>: the file system does not give read parts back.</summary>
internal sealed record ViommuLogState(long Growth, long UnreadBytes, long LengthBytes, bool Refused);

// Reads one VM's trace log from where it was left, and keeps counts and place in a file beside it.
// Guarantees: the counts are stored, by one rename, before the log's read part is given back, so a crash at any moment neither loses nor doubles
// a line; what is read at a time is bounded; the log's disk use is what has not been read yet.
// Assumes: the log belongs to the VM's user, who may do anything to it: it is opened without following links, and only counted.
internal sealed class ViommuLog(string logPath, string statePath)
{
    public const int MaxBytesPerRead = 16 << 20;
    /// <summary>More than this is not caught up with any more.</summary>
    public const long MaxUnreadBytes = 256L << 20;
    private const int ChunkBytes = 64 * 1024;
    private const int PageBytes = 4096;
    private byte[]? _buffer;
    private long? _lastLength;
    private long _freed;

    public ViommuCounts Counts { get; private set; } = Load(statePath);

    /// <summary>Null while there is no log.</summary>
    public ViommuLogState? Read()
    {
        using var file = LibC.OpenWithoutFollowing(logPath, write: true);
        if (file is null)
            return null;
        var length = RandomAccess.GetLength(file);
        var counts = Counts;
        // Somebody cut the log or left too much of it unread: what is missing cannot be counted.
        if (length < counts.Offset || length - counts.Offset > MaxUnreadBytes)
            counts = (counts with { Offset = length, Skipping = false }).WithBounds(true, true);
        var stop = Math.Min(length, counts.Offset + MaxBytesPerRead);
        while (counts.Offset < stop)
        {
            _buffer ??= new byte[ChunkBytes];
            var read = RandomAccess.Read(file, _buffer.AsSpan(0, (int)Math.Min(ChunkBytes, length - counts.Offset)), counts.Offset);
            var next = counts.Add(_buffer.AsSpan(0, read));
            if (next.Offset == counts.Offset)
                break;
            counts = next;
        }
        if (counts.Offset == length)
            _buffer = null;
        if (counts.Offset != Counts.Offset)
            Store(counts);
        var growth = _lastLength is { } last ? Math.Max(0, length - last) : 0;
        _lastLength = length;
        return new ViommuLogState(growth, length - counts.Offset, length, !Free(file, counts.Offset));
    }

    /// <summary>Written at once: whoever reads the counts later must know.</summary>
    public void MarkLost(bool events, bool tlb)
    {
        var marked = Counts.WithBounds(events, tlb);
        if (marked != Counts)
            Store(marked);
    }

    private bool Free(Microsoft.Win32.SafeHandles.SafeFileHandle file, long offset)
    {
        var bytes = offset / PageBytes * PageBytes;
        if (bytes - _freed < ChunkBytes)
            return true;
        LibC.FreeRange(file, bytes);
        if (Marshal.GetLastPInvokeError() != 0)
            return false;
        _freed = bytes;
        return true;
    }

    private void Store(ViommuCounts counts)
    {
        WholeFile.ReplaceInCache(statePath, JsonSerializer.SerializeToUtf8Bytes(counts, ViommuCountsJson.Default.ViommuCounts));
        Counts = counts;
    }

    private static ViommuCounts Load(string path)
    {
        try
        {
            if (!File.Exists(path))
                return ViommuCounts.Zero;
            var counts = JsonSerializer.Deserialize(File.ReadAllBytes(path), ViommuCountsJson.Default.ViommuCounts);
            if (counts is { Offset: >= 0, Events: not null, TlbHits: >= 0, TlbMisses: >= 0 } && counts.Events.Values.All(count => count >= 0))
                return counts;
        }
        catch (Exception problem) when (problem is JsonException or IOException or UnauthorizedAccessException)
        {
            // Counted anew below, from what the log still has.
        }
        return ViommuCounts.Zero.WithBounds(true, true);
    }
}
