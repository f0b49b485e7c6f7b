using Contracts;
using Npgsql;
using NpgsqlTypes;

namespace Api.Faults;

/// <summary>Writes queued samples by binary COPY, each second all that there are, into the table that is partitioned by day; those whose minute may have been rolled up
/// (FaultRollups) also into their minute. Guarantees: a batch is stored whole or kept for the next try; while the database takes none, the queue fills and nodes keep
/// theirs (FaultIntake); a stop stores what there is. On a crash the batch in hand and the queue are lost (at most about a second, unless the database took none).</summary>
public sealed class FaultStore(FaultIntake intake, FaultLatest latest, NpgsqlDataSource source, FaultRetention retention, TimeProvider time, ILogger<FaultStore> log) : BackgroundService
{
    private const int MaxBatch = 20_000;
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(1), LastTry = TimeSpan.FromSeconds(2);

    private const string Late = $"""
        {FaultRollups.Insert}
        SELECT sandbox, date_trunc('minute', at), incarnation, at, readings, samples FROM unnest($1, $2, $3, $4, $5) AS late (sandbox, at, incarnation, readings, samples)
        {FaultRollups.KeepLast} fault_minutes.samples + excluded.samples
        """;

    private readonly List<EncodedSample> batch = new(MaxBatch);
    private long dropped;

    /// <summary>Samples that were taken in, and that the database will never take.</summary>
    public long Dropped => Interlocked.Read(ref dropped);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(Interval, time);
        while (await NextAsync(timer, stoppingToken))
        {
            latest.Forget();
            while (await StoreBatchAsync(stoppingToken) == MaxBatch)
            {
            }
        }
        intake.Close();
        using var last = new CancellationTokenSource(LastTry, time);
        while (await StoreBatchAsync(last.Token) > 0)
        {
        }
    }

    /// <summary>How many were stored; those that were not stay for the next try.</summary>
    private async Task<int> StoreBatchAsync(CancellationToken ct)
    {
        while (batch.Count < MaxBatch && intake.TryTake(out var sample)) batch.Add(sample);
        // Of days that are no longer kept there is no partition to write to: after a long rest of the database they would be tried for ever.
        var oldest = retention.OldestSample(time.GetUtcNow());
        if (batch.RemoveAll(s => s.At < oldest) is > 0 and var stale)
        {
            log.LogError("{Count} fault samples are dropped: their day is not kept any more", stale);
            Interlocked.Add(ref dropped, stale);
        }
        if (batch.Count == 0) return 0;
        try
        {
            await WriteAsync(ct);
            var stored = batch.Count;
            batch.Clear();
            return stored;
        }
        catch (NpgsqlException e)
        {
            log.LogWarning("{Count} fault samples wait: {Message}", batch.Count, e.Message);
            // What the data themselves are refused for (SQLSTATE classes 22 and 23) is refused for ever, but for a day without its partition, which gets one soon (FaultPartitions).
            // Anything else passes: a standby that takes no writes, a disk that is full, a query that was cancelled.
            if (e is PostgresException { SqlState: not PostgresErrorCodes.CheckViolation and ['2', '2' or '3', ..] })
            {
                log.LogError("{Count} fault samples are dropped: the database will never take them", batch.Count);
                Interlocked.Add(ref dropped, batch.Count);
                batch.Clear();
            }
        }
        catch (OperationCanceledException) when (ct.IsCancellationRequested)
        {
        }
        return 0;
    }

    private static async Task<bool> NextAsync(PeriodicTimer timer, CancellationToken ct)
    {
        try
        {
            return await timer.WaitForNextTickAsync(ct);
        }
        catch (OperationCanceledException)
        {
            return false;
        }
    }

    private async Task WriteAsync(CancellationToken ct)
    {
        await using var connection = await source.OpenConnectionAsync(ct);
        await using var transaction = await connection.BeginTransactionAsync(ct);
        await using (var import = await connection.BeginBinaryImportAsync("COPY fault_samples (sandbox_id, at, incarnation, readings) FROM STDIN (FORMAT BINARY)", ct))
        {
            foreach (var sample in batch)
            {
                await import.StartRowAsync(ct);
                await import.WriteAsync(sample.SandboxId, NpgsqlDbType.Uuid, ct);
                await import.WriteAsync(sample.At.UtcDateTime, NpgsqlDbType.TimestampTz, ct);
                await import.WriteAsync(sample.Incarnation, NpgsqlDbType.Integer, ct);
                await import.WriteAsync(sample.Readings, NpgsqlDbType.Bytea, ct);
            }
            await import.CompleteAsync(ct);
        }
        await AddLateAsync(connection, transaction, ct);
        await transaction.CommitAsync(ct);
    }

    /// <summary>The last of each minute, of samples so old that their minute is, or soon will be, rolled up without them.</summary>
    private async Task AddLateAsync(NpgsqlConnection connection, NpgsqlTransaction transaction, CancellationToken ct)
    {
        // Twice as careful as the rollup: storing takes time, and another replica has another clock.
        var limit = time.GetUtcNow() - (FaultRollups.Grace / 2);
        var late = batch.Where(s => s.At < limit).GroupBy(s => (s.SandboxId, s.Incarnation, FaultRollups.Minute(s.At))).Select(g => (Last: g.MaxBy(s => s.At), Count: g.Count())).ToList();
        if (late.Count == 0) return;
        await using var command = new NpgsqlCommand(Late, connection, transaction);
        command.Parameters.Add(new() { Value = late.Select(m => m.Last.SandboxId).ToArray() });
        command.Parameters.Add(new() { Value = late.Select(m => m.Last.At.UtcDateTime).ToArray(), NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.TimestampTz });
        command.Parameters.Add(new() { Value = late.Select(m => m.Last.Incarnation).ToArray() });
        command.Parameters.Add(new() { Value = late.Select(m => m.Last.Readings.ToArray()).ToArray() });
        command.Parameters.Add(new() { Value = late.Select(m => m.Count).ToArray() });
        await command.ExecuteNonQueryAsync(ct);
    }
}
