namespace Api.Webhooks;

/// <summary>When a failed delivery is tried again. Pure: what is random is given.</summary>
public static class RetrySchedule
{
    private static readonly TimeSpan[] Steps =
    [
        TimeSpan.FromSeconds(5), TimeSpan.FromMinutes(5), TimeSpan.FromMinutes(30), TimeSpan.FromHours(2), TimeSpan.FromHours(5),
        TimeSpan.FromHours(10), TimeSpan.FromHours(14), TimeSpan.FromHours(20), TimeSpan.FromHours(24),
    ];

    /// <summary>The first and each retry.</summary>
    public static readonly int MaxAttempts = Steps.Length + 1;
    public static readonly TimeSpan MaxRetryAfter = TimeSpan.FromHours(24);
    private const double Jitter = 0.1;

    /// <summary>How long after that many attempts, or null: it is given up. Never before the step and never more than a tenth after it, but as late as the receiver asked for (a day at most).
    /// <c>random</c>: 0 to 1.</summary>
    public static TimeSpan? After(int attempts, double random, TimeSpan? retryAfter)
    {
        if (attempts < 1) throw new ArgumentOutOfRangeException(nameof(attempts), attempts, "counts from 1");
        if (attempts >= MaxAttempts) return null;
        var step = Steps[attempts - 1] * (1 + Jitter * random);
        return retryAfter is { } asked && asked > step ? (asked < MaxRetryAfter ? asked : MaxRetryAfter) : step;
    }
}
