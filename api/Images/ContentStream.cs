namespace Api.Images;

/// <summary>Complete content to be read from anywhere in it. A chunk is in memory at a time, and a connection of the database is used only while that is fetched.</summary>
internal sealed class ContentStream(ContentStore store, Guid content, long bytes) : Stream
{
    private byte[] chunk = [];
    private long number = -1;

    public override bool CanRead => true;
    public override bool CanSeek => true;
    public override bool CanWrite => false;
    public override long Length => bytes;
    public override long Position { get; set; }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (Position >= bytes || buffer.Length == 0) return 0;
        var (wanted, offset) = Math.DivRem(Position, ContentStore.ChunkBytes);
        if (wanted != number)
        {
            chunk = await store.ReadChunkAsync(content, (int)wanted, cancellationToken) ?? throw new IOException($"chunk {wanted} of content {content} is not there");
            number = wanted;
        }
        var count = (int)Math.Min(buffer.Length, chunk.Length - offset);
        if (count <= 0) throw new IOException($"chunk {wanted} of content {content} is too short");
        chunk.AsMemory((int)offset, count).CopyTo(buffer);
        Position += count;
        return count;
    }

    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) => ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override long Seek(long offset, SeekOrigin origin) => Position = origin switch { SeekOrigin.Begin => offset, SeekOrigin.Current => Position + offset, _ => bytes + offset };

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException("It is read asynchronously.");

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override void Flush()
    {
    }
}
