using System.Security.Cryptography;
using Contracts;
using Npgsql;
using NpgsqlTypes;

namespace Api.Images;

/// <summary>Why bytes that came are not those that were told.</summary>
public enum ContentProblem { None, SizeDiffers, DigestDiffers, DiskRefused, TooSlow }

/// <summary>What became of bytes that came. <c>Content</c>: theirs, not yet complete (<see cref="ImageFiles"/>); null: there is a problem, or they were only looked at. <c>Detail</c>: for people.</summary>
public sealed record ContentWritten(Guid? Content, ContentProblem Problem, string? Detail);

/// <summary>The bytes of images' files, in PostgreSQL, where every replica has them.
/// Guarantees: they are written as they arrive, a chunk in a statement of its own, so a file costs a megabyte of memory, whatever its size, and a sender that is slow holds no connection of the database;
/// a chunk that takes longer than <see cref="ChunkPatience"/> ends it. Each writer writes content of its own, so two writers of one file never mix; which of them stays is settled by <see cref="ImageFiles"/>.
/// On a crash what was begun is left, and removed by <see cref="ImageSweep"/>. What is complete never changes.</summary>
public sealed class ContentStore(NpgsqlDataSource source, ImageSettings settings, TimeProvider time)
{
    public const int ChunkBytes = 1 << 20;
    public static readonly TimeSpan ChunkPatience = TimeSpan.FromMinutes(1);

    /// <summary>Beyond what a file takes at <see cref="LeastBytesPerSecond"/>: whoever sends slower holds one of few places for others.</summary>
    private static readonly TimeSpan Grace = TimeSpan.FromMinutes(10);
    private const long LeastBytesPerSecond = 1 << 20;
    /// <summary>A statement that removed gigabytes would take longer than any may.</summary>
    private const int RemovedAtOnce = 64;

    private const string DeleteChunks = """
        DELETE FROM image_chunks WHERE content_id = $1 AND number IN (SELECT number FROM image_chunks WHERE content_id = $1 ORDER BY number LIMIT $2)
          AND EXISTS (SELECT FROM image_contents WHERE id = $1 AND NOT complete)
        """;

    private const string InsertChunk = """
        WITH alive AS (UPDATE image_contents SET touched_at = $4 WHERE id = $1 AND NOT complete RETURNING id)
        INSERT INTO image_chunks (content_id, number, data) SELECT id, $2, $3 FROM alive
        """;

    /// <summary>Writes what comes, or, with <paramref name="keeps"/> false, only looks whether it is the file. What the stream throws is the caller's.</summary>
    public async Task<ContentWritten> WriteAsync(Stream bytes, RegisteredFile file, DiskFormat? format, bool keeps, CancellationToken ct)
    {
        Guid? content = keeps ? await BeginAsync(file, ct) : null;
        var written = false;
        try
        {
            var (problem, detail) = await CopyAsync(bytes, file, format, content, ct);
            written = problem == ContentProblem.None;
            return new(written ? content : null, problem, detail);
        }
        finally
        {
            if (!written && content is { } begun) await DropAsync(begun);
        }
    }

