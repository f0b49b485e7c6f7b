using System.Text.Json;
using Contracts;
using Npgsql;
using NpgsqlTypes;

namespace Api.Faults;

/// <summary>Writes queued samples by binary COPY, a batch a second, into the table that is partitioned by day; those whose minute may have been rolled up
/// (FaultRollups) also into their minute. Guarantees: a batch is stored whole or kept for the next try. On a crash the batch in hand is lost (at most about a second).</summary>
public sealed class FaultStore(FaultIntake intake, FaultLatest latest, NpgsqlDataSource source, TimeProvider time, ILogger<FaultStore> log) : BackgroundService
{
    private const int MaxBatch = 20_000;
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(1);

    private const string Late = $"""
        {FaultRollups.Insert}
        SELECT sandbox, date_trunc('minute', at), incarnation, at, readings::jsonb FROM unnest($1, $2, $3, $4) AS late (sandbox, at, incarnation, readings)
        {FaultRollups.KeepLast}
        """;

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var batch = new List<FaultSample>();
        var told = 0L;
        using var timer = new PeriodicTimer(Interval, time);
        while (await NextAsync(timer, stoppingToken))
        {
            latest.Forget();
            if (intake.Dropped is var dropped && dropped > told)
            {
                log.LogWarning("{Count} fault samples were dropped: the queue is full", dropped - told);
                told = dropped;
            }
            while (batch.Count < MaxBatch && intake.Queue.TryRead(out var sample)) batch.Add(sample);
            if (batch.Count == 0) continue;
            try
            {
                await WriteAsync(batch, stoppingToken);
                batch.Clear();
            }
            catch (NpgsqlException e)
            {
                log.LogWarning("{Count} fault samples wait: {Message}", batch.Count, e.Message);
                // A day without its partition gets one soon (FaultPartitions); anything else that the database refuses, it would refuse for ever.
                if (e is PostgresException { IsTransient: false, SqlState: not PostgresErrorCodes.CheckViolation }) batch.Clear();
            }
            catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
            {
                return;
            }
        }
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

    private async Task WriteAsync(List<FaultSample> batch, CancellationToken ct)
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
                await import.WriteAsync(Text(sample), NpgsqlDbType.Jsonb, ct);
            }
            await import.CompleteAsync(ct);
        }
        await AddLateAsync(connection, transaction, batch, ct);
        await transaction.CommitAsync(ct);
    }

    /// <summary>The last of each minute, of samples so old that their minute is, or soon will be, rolled up without them.</summary>
    private async Task AddLateAsync(NpgsqlConnection connection, NpgsqlTransaction transaction, List<FaultSample> batch, CancellationToken ct)
    {
        var limit = time.GetUtcNow() - FaultRollups.Grace;
        var late = batch.Where(s => s.At < limit).GroupBy(s => (s.SandboxId, s.Incarnation, FaultRollups.Minute(s.At))).Select(g => g.MaxBy(s => s.At)!).ToList();
        if (late.Count == 0) return;
        await using var command = new NpgsqlCommand(Late, connection, transaction);
        command.Parameters.Add(new() { Value = late.Select(s => s.SandboxId).ToArray() });
        command.Parameters.Add(new() { Value = late.Select(s => s.At.UtcDateTime).ToArray(), NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.TimestampTz });
        command.Parameters.Add(new() { Value = late.Select(s => s.Incarnation).ToArray() });
        command.Parameters.Add(new() { Value = late.Select(Text).ToArray() });
        await command.ExecuteNonQueryAsync(ct);
    }

    private static string Text(FaultSample sample) => JsonSerializer.Serialize(sample.Readings, JsonSerializerOptions.Web);
}
