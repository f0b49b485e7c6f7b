using Worker.Channels;

namespace Worker.Console;

// Keys for one console, in the order of their calls. What waits while the other end does not read becomes one write, so that a fast typist
// loses nothing below the bound, which is one of bytes. Guarantees: a writer may give up waiting; what has been begun of its keys is finished
// behind its back, or ends with the connection; what has not been begun is not sent.
internal sealed class KeyWrites(Stream stream)
{
    internal const int MaxWaitingBytes = 64 * 1024;
    private readonly Lock _lock = new();
    private readonly List<Waiting> _waiting = [];
    private int _bytes;
    private bool _writing;

    private sealed record Waiting(ReadOnlyMemory<byte> Keys, TaskCompletionSource<string?> Written, CancellationToken GivenUp);

    /// <summary>An IOException when the connection has ended or too many keys wait. The bytes must not be changed afterwards.</summary>
    public async Task WriteAsync(ReadOnlyMemory<byte> keys, CancellationToken ct)
    {
        if (keys.IsEmpty)
            return;
        var mine = new Waiting(keys, new TaskCompletionSource<string?>(TaskCreationOptions.RunContinuationsAsynchronously), ct);
        lock (_lock)
        {
            if (_bytes + keys.Length > MaxWaitingBytes)
                throw new IOException($"{_bytes} bytes of keys wait already: the other end does not read");
            _bytes += keys.Length;
            _waiting.Add(mine);
            if (!_writing)
            {
                _writing = true;
                _ = WriteAllAsync();
            }
        }
        if (await mine.Written.Task.WaitAsync(ct) is { } problem)
            throw new IOException(problem);
    }

    private async Task WriteAllAsync()
    {
        await Task.CompletedTask.ConfigureAwait(ConfigureAwaitOptions.ForceYielding);
        while (true)
        {
            List<Waiting> batch;
            lock (_lock)
            {
                batch = [.. _waiting];
                _waiting.Clear();
                if (batch.Count == 0)
                {
                    _writing = false;
                    return;
                }
            }
            var problem = await WholeWrites.WriteAsync(stream, (byte[])[.. batch.Where(one => !one.GivenUp.IsCancellationRequested).SelectMany(one => one.Keys.ToArray())]);
            lock (_lock)
                _bytes -= batch.Sum(one => one.Keys.Length);
            foreach (var one in batch)
                one.Written.TrySetResult(problem);
        }
    }
}
