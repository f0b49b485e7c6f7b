using System.Collections.Concurrent;
using System.Threading.Channels;
using Contracts;

namespace Api.Faults;

/// <summary>Where samples of workers enter: checked, handed to those who watch live, and queued for storage.
/// Guarantees: a node's samples are taken only for sandboxes of its own plan; the queue is bounded, what does not fit is dropped and counted.
/// On a crash at most one batch (a second) of samples is lost; counters are cumulative, so rates stay true.</summary>
public sealed class FaultIntake(FaultLive live, FaultLatest latest, TimeProvider time, ILogger<FaultIntake> log)
{
    public const int QueueSamples = 50_000, MaxBatch = 4096, MaxReadings = 128, MaxSourceLength = 64;
    /// <summary>How far a node's clock may be off: inside the day partitions that always exist.</summary>
    public static readonly TimeSpan MaxClockSkew = TimeSpan.FromHours(12);
    private readonly ConcurrentDictionary<Guid, HashSet<Guid>> owned = new();
    private readonly Channel<FaultSample> queue = Channel.CreateBounded<FaultSample>(QueueSamples);
    private long accepted, refused, dropped;

    public ChannelReader<FaultSample> Queue => queue.Reader;
    public long Dropped => Interlocked.Read(ref dropped);
    public long Accepted => Interlocked.Read(ref accepted);
    public long Refused => Interlocked.Read(ref refused);

    public void Know(Guid nodeId, IEnumerable<Guid> sandboxes) => owned[nodeId] = [.. sandboxes];

    public bool Owns(Guid nodeId, Guid sandboxId) => owned.TryGetValue(nodeId, out var ids) && ids.Contains(sandboxId);

    public void Accept(Guid nodeId, FaultSample[] samples)
    {
        if (samples.Length > MaxBatch)
        {
            log.LogWarning("Node {NodeId} sent {Count} samples at once; at most {Max} are taken", nodeId, samples.Length, MaxBatch);
            Interlocked.Add(ref refused, samples.Length);
            return;
        }
        foreach (var sample in samples.OfType<FaultSample>())
        {
            if (!Owns(nodeId, sample.SandboxId) || !IsWellFormed(sample, time.GetUtcNow()))
            {
                log.LogWarning("Node {NodeId} sent a sample for sandbox {SandboxId} that is not its own or not well formed", nodeId, sample.SandboxId);
                Interlocked.Increment(ref refused);
                continue;
            }
            Interlocked.Increment(ref accepted);
            latest.Set(sample);
            live.Publish(sample);
            if (!queue.Writer.TryWrite(sample)) Interlocked.Increment(ref dropped);
        }
    }

    /// <summary>Exactly one of value and reason, no negative counters, bounded names of plain letters, a time that the store has room for.
    /// One bad sample must not spoil the batch of everybody else.</summary>
    public static bool IsWellFormed(FaultSample sample, DateTimeOffset now) =>
        (sample.At - now).Duration() <= MaxClockSkew
        && sample.Readings is { Count: <= MaxReadings }
        && sample.Readings.All(r => r is not null && IsName(r.Source) && r.Value is null != r.NullReason is null && r.Value is not < 0 && (r.Latency is null || (r.Value is not null && r.Latency.IsWellFormed))
            && (r.NullReason is null || IsName(r.NullReason)) && Enum.IsDefined(r.Origin));

    public static bool IsName(string? text) =>
        text is { Length: > 0 and <= MaxSourceLength } && text.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '_' or '-');
}
