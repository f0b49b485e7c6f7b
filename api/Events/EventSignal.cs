using Api.Sandboxes;
using Npgsql;

namespace Api.Events;

/// <summary>Wakes everybody who waits for something to have changed, on any replica: the database notifies on each committed event.
/// Guarantees: after a change, or whenever changes may have been missed (the connection broke), every waiter is woken; a waiter then reads the database.
/// On a crash of either side nothing is lost: waiters time out and read.</summary>
public sealed class EventSignal(NpgsqlDataSource source, TimeProvider time, IServiceProvider services, ILogger<EventSignal> log) : BackgroundService
{
    public const string Channel = "sandbox_events";
    private volatile TaskCompletionSource changed = New();

    /// <summary>Take this before reading the database, then await it: no change between the two is missed.</summary>
    public Task Next => changed.Task;

    /// <summary>Waits for a change after <paramref name="next"/> was taken, at most that long.</summary>
    public async Task WaitAsync(Task next, TimeSpan most, CancellationToken ct)
    {
        try
        {
            await next.WaitAsync(most, time, ct);
        }
        catch (TimeoutException)
        {
            // The caller reads again all the same.
        }
    }

    public void Pulse()
    {
        Interlocked.Exchange(ref changed, New()).TrySetResult();
        services.GetRequiredService<SandboxScheduler>().Wake();
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        while (!stoppingToken.IsCancellationRequested)
        {
            try
            {
                await using var connection = await source.OpenConnectionAsync(stoppingToken);
                connection.Notification += (_, _) => Pulse();
                await using (var listen = new NpgsqlCommand($"LISTEN {Channel}", connection)) await listen.ExecuteNonQueryAsync(stoppingToken);
                Pulse();
                while (true) await connection.WaitAsync(stoppingToken);
            }
            catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
            {
                return;
            }
            catch (NpgsqlException e)
            {
                log.LogWarning("Not listening to the database ({Message}); trying again", e.Message);
                await Task.Delay(TimeSpan.FromMilliseconds(500), time, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }

    private static TaskCompletionSource New() => new(TaskCreationOptions.RunContinuationsAsynchronously);
}
