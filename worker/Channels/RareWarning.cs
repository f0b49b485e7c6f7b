using Microsoft.Extensions.Logging;

namespace Worker.Channels;

/// <summary>Counts what an untrusted peer gets wrong, and warns at once but then at most every ten seconds, with the count so far. For one reader at a time.</summary>
internal sealed class RareWarning(TimeProvider time, ILogger log, string source)
{
    private static readonly TimeSpan Period = TimeSpan.FromSeconds(10);
    private long? _warnedAt;

    public long Count { get; private set; }

    public void Add(string problem)
    {
        Count++;
        if (_warnedAt is { } last && time.GetElapsedTime(last) < Period)
            return;
        _warnedAt = time.GetTimestamp();
        log.LogWarning("{Source}: {Problem} ({Count} problems so far)", source, problem, Count);
    }
}
