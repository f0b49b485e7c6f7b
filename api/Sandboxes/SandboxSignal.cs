using Npgsql;

namespace Api.Sandboxes;

/// <summary>Wakes those who wait for one sandbox when that one has changed, on any replica: a trigger of its row notifies. Thousands may wait, each for its own, and an event costs those of one a query.
/// Guarantees: after a change that can be waited for, or whenever one may have been missed (the connection broke), its waiters are woken; a waiter then reads the database.
/// On a crash of either side nothing is lost: waiters time out and read.</summary>
public sealed class SandboxSignal(NpgsqlDataSource source, TimeProvider time, ILogger<SandboxSignal> log) : BackgroundService
{
    public const string Channel = "sandbox_changed";
    private readonly Lock gate = new();
    private readonly Dictionary<Guid, Waiters> waiting = [];

    private sealed class Waiters
    {
        public int Count;
        public TaskCompletionSource Changed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }

    /// <summary>Somebody waits for that sandbox, until disposed.</summary>
    public sealed class Watcher(SandboxSignal signal, Guid id) : IDisposable
    {
        /// <summary>Take this before reading the database, then await it: no change between the two is missed.</summary>
        public Task Next => signal.NextOf(id);

        public void Dispose() => signal.Leave(id);
    }

    /// <summary>How many sandboxes are waited for here.</summary>
    public int Watched
    {
        get { lock (gate) return waiting.Count; }
    }

    public Watcher Watch(Guid id)
    {
        lock (gate)
        {
            if (!waiting.TryGetValue(id, out var waiters)) waiting[id] = waiters = new Waiters();
            waiters.Count++;
        }
        return new Watcher(this, id);
    }

    /// <summary>Waits for a change after <paramref name="next"/> was taken, at most that long.</summary>
    public static async Task WaitAsync(Task next, TimeSpan most, TimeProvider time, CancellationToken ct)
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

    private Task NextOf(Guid id)
    {
        lock (gate) return waiting[id].Changed.Task;
    }

    private void Leave(Guid id)
    {
        lock (gate)
            if (--waiting[id].Count == 0) waiting.Remove(id);
    }

    private void Wake(Guid? only)
    {
        lock (gate)
            foreach (var waiters in only is { } id ? waiting.TryGetValue(id, out var one) ? [one] : [] : waiting.Values.ToList())
            {
                waiters.Changed.TrySetResult();
                waiters.Changed = new(TaskCreationOptions.RunContinuationsAsynchronously);
            }
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        while (!stoppingToken.IsCancellationRequested)
        {
            try
            {
                await using var connection = await source.OpenConnectionAsync(stoppingToken);
                connection.Notification += (_, told) => Wake(Guid.TryParse(told.Payload, out var id) ? id : null);
                await using (var listen = new NpgsqlCommand($"LISTEN {Channel}", connection)) await listen.ExecuteNonQueryAsync(stoppingToken);
                Wake(null);
                while (true) await connection.WaitAsync(stoppingToken);
            }
            catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
            {
                return;
            }
            catch (NpgsqlException e)
            {
                log.LogWarning("Not listening for sandboxes ({Message}); trying again", e.Message);
                await Task.Delay(TimeSpan.FromMilliseconds(500), time, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }
}
