using Contracts;

namespace Api.Webhooks;

/// <summary>What becomes of a delivery and of its endpoint after an attempt. Pure.</summary>
public static class DeliveryJudgement
{
    /// <summary>What an endpoint that is overloaded gets when it does not say how long it needs, and the most that it may ask for all its deliveries.</summary>
    public static readonly TimeSpan Breather = TimeSpan.FromSeconds(5), MaxPause = TimeSpan.FromHours(1);
    public static readonly TimeSpan MaxFailing = TimeSpan.FromDays(5);

    /// <summary><c>Pause</c>: nothing is sent to the endpoint for so long; <c>Slow</c>: it gets fewer at once from now on; <c>Disable</c>: why it gets nothing any more.</summary>
    public sealed record Next(DeliveryState State, TimeSpan? After, TimeSpan? Pause, bool Slow, string? Disable);

    /// <summary><c>attempts</c>: with this one.</summary>
    public static Next Of(Attempt attempt, int attempts, double random)
    {
        if (attempt.Succeeded) return new(DeliveryState.Succeeded, null, null, false, null);
        var after = RetrySchedule.After(attempts, random, attempt.RetryAfter);
        // It waits with the others: whoever enables the endpoint again has lost nothing.
        if (attempt.Status == 410) return new(after is null ? DeliveryState.Failed : DeliveryState.Pending, after, null, false, WebhookReasons.Gone);
        var overloaded = attempt.Status is 429 or 502 or 504;
        TimeSpan? pause = overloaded || attempt is { Status: 503, RetryAfter: not null } ? Least(attempt.RetryAfter ?? Breather, MaxPause) : null;
        return new(after is null ? DeliveryState.Failed : DeliveryState.Pending, after, pause, overloaded || attempt.Reason == WebhookReasons.Timeout, null);
    }

    public static bool FailsTooLong(DateTimeOffset? failingSince, DateTimeOffset now) => failingSince is { } since && now - since >= MaxFailing;

    private static TimeSpan Least(TimeSpan a, TimeSpan b) => a < b ? a : b;
}
