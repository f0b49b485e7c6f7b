using System.Collections.Concurrent;
using Api.Sandboxes;
using Api.Webhooks;
using Npgsql;

namespace Api.Events;

/// <summary>Wakes everybody who waits for something to have changed in a project, on any replica: the database notifies on each committed event, and names its project.
/// Guarantees: after a change, or whenever changes may have been missed (the connection broke), every waiter is woken; a waiter then reads the database.
/// On a crash of either side nothing is lost: waiters time out and read.</summary>
public sealed class EventSignal(NpgsqlDataSource source, TimeProvider time, IServiceProvider services, ILogger<EventSignal> log) : BackgroundService
{
    public const string Channel = "sandbox_events";
    private readonly ConcurrentDictionary<Guid, TaskCompletionSource> changed = new();

    /// <summary>Take this before reading the database, then await it: no change between the two is missed.</summary>
    public Task Next(Guid project) => changed.GetOrAdd(project, _ => new(TaskCreationOptions.RunContinuationsAsynchronously)).Task;

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

    private void Pulse(Guid project)
    {
        if (changed.TryRemove(project, out var waiters)) waiters.TrySetResult();
        WakeReconcilers();
    }

    private void PulseAll()
    {
        foreach (var project in changed.Keys)
            if (changed.TryRemove(project, out var waiters)) waiters.TrySetResult();
        WakeReconcilers();
    }

    private void WakeReconcilers()
    {
        services.GetRequiredService<SandboxScheduler>().Wake();
        services.GetRequiredService<WebhookFanout>().Wake();
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        while (!stoppingToken.IsCancellationRequested)
        {
            try
            {
                await using var connection = await source.OpenConnectionAsync(stoppingToken);
                connection.Notification += (_, told) =>
                {
                    if (Guid.TryParse(told.Payload, out var project)) Pulse(project);
                    else PulseAll();
                };
                await using (var listen = new NpgsqlCommand($"LISTEN {Channel}", connection)) await listen.ExecuteNonQueryAsync(stoppingToken);
                PulseAll();
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
}
