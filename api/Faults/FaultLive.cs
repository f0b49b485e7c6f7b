using System.Collections.Concurrent;
using System.Threading.Channels;
using Contracts;

namespace Api.Faults;

/// <summary>Samples to those who watch a sandbox now. A watcher that does not keep up loses the oldest; the history has them.</summary>
public sealed class FaultLive
{
    private const int PerWatcher = 32;
    private readonly Lock gate = new();
    private readonly ConcurrentDictionary<Guid, ConcurrentDictionary<Channel<FaultSample>, bool>> watchers = new();

    public void Publish(in EncodedSample sample)
    {
        if (!watchers.TryGetValue(sample.SandboxId, out var of)) return;
        var decoded = sample.Decode();
        foreach (var channel in of.Keys) channel.Writer.TryWrite(decoded);
    }

    public async IAsyncEnumerable<FaultSample> WatchAsync(Guid sandboxId, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken ct)
    {
        var channel = Channel.CreateBounded<FaultSample>(new BoundedChannelOptions(PerWatcher) { FullMode = BoundedChannelFullMode.DropOldest });
        lock (gate) watchers.GetOrAdd(sandboxId, _ => new())[channel] = true;
        try
        {
            await foreach (var sample in channel.Reader.ReadAllAsync(ct)) yield return sample;
        }
        finally
        {
            lock (gate)
                if (watchers.TryGetValue(sandboxId, out var of) && of.TryRemove(channel, out _) && of.IsEmpty) watchers.TryRemove(sandboxId, out _);
        }
    }
}
