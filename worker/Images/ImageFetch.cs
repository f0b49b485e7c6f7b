using System.Security.Cryptography;
using Contracts;

namespace Worker.Images;

/// <summary>Where files of images come from.</summary>
public interface IImageSource
{
    /// <summary>The bytes of the file from one of them on. Throws <see cref="IOException"/> or <see cref="HttpRequestException"/> when there are none.</summary>
    Task<Stream> OpenAsync(string sha256, long from, CancellationToken ct);
}

// One file into its part. Guarantees: what was there already is hashed again and gone on with; no more is written than the file has; on return the part has the file's size and digest and is on the disk,
// else it throws. A part that turned out wrong is removed, since going on with it would never help. A source that gives nothing for a while is left.
internal static class ImageFetch
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);
    private const int BufferBytes = 1 << 20;
    private const int LookEvery = 16;

    // stillWanted: A file that nobody waits for any more is not fetched to its end; its part is kept as long as there is room.
    public static async Task RunAsync(IImageSource source, PlannedImageFile file, string part, Action<long> progress, Func<bool> stillWanted, TimeProvider time, CancellationToken ct)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var options = new FileStreamOptions { Mode = FileMode.OpenOrCreate, Access = FileAccess.ReadWrite, BufferSize = 0, Options = FileOptions.Asynchronous, UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite };
        var whole = false;
        await using (var stream = new FileStream(part, options))
        {
            if (stream.Length > file.Bytes)
                stream.SetLength(0);
            var buffer = new byte[BufferBytes];
            var done = await HashAsync(stream, hash, buffer, ct);
            progress(done);
            if (done < file.Bytes)
            {
                await using var bytes = await WithinAsync(token => source.OpenAsync(file.Sha256, done, token), time, ct);
                for (var reads = 1; done < file.Bytes; reads++)
                {
                    if (reads % LookEvery == 0 && !stillWanted())
                        throw new IOException("no sandbox needs it any more");
                    var count = await WithinAsync(token => bytes.ReadAsync(buffer.AsMemory(0, (int)Math.Min(buffer.Length, file.Bytes - done)), token).AsTask(), time, ct);
                    if (count == 0)
                        throw new IOException($"it ended after {done} of {file.Bytes} bytes");
                    await stream.WriteAsync(buffer.AsMemory(0, count), ct);
                    hash.AppendData(buffer, 0, count);
                    progress(done += count);
                }
            }
            whole = Convert.ToHexStringLower(hash.GetHashAndReset()) == file.Sha256;
            if (whole)
                stream.Flush(flushToDisk: true);
        }
        if (whole)
            return;
        File.Delete(part);
        throw new IOException("what came has another SHA-256");
    }

    public static async Task<bool> IsWholeAsync(string path, PlannedImageFile file, CancellationToken ct)
    {
        if (new FileInfo(path) is not { Exists: true } there || there.Length != file.Bytes)
            return false;
        await using var stream = File.OpenRead(path);
        return Convert.ToHexStringLower(await SHA256.HashDataAsync(stream, ct)) == file.Sha256;
    }

    private static async Task<long> HashAsync(FileStream stream, IncrementalHash hash, byte[] buffer, CancellationToken ct)
    {
        var done = 0L;
        for (int count; (count = await stream.ReadAsync(buffer, ct)) > 0; done += count)
            hash.AppendData(buffer, 0, count);
        return done;
    }

    private static async Task<T> WithinAsync<T>(Func<CancellationToken, Task<T>> step, TimeProvider time, CancellationToken ct)
    {
        using var patience = new CancellationTokenSource(Patience, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(patience.Token, ct);
        try
        {
            return await step(either.Token);
        }
        catch (OperationCanceledException) when (patience.IsCancellationRequested && !ct.IsCancellationRequested)
        {
            throw new IOException($"nothing came for {Patience.TotalSeconds} s");
        }
    }
}
