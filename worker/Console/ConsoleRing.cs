using System.Buffers.Binary;
using Microsoft.Win32.SafeHandles;

namespace Worker.Console;

/// <summary>Which VMM was listened to, and until when: what a later worker needs to know that it may have missed something.</summary>
internal readonly record struct ConsoleListening(long SocketStamp, DateTimeOffset Until);

/// <summary>Which file is followed, and the offset in the console of its first byte (below zero when its beginning was left out).</summary>
internal readonly record struct ConsoleFollowing(long Stamp, long Base);

// The last 256 KiB of a console in a file: a header of one sector (magic, bytes put out ever, who was listened to until when, which file is followed), then the bytes,
// each at its offset modulo the area.
// Guarantees: a worker killed at any moment leaves the tail of what was put out, because an append writes first its bytes, into a slack
// that no reader is shown, and then the count; readers see whole appends. Not thread safe: the owner locks.
internal sealed class ConsoleRing : IDisposable
{
    public const int Capacity = 256 * 1024;
    /// <summary>Most bytes of one append, and how many more than <see cref="Capacity"/> the area holds.</summary>
    public const int Slack = 4096;
    private const int AreaBytes = Capacity + Slack;
    private const int HeaderBytes = 512;
    private const int ListeningAt = 16, FollowingAt = 32;
    private const ulong Magic = 0x32474e4952584253;
    private readonly SafeFileHandle _file;

    public ConsoleRing(string path)
    {
        _file = File.OpenHandle(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.ReadWrite);
        try
        {
            File.SetUnixFileMode(_file, UnixFileMode.UserRead | UnixFileMode.UserWrite);
            Load();
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            _file.Dispose();
            throw;
        }
    }

    /// <summary>Bytes put out ever.</summary>
    public long End { get; private set; }
    /// <summary>The oldest byte that is still there.</summary>
    public long Start => Math.Max(0, End - Capacity);
    /// <summary>Null when nobody has listened yet.</summary>
    public ConsoleListening? Listening { get; private set; }
    /// <summary>Null when no file has been followed yet.</summary>
    public ConsoleFollowing? Following { get; private set; }

    public void Append(ReadOnlySpan<byte> data)
    {
        Span<byte> end = stackalloc byte[sizeof(long)];
        while (!data.IsEmpty)
        {
            var part = data[..Math.Min(data.Length, Slack)];
            data = data[part.Length..];
            var at = End % AreaBytes;
            var first = (int)Math.Min(part.Length, AreaBytes - at);
            RandomAccess.Write(_file, part[..first], HeaderBytes + at);
            RandomAccess.Write(_file, part[first..], HeaderBytes);
            BinaryPrimitives.WriteInt64LittleEndian(end, End + part.Length);
            RandomAccess.Write(_file, end, sizeof(ulong));
            End += part.Length;
        }
    }

    public (long Offset, byte[] Data) Read(long fromOffset, int maxBytes)
    {
        var from = Math.Clamp(fromOffset, Start, End);
        var data = new byte[Math.Min(Math.Max(0, maxBytes), End - from)];
        var at = from % AreaBytes;
        var first = (int)Math.Min(data.Length, AreaBytes - at);
        var read = RandomAccess.Read(_file, data.AsSpan(0, first), HeaderBytes + at);
        if (read == first)
            read += RandomAccess.Read(_file, data.AsSpan(first), HeaderBytes);
        return (from, read == data.Length ? data : data[..read]);
    }

    public void NoteListening(ConsoleListening listening)
    {
        Span<byte> note = stackalloc byte[2 * sizeof(long)];
        BinaryPrimitives.WriteInt64LittleEndian(note, listening.SocketStamp);
        BinaryPrimitives.WriteInt64LittleEndian(note[sizeof(long)..], listening.Until.UtcTicks);
        RandomAccess.Write(_file, note, ListeningAt);
        Listening = listening;
    }

    public void NoteFollowing(ConsoleFollowing following)
    {
        Span<byte> note = stackalloc byte[2 * sizeof(long)];
        BinaryPrimitives.WriteInt64LittleEndian(note, following.Stamp);
        BinaryPrimitives.WriteInt64LittleEndian(note[sizeof(long)..], following.Base);
        RandomAccess.Write(_file, note, FollowingAt);
        Following = following;
    }

    public void Dispose() => _file.Dispose();

    private void Load()
    {
        Span<byte> header = stackalloc byte[HeaderBytes];
        if (RandomAccess.Read(_file, header, 0) != HeaderBytes || BinaryPrimitives.ReadUInt64LittleEndian(header) != Magic
            || BinaryPrimitives.ReadInt64LittleEndian(header[sizeof(ulong)..]) is not (>= 0 and var end))
        {
            header.Clear();
            BinaryPrimitives.WriteUInt64LittleEndian(header, Magic);
            RandomAccess.Write(_file, header, 0);
            return;
        }
        End = end;
        var stamp = BinaryPrimitives.ReadInt64LittleEndian(header[ListeningAt..]);
        var until = BinaryPrimitives.ReadInt64LittleEndian(header[(ListeningAt + sizeof(long))..]);
        if (until > 0 && until <= DateTimeOffset.MaxValue.UtcTicks)
            Listening = new ConsoleListening(stamp, new DateTimeOffset(until, TimeSpan.Zero));
        if (BinaryPrimitives.ReadInt64LittleEndian(header[FollowingAt..]) is not 0 and var followed)
            Following = new ConsoleFollowing(followed, BinaryPrimitives.ReadInt64LittleEndian(header[(FollowingAt + sizeof(long))..]));
    }
}
