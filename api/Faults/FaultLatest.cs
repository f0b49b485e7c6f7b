using System.Collections.Concurrent;
using Contracts;

namespace Api.Faults;

/// <summary>The last sample of each sandbox that a node of this replica sent, while it is fresh. What is older is not shown: it would look like a count that stands still.</summary>
public sealed class FaultLatest(TimeProvider time)
{
    public static readonly TimeSpan Fresh = TimeSpan.FromSeconds(10);
    private readonly ConcurrentDictionary<Guid, (FaultSample Sample, long At)> latest = new();

    public void Set(FaultSample sample) => latest[sample.SandboxId] = (sample, time.GetTimestamp());

    public IReadOnlyDictionary<Guid, FaultSample> Read() => latest.Where(l => IsFresh(l.Value.At)).ToDictionary(l => l.Key, l => l.Value.Sample);

    public void Forget()
    {
        foreach (var old in latest.Where(l => !IsFresh(l.Value.At))) latest.TryRemove(old);
    }

    private bool IsFresh(long at) => time.GetElapsedTime(at) < Fresh;
}
