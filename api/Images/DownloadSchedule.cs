namespace Api.Images;

/// <summary>When a download that failed in a way that may pass is tried again. Pure: what is random is given.</summary>
public static class DownloadSchedule
{
    private static readonly TimeSpan[] Pauses =
        [TimeSpan.FromSeconds(2), TimeSpan.FromSeconds(10), TimeSpan.FromSeconds(30), TimeSpan.FromMinutes(2), TimeSpan.FromMinutes(5), TimeSpan.FromMinutes(10), TimeSpan.FromMinutes(15)];

    /// <summary>The first and each retry.</summary>
    public static readonly int MaxAttempts = Pauses.Length + 1;
    public static readonly TimeSpan MaxRetryAfter = TimeSpan.FromHours(1);
    private const double Jitter = 0.1;

    /// <summary>How long after that many attempts, or null: it is given up. Never before the pause and at most a tenth after it, but as late as the server asked for (an hour at most).
    /// <c>random</c>: 0 to 1.</summary>
    public static TimeSpan? After(int attempts, double random, TimeSpan? retryAfter)
    {
        if (attempts < 1) throw new ArgumentOutOfRangeException(nameof(attempts), attempts, "counts from 1");
        if (attempts >= MaxAttempts) return null;
        var pause = Pauses[attempts - 1] * (1 + Jitter * random);
        return retryAfter is { } asked && asked > pause ? (asked < MaxRetryAfter ? asked : MaxRetryAfter) : pause;
    }
}
