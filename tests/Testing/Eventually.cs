using System.Data.Common;
using System.Diagnostics;
using Xunit;

namespace Testing;

/// <summary>Waits for what another thread, process or machine is about to bring about: polls a condition up to a deadline,
/// and says on failure what was waited for. A refused connection counts as "not yet".</summary>
public static class Eventually
{
    public static readonly TimeSpan DefaultDeadline = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan _pause = TimeSpan.FromMilliseconds(20);

    public static Task Async(Func<bool> condition, string description, TimeSpan? deadline = null) =>
        Async(() => Task.FromResult(condition()), description, deadline);

    public static Task Async(Func<Task<bool>> condition, string description, TimeSpan? deadline = null) =>
        GetAsync<object>(async () => await condition().ConfigureAwait(false) ? condition : null, description, deadline);

    /// <summary>The first value that is not null.</summary>
    public static async Task<T> GetAsync<T>(Func<Task<T?>> read, string description, TimeSpan? deadline = null) where T : class
    {
        var limit = deadline ?? DefaultDeadline;
        var elapsed = Stopwatch.StartNew();
        using var timer = new PeriodicTimer(_pause);
        Exception? last;
        do
        {
            try
            {
                if (await read().ConfigureAwait(false) is { } value)
                    return value;
                last = null;
            }
            catch (HttpRequestException error)
            {
                last = error;
            }
            catch (IOException error)
            {
                last = error;
            }
            catch (DbException error)
            {
                last = error;
            }
            await timer.WaitForNextTickAsync(TestContext.Current.CancellationToken).ConfigureAwait(false);
        }
        while (elapsed.Elapsed < limit);
        throw new TimeoutException($"within {limit.TotalSeconds} s it did not happen that {description}", last);
    }
}
