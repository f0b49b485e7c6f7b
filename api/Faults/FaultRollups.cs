using Api.Reconciliation;
using Npgsql;

namespace Api.Faults;

/// <summary>Keeps the last sample of each minute, sandbox and incarnation in fault_minutes, which outlive the samples. Readings are counters, so nothing is summed:
/// what a minute added, latencies too, is the difference of two rollups, and any coarser step is every n-th of them. How many samples a minute had is kept too: more than one a second
/// are of two times that a node's clock, set back, has mixed (FaultIncrease).
/// Guarantees: every minute is rolled up once its samples had <see cref="Grace"/> to arrive; what arrives later, FaultStore adds. Idempotent, and safe on several
/// replicas: the row that tells how far it has come is locked. On a crash a pass is done again from there.</summary>
public sealed class FaultRollups(NpgsqlDataSource source, TimeProvider time, FaultRetention retention, ILogger<FaultRollups> log) : Reconciler(time, TimeSpan.FromSeconds(20), log)
{
    public static readonly TimeSpan Grace = TimeSpan.FromSeconds(30);
    /// <summary>Of a pass: after a long rest there is much to do.</summary>
    private static readonly TimeSpan Most = TimeSpan.FromMinutes(30);
    private readonly TimeProvider clock = time;

    /// <summary>Around a SELECT of these columns: of each minute the last sample stays, whoever comes first.</summary>
    public const string Insert = "INSERT INTO fault_minutes (sandbox_id, minute, incarnation, at, readings, samples)",
        KeepLast = "ON CONFLICT (sandbox_id, minute, incarnation) DO UPDATE SET at = GREATEST(fault_minutes.at, excluded.at), readings = CASE WHEN excluded.at > fault_minutes.at THEN excluded.readings ELSE fault_minutes.readings END, samples =";

    // For each sandbox a walk over its own samples: the index has them in this order.
    private const string Roll = $"""
        {Insert}
        SELECT s.id, l.minute, l.incarnation, l.at, l.readings, l.samples FROM sandboxes s CROSS JOIN LATERAL (
          SELECT DISTINCT ON (minute, incarnation) date_trunc('minute', at) AS minute, incarnation, at, readings, count(*) OVER (PARTITION BY date_trunc('minute', at), incarnation) AS samples
          FROM fault_samples WHERE sandbox_id = s.id AND at >= $1 AND at < $2 ORDER BY minute, incarnation, at DESC) l
        {KeepLast} GREATEST(fault_minutes.samples, excluded.samples)
        WHERE excluded.at > fault_minutes.at OR excluded.samples > fault_minutes.samples
        """;

    protected override async Task PassAsync(CancellationToken ct)
    {
        while (await RollAsync(ct))
        {
        }
    }

    private async Task<bool> RollAsync(CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        await using var connection = await source.OpenConnectionAsync(ct);
        await using var transaction = await connection.BeginTransactionAsync(ct);
        await using var progress = new NpgsqlCommand("SELECT rolled_until FROM fault_rollup FOR UPDATE SKIP LOCKED", connection, transaction);
        if (await progress.ExecuteScalarAsync(ct) is not DateTime rolled)
            return false;
        var from = new DateTimeOffset(rolled, TimeSpan.Zero);
        if (retention.OldestSample(now) is var oldest && from < oldest)
            from = oldest;
        var to = Minute(now - Grace);
        if (to <= from)
            return false;
        if (to - from > Most)
            to = from + Most;
        await using var roll = new NpgsqlCommand(Roll, connection, transaction) { CommandTimeout = 300 };
        roll.Parameters.Add(new() { Value = from.UtcDateTime });
        roll.Parameters.Add(new() { Value = to.UtcDateTime });
        await roll.ExecuteNonQueryAsync(ct);
        await using var done = new NpgsqlCommand("UPDATE fault_rollup SET rolled_until = $1", connection, transaction);
        done.Parameters.Add(new() { Value = to.UtcDateTime });
        await done.ExecuteNonQueryAsync(ct);
        await transaction.CommitAsync(ct);
        return true;
    }

    public static DateTimeOffset Minute(DateTimeOffset at) => new(at.UtcTicks - at.UtcTicks % TimeSpan.TicksPerMinute, TimeSpan.Zero);
}
