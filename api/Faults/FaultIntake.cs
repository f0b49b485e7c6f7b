using System.Collections.Concurrent;
using System.Threading.Channels;
using Api.Sandboxes;
using Contracts;

namespace Api.Faults;

/// <summary>A sandbox of a node's plan. <c>Nearest</c>: the origin nearest to hardware that readings of it can have: a machine that is emulated has no real counter.
/// <c>CountsIdleness</c>: its lease ends when it is idle, so that its workload is looked at.</summary>
public readonly record struct OwnedSandbox(Guid Id, int Incarnation, Origin Nearest, bool CountsIdleness = false);

/// <summary>Where samples of workers enter: checked, handed to those who watch live, and queued for storage.
/// Guarantees: a node's samples are taken only for sandboxes of its own plan, none of a start that has not been, none that claims to be nearer to hardware than its machine, and no more
/// than its sandboxes can have (FaultLatest); the queue is bounded, and a batch that does not fit is turned back whole, for its node to tell
/// it again; a batch that a node tells again because it got no answer is stored once.
/// On a crash what is queued is lost, as a rule at most a second; counters are cumulative, so rates stay true.</summary>
public sealed class FaultIntake(FaultLive live, FaultLatest latest, SandboxActivity activity, TimeProvider time, ILogger<FaultIntake> log)
{
    public const int QueueSamples = 50_000, QueueBytes = 128 << 20;
    /// <summary>How far a node's clock may be off: inside the day partitions that always exist.</summary>
    public static readonly TimeSpan MaxClockSkew = TimeSpan.FromHours(12);
    private static readonly TimeSpan WarningPeriod = TimeSpan.FromSeconds(5);
    private readonly ConcurrentDictionary<Guid, Dictionary<Guid, OwnedSandbox>> owned = new();
    private readonly Channel<EncodedSample> queue = Channel.CreateUnbounded<EncodedSample>();
    /// <summary>Of the queue: those in it, and those of batches that are being taken in.</summary>
    private int places;
    private long bytes;
    private long accepted, refused, turnedBack, warnedAt;
    private volatile bool isClosed;

    public long Accepted => Interlocked.Read(ref accepted);
    public long Refused => Interlocked.Read(ref refused);
    public long TurnedBack => Interlocked.Read(ref turnedBack);

    public void Know(Guid nodeId, IEnumerable<OwnedSandbox> sandboxes) => owned[nodeId] = sandboxes.ToDictionary(s => s.Id);

    public bool Owns(Guid nodeId, Guid sandboxId) => owned.TryGetValue(nodeId, out var ids) && ids.ContainsKey(sandboxId);

    public bool TryTake(out EncodedSample sample)
    {
        if (!queue.Reader.TryRead(out sample)) return false;
        Interlocked.Decrement(ref places);
        Interlocked.Add(ref bytes, -sample.Readings.Length);
        return true;
    }

    /// <summary>Nothing more is stored: nodes keep what they have for the next API.</summary>
    public void Close() => isClosed = true;

    /// <summary>False: the queue has no room for it now, or is closed. What is refused for ever counts as taken in: to tell it again would not help.</summary>
    public bool TryAccept(Guid nodeId, ReadOnlyMemory<byte> batch)
    {
        var samples = new List<EncodedSample>();
        if (!FaultSamplesEncoding.TryRead(batch, samples, out var malformed))
        {
            Interlocked.Increment(ref refused);
            if (MayWarn()) log.LogWarning("Node {NodeId} sent {Bytes} bytes that are no batch of samples ({Refused} refused so far)", nodeId, batch.Length, Refused);
            return true;
        }
        var size = samples.Sum(sample => (long)sample.Readings.Length);
        if ((Interlocked.Add(ref places, samples.Count) > QueueSamples) | (Interlocked.Add(ref bytes, size) > QueueBytes) | isClosed)
        {
            Interlocked.Add(ref bytes, -size);
            Interlocked.Add(ref places, -samples.Count);
            Interlocked.Add(ref turnedBack, samples.Count);
            return false;
        }
        Take(nodeId, samples, size, malformed);
        return true;
    }

    /// <summary>What a worker sends is not the log's to grow with.</summary>
    private bool MayWarn()
    {
        var (now, before) = (time.GetTimestamp(), Interlocked.Read(ref warnedAt));
        return (before == 0 || time.GetElapsedTime(before, now) > WarningPeriod) && Interlocked.CompareExchange(ref warnedAt, now, before) == before;
    }

    private void Take(Guid nodeId, List<EncodedSample> samples, long size, int malformed)
    {
        var now = time.GetUtcNow();
        var (own, wrong, taken, takenBytes) = (owned.GetValueOrDefault(nodeId), malformed, 0, 0L);
        foreach (var sample in samples)
        {
            if (own is null || !own.TryGetValue(sample.SandboxId, out var sandbox) || sample.Incarnation > sandbox.Incarnation || sample.Nearest < sandbox.Nearest
                || (sample.At - now).Duration() > MaxClockSkew)
            {
                wrong++;
                continue;
            }
            // Its part of the batch, or a small sample would keep two mebibytes for as long as it is remembered.
            var kept = sample with { Readings = sample.Readings.ToArray() };
            var became = latest.TrySet(kept);
            if (became == SampleTaken.TooMany) wrong++;
            if (became != SampleTaken.Taken) continue;
            taken++;
            takenBytes += kept.Readings.Length;
            live.Publish(kept);
            if (sandbox.CountsIdleness) activity.Sampled(kept);
            queue.Writer.TryWrite(kept);
        }
        Interlocked.Add(ref places, taken - samples.Count);
        Interlocked.Add(ref bytes, takenBytes - size);
        Interlocked.Add(ref accepted, taken);
        Interlocked.Add(ref refused, wrong);
        if (wrong > 0 && MayWarn()) log.LogWarning("Node {NodeId} sent {Count} samples that are not of its own sandboxes as it has them, not well formed, or too many ({Refused} refused so far)", nodeId, wrong, Refused);
    }
}
