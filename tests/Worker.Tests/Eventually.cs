using System.Diagnostics;

namespace Worker.Tests;

/// <summary>Waits for what another thread or process is about to bring about, up to a deadline.</summary>
internal static class Eventually
{
    public static Task TrueAsync(Func<bool> condition, string what, int seconds = 10) =>
        GetAsync(() => condition() ? "" : null, what, seconds);

    public static async Task<T> GetAsync<T>(Func<T?> read, string what, int seconds = 10) where T : class
    {
        var watch = Stopwatch.StartNew();
        using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(10));
        do
        {
            if (read() is { } value)
                return value;
            await timer.WaitForNextTickAsync(Xunit.TestContext.Current.CancellationToken);
        }
        while (watch.Elapsed < TimeSpan.FromSeconds(seconds));
        throw new TimeoutException($"within {seconds} s it did not happen that {what}");
    }
}
