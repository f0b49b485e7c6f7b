using System.Collections.Concurrent;
using Contracts;

namespace Api.Faults;

/// <summary>What became of a sample. <c>Known</c>: it has been taken before. <c>TooMany</c>: its sandbox has told more than any that tells once a second.</summary>
public enum SampleTaken { Taken, Known, TooMany }

/// <summary>The newest samples of each sandbox that a node of this replica sent: the last of them is shown while it is fresh, for what is older would look like a count that stands still.
/// Guarantees: a sample that is told again (its node got no answer) is known as such, as far back as a node keeps them; a sandbox has room for what a node keeps, and then for
/// <see cref="MostPerSecond"/> a second. On a crash a batch that is told again is stored twice, which no rate sees.</summary>
public sealed class FaultLatest(TimeProvider time)
{
    public static readonly TimeSpan Fresh = TimeSpan.FromSeconds(10), Remembered = TimeSpan.FromMinutes(2);
    /// <summary>A node keeps two minutes of samples, one a second.</summary>
    public const int Burst = 300, MostPerSecond = 4;
    private const int KnownTimes = 128;
    private readonly ConcurrentDictionary<Guid, Entry> latest = new();

    private sealed class Entry
    {
        public EncodedSample Sample;
        /// <summary>When the sample was set, and until when its places were counted; of the monotonic clock.</summary>
        public long SetAt, CountedAt;
        public double Places = Burst;
        public readonly long[] Times = new long[KnownTimes];
        public int Next;
        public bool IsForgotten;
    }

    public SampleTaken TrySet(in EncodedSample sample)
    {
        while (true)
        {
            var entry = latest.GetOrAdd(sample.SandboxId, static (_, now) => new Entry { SetAt = now, CountedAt = now, Sample = new(Guid.Empty, -1, default, default) }, time.GetTimestamp());
            lock (entry)
            {
                if (!entry.IsForgotten) return Set(entry, sample);
            }
        }
    }

    private SampleTaken Set(Entry entry, in EncodedSample sample)
    {
        // Incarnations have their own times, so that one is known by both.
        var at = (sample.At.UtcTicks * 31) ^ sample.Incarnation;
        if (Array.IndexOf(entry.Times, at) >= 0) return SampleTaken.Known;
        var now = time.GetTimestamp();
        entry.Places = Math.Min(Burst, entry.Places + (time.GetElapsedTime(entry.CountedAt, now).TotalSeconds * MostPerSecond));
        entry.CountedAt = now;
        if (entry.Places < 1) return SampleTaken.TooMany;
        entry.Places--;
        entry.Times[entry.Next] = at;
        entry.Next = (entry.Next + 1) % KnownTimes;
        // A late one tells nothing of now, unless the node's clock was set back.
        if (entry.Sample.Incarnation == sample.Incarnation && entry.Sample.At > sample.At && IsYoungerThan(Fresh, entry.SetAt)) return SampleTaken.Taken;
        (entry.Sample, entry.SetAt) = (sample, now);
        return SampleTaken.Taken;
    }

    public FaultSample? Of(Guid sandbox)
    {
        if (!latest.TryGetValue(sandbox, out var entry)) return null;
        lock (entry)
        {
            return entry.Sample.Incarnation >= 0 && IsYoungerThan(Fresh, entry.SetAt) ? entry.Sample.Decode() : null;
        }
    }

    public void Forget()
    {
        foreach (var (id, entry) in latest)
            lock (entry)
            {
                if (IsYoungerThan(Remembered, entry.SetAt)) continue;
                entry.IsForgotten = true;
                latest.TryRemove(id, out _);
            }
    }

    private bool IsYoungerThan(TimeSpan age, long at) => time.GetElapsedTime(at) < age;
}
