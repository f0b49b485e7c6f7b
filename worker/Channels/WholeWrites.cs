namespace Worker.Channels;

// Several writers of one stream, in the order of their calls. Guarantees: what one of them writes is never torn by another, nor by its own
// cancellation: a writer may give up waiting, but what it has begun is finished behind its back, or ends with the connection;
// what it has not begun is not sent. The number of those that wait is bounded.
internal sealed class WholeWrites(Stream stream)
{
    private const int MaxWaiting = 16;
    private readonly Lock _lock = new();
    private Task<string?> _last = Task.FromResult<string?>(null);
    private int _waiting;

    /// <summary>An IOException when the connection has ended or too many writes wait. The bytes must not be changed afterwards.</summary>
    public async Task WriteAsync(ReadOnlyMemory<byte> bytes, CancellationToken ct)
    {
        Task<string?> mine;
        lock (_lock)
        {
            if (_waiting == MaxWaiting)
                throw new IOException($"{MaxWaiting} writes wait already: the other end does not read");
            _waiting++;
            _last = mine = FollowAsync(_last, bytes, ct);
        }
        if (await mine.WaitAsync(ct) is { } problem)
            throw new IOException(problem);
    }

    /// <summary>What went wrong, as a value: there may be nobody left to whom it could be thrown.</summary>
    internal static async Task<string?> WriteAsync(Stream stream, ReadOnlyMemory<byte> bytes)
    {
        try
        {
            await stream.WriteAsync(bytes, CancellationToken.None);
            return null;
        }
        catch (IOException failed)
        {
            return failed.Message;
        }
        catch (ObjectDisposedException)
        {
            return "the connection is closed";
        }
    }

    private async Task<string?> FollowAsync(Task before, ReadOnlyMemory<byte> bytes, CancellationToken ct)
    {
        try
        {
            await before.ConfigureAwait(ConfigureAwaitOptions.ForceYielding);
            return ct.IsCancellationRequested ? null : await WriteAsync(stream, bytes);
        }
        finally
        {
            lock (_lock)
                _waiting--;
        }
    }
}
