using System.Globalization;
using Api.Reconciliation;
using Npgsql;

namespace Api.Faults;

/// <summary>Makes the day partitions of fault_samples ahead and drops those past their retention.
/// Guarantees: there is always a partition for today and two days more; dropping is by whole partitions. Idempotent; safe on several replicas.</summary>
public sealed class FaultPartitions(NpgsqlDataSource source, TimeProvider time, ILogger<FaultPartitions> log) : Reconciler(time, TimeSpan.FromHours(1), log)
{
    public const int RetentionDays = 7, DaysAhead = 2;
    private const string Prefix = "fault_samples_";
    private readonly TimeProvider clock = time;

    protected override async Task PassAsync(CancellationToken ct)
    {
        await using var connection = await source.OpenConnectionAsync(ct);
        var today = clock.GetUtcNow().UtcDateTime.Date;
        // Yesterday too: a sample may arrive just after midnight, or from a worker whose clock is behind.
        for (var day = today.AddDays(-1); day <= today.AddDays(DaysAhead); day = day.AddDays(1))
            await RunAsync(connection, string.Create(CultureInfo.InvariantCulture,
                $"CREATE TABLE IF NOT EXISTS {Prefix}{day:yyyyMMdd} PARTITION OF fault_samples FOR VALUES FROM ('{day:yyyy-MM-dd}+00') TO ('{day.AddDays(1):yyyy-MM-dd}+00')"), ct);

        var names = new List<string>();
        await using (var list = new NpgsqlCommand("SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'fault_samples'::regclass", connection))
        await using (var reader = await list.ExecuteReaderAsync(ct))
            while (await reader.ReadAsync(ct)) names.Add(reader.GetString(0));
        foreach (var name in names)
            if (DateTime.TryParseExact(name[Prefix.Length..], "yyyyMMdd", CultureInfo.InvariantCulture, DateTimeStyles.None, out var day) && day < today.AddDays(-RetentionDays))
                await RunAsync(connection, $"DROP TABLE IF EXISTS {Prefix}{day:yyyyMMdd}", ct);
    }

    private static async Task RunAsync(NpgsqlConnection connection, string sql, CancellationToken ct)
    {
        await using var command = new NpgsqlCommand(sql, connection);
        await command.ExecuteNonQueryAsync(ct);
    }
}
