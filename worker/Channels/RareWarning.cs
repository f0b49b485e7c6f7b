using Microsoft.Extensions.Logging;

namespace Worker.Channels;

/// <summary>Counts what an untrusted peer gets wrong, and warns at once but then at most every ten seconds, with the count so far. For one reader at a time.</summary>
/// <param name="time">For the pause.</param>
/// <param name="log">Where it warns.</param>
/// <param name="source">Of what it warns.</param>
/// <param name="from">In whose name each counts for the worker's metrics (RefusedInput); null: in nobody's.</param>
internal sealed class RareWarning(TimeProvider time, ILogger log, string source, UntrustedPeer? from = null)
{
    private static readonly TimeSpan Period = TimeSpan.FromSeconds(10);
    private long? _warnedAt;

    public long Count { get; private set; }

    public void Add(string problem)
    {
        Count++;
        if (from is { } peer)
            RefusedInput.Add(peer);
        if (_warnedAt is { } last && time.GetElapsedTime(last) < Period)
            return;
        _warnedAt = time.GetTimestamp();
        log.LogWarning("{Source}: {Problem} ({Count} problems so far)", source, problem, Count);
    }
}
