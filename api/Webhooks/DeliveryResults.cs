using System.Threading.Channels;
using Api.Data;
using Npgsql;
using Microsoft.EntityFrameworkCore;

namespace Api.Webhooks;

/// <summary>Stores what came of attempts as it comes, in batches: while one is written the next gathers.
/// Guarantees: when the service stops, what has come is stored first. While the database is away it is kept and tried again; on a crash the deliveries are attempted again.</summary>
public sealed class DeliveryResults(IServiceScopeFactory scopes, TimeProvider time, ILogger<DeliveryResults> log) : BackgroundService
{
    private const int BatchRows = 500;
    // As many as can be claimed; no more can come.
    private readonly Channel<DeliveryRecord> queue = Channel.CreateUnbounded<DeliveryRecord>(new UnboundedChannelOptions { SingleReader = true });

    /// <summary>After each batch: what waited behind these may be due.</summary>
    public event Action? Stored;

    public void Add(DeliveryRecord record) => queue.Writer.TryWrite(record);

    public override async Task StopAsync(CancellationToken cancellationToken)
    {
        queue.Writer.TryComplete();
        if (ExecuteTask is { } rest) await rest.WaitAsync(cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await base.StopAsync(cancellationToken);
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var batch = new List<DeliveryRecord>();
        while (await queue.Reader.WaitToReadAsync(CancellationToken.None))
        {
            while (batch.Count < BatchRows && queue.Reader.TryRead(out var record)) batch.Add(record);
            while (!await TryWriteAsync(batch))
            {
                if (stoppingToken.IsCancellationRequested) return;
                await Task.Delay(TimeSpan.FromSeconds(1), time, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
            batch.Clear();
            Stored?.Invoke();
        }
    }

    private async Task<bool> TryWriteAsync(List<DeliveryRecord> batch)
    {
        try
        {
            await using var scope = scopes.CreateAsyncScope();
            await DeliveryRecords.WriteAsync(scope.ServiceProvider.GetRequiredService<SandboxDb>(), batch, time.GetUtcNow(), CancellationToken.None);
            return true;
        }
        catch (Exception e) when (e is NpgsqlException or DbUpdateException or TimeoutException || e.InnerException is NpgsqlException)
        {
            log.LogWarning("The results of {Count} webhook attempts could not be stored ({Message}); trying again", batch.Count, e.Message);
            return false;
        }
    }
}