    private async Task<(ContentProblem Problem, string? Detail)> CopyAsync(Stream bytes, RegisteredFile file, DiskFormat? format, Guid? content, CancellationToken ct)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var chunk = new byte[ChunkBytes];
        var (read, number, began, most) = (0L, 0, time.GetTimestamp(), Grace + TimeSpan.FromSeconds(file.Bytes / LeastBytesPerSecond));
        while (true)
        {
            var (count, inTime) = await ReadAsync(bytes, chunk, ct);
            if (!inTime || time.GetElapsedTime(began) > most) return (ContentProblem.TooSlow, $"{read} of {file.Bytes} bytes came.");
            if (number == 0 && file.Role == ImageFileRole.Disk && format is { } disk && DiskHeader.Problem(disk, chunk.AsSpan(0, Math.Min(count, DiskHeader.Bytes)), (ulong)settings.MaxDiskBytes) is { } wrong)
                return (ContentProblem.DiskRefused, $"It {wrong}.");
            read += count;
            if (read > file.Bytes) return (ContentProblem.SizeDiffers, $"It has more than {file.Bytes} bytes.");
            hash.AppendData(chunk, 0, count);
            if (count > 0 && content is { } to) await WriteChunkAsync(to, number, chunk.AsMemory(0, count), ct);
            number++;
            if (count < chunk.Length) break;
        }
        if (read != file.Bytes) return (ContentProblem.SizeDiffers, $"It has {read} bytes instead of {file.Bytes}.");
        var sha256 = Convert.ToHexStringLower(hash.GetHashAndReset());
        return sha256 == file.Sha256 ? (ContentProblem.None, null) : (ContentProblem.DigestDiffers, $"It is {sha256} instead of {file.Sha256}.");
    }

    /// <summary>A whole chunk, or what is left.</summary>
    private async Task<(int Count, bool InTime)> ReadAsync(Stream bytes, byte[] chunk, CancellationToken ct)
    {
        using var patience = new CancellationTokenSource(ChunkPatience, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(patience.Token, ct);
        try
        {
            return (await bytes.ReadAtLeastAsync(chunk, chunk.Length, throwOnEndOfStream: false, either.Token), true);
        }
        catch (OperationCanceledException) when (patience.IsCancellationRequested && !ct.IsCancellationRequested)
        {
            return (0, false);
        }
    }

    private async Task<Guid> BeginAsync(RegisteredFile file, CancellationToken ct)
    {
        var (id, now) = (Guid.CreateVersion7(time.GetUtcNow()), time.GetUtcNow().UtcDateTime);
        await using var command = source.CreateCommand("INSERT INTO image_contents (id, sha256, bytes, complete, touched_at) VALUES ($1, $2, $3, false, $4)");
        command.Parameters.Add(new() { Value = id });
        command.Parameters.Add(new() { Value = file.Sha256 });
        command.Parameters.Add(new() { Value = file.Bytes });
        command.Parameters.Add(new() { Value = now, NpgsqlDbType = NpgsqlDbType.TimestampTz });
        await command.ExecuteNonQueryAsync(ct);
        return id;
    }

    private async Task WriteChunkAsync(Guid content, int number, ReadOnlyMemory<byte> data, CancellationToken ct)
    {
        await using var command = source.CreateCommand(InsertChunk);
        command.Parameters.Add(new() { Value = content });
        command.Parameters.Add(new() { Value = number });
        command.Parameters.Add(new() { Value = data, NpgsqlDbType = NpgsqlDbType.Bytea });
        command.Parameters.Add(new() { Value = time.GetUtcNow().UtcDateTime, NpgsqlDbType = NpgsqlDbType.TimestampTz });
        if (await command.ExecuteNonQueryAsync(ct) != 1) throw new InvalidOperationException($"content {content} was removed while it was written");
    }

    /// <summary>Of what nobody will complete. Where the database does not answer, the sweep does it.</summary>
    public async Task DropAsync(Guid content)
    {
        try
        {
            await RemoveAsync(content, CancellationToken.None);
        }
        catch (NpgsqlException)
        {
            // It is swept once it has not been touched for long.
        }
    }

    /// <summary>Content that is not complete, chunk by chunk; what was removed stays so if it does not come to its end.</summary>
    public async Task RemoveAsync(Guid content, CancellationToken ct)
    {
        while (true)
        {
            await using var chunks = source.CreateCommand(DeleteChunks);
            chunks.Parameters.Add(new() { Value = content });
            chunks.Parameters.Add(new() { Value = RemovedAtOnce });
            if (await chunks.ExecuteNonQueryAsync(ct) == 0) break;
        }
        await using var command = source.CreateCommand("DELETE FROM image_contents WHERE id = $1 AND NOT complete");
        command.Parameters.Add(new() { Value = content });
        await command.ExecuteNonQueryAsync(ct);
    }

    /// <summary>Null: there is no such chunk.</summary>
    internal async Task<byte[]?> ReadChunkAsync(Guid content, int number, CancellationToken ct)
    {
        await using var command = source.CreateCommand("SELECT data FROM image_chunks WHERE content_id = $1 AND number = $2");
        command.Parameters.Add(new() { Value = content });
        command.Parameters.Add(new() { Value = number });
        return (byte[]?)await command.ExecuteScalarAsync(ct);
    }
}
