using System.Collections.Concurrent;
using Contracts;

namespace Api.Faults;

/// <summary>The newest sample of each sandbox that a node of this replica sent. Shown while it is fresh: what is older would look like a count that stands still.</summary>
public sealed class FaultLatest(TimeProvider time)
{
    public static readonly TimeSpan Fresh = TimeSpan.FromSeconds(10), Remembered = TimeSpan.FromMinutes(2);
    private readonly ConcurrentDictionary<Guid, (EncodedSample Sample, long At)> latest = new();

    /// <summary>False: it is the one that was set last. A node that got no answer tells its last batch again.</summary>
    public bool TrySet(in EncodedSample sample)
    {
        if (latest.TryGetValue(sample.SandboxId, out var known) && known.Sample.Incarnation == sample.Incarnation)
        {
            if (known.Sample.At == sample.At) return false;
            // A late one tells nothing of now, unless the node's clock was set back.
            if (known.Sample.At > sample.At && IsYoungerThan(Fresh, known.At)) return true;
        }
        latest[sample.SandboxId] = (sample, time.GetTimestamp());
        return true;
    }

    public FaultSample? Of(Guid sandbox) => latest.TryGetValue(sandbox, out var known) && IsYoungerThan(Fresh, known.At) ? known.Sample.Decode() : null;

    public void Forget()
    {
        foreach (var old in latest)
            if (!IsYoungerThan(Remembered, old.Value.At)) latest.TryRemove(old);
    }

    private bool IsYoungerThan(TimeSpan age, long at) => time.GetElapsedTime(at) < age;
}
