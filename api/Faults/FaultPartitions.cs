using System.Globalization;
using Api.Reconciliation;
using Npgsql;

namespace Api.Faults;

/// <summary>Makes the day partitions of fault_samples and fault_minutes ahead and drops those past their retention.
/// Guarantees: there is always a partition for today and two days more; dropping is by whole partitions. Idempotent; safe on several replicas.</summary>
public sealed class FaultPartitions(NpgsqlDataSource source, TimeProvider time, FaultRetention retention, ILogger<FaultPartitions> log) : Reconciler(time, TimeSpan.FromHours(1), log)
{
    public const int DaysAhead = 2;
    private readonly TimeProvider clock = time;

    protected override async Task PassAsync(CancellationToken ct)
    {
        await using var connection = await source.OpenConnectionAsync(ct);
        // Whoever waits for the whole table's lock, behind a backup for instance, stops all who store: days are made long ahead, and an hour later is soon enough.
        await RunAsync(connection, "SET lock_timeout = '500ms'", ct);
        try
        {
            await KeepAsync(connection, "fault_samples", retention.SampleDays, ct);
            await KeepAsync(connection, "fault_minutes", retention.MinuteDays, ct);
        }
        catch (PostgresException e) when (e.SqlState == PostgresErrorCodes.LockNotAvailable)
        {
            log.LogWarning("The tables of faults are held by somebody (a backup?): their days are kept with the next pass");
        }
    }

    private async Task KeepAsync(NpgsqlConnection connection, string table, int days, CancellationToken ct)
    {
        var today = clock.GetUtcNow().UtcDateTime.Date;
        // As far back as is kept: a sample may arrive just after midnight or from a worker whose clock is behind, and old samples be rolled up after a rest.
        var names = await NamesAsync(connection, table, ct);
        for (var day = today.AddDays(-retention.SampleDays); day <= today.AddDays(DaysAhead); day = day.AddDays(1))
            if (!names.Contains(string.Create(CultureInfo.InvariantCulture, $"{table}_{day:yyyyMMdd}"))) await RunAsync(connection, string.Create(CultureInfo.InvariantCulture,
                $"CREATE TABLE IF NOT EXISTS {table}_{day:yyyyMMdd} PARTITION OF {table} FOR VALUES FROM ('{day:yyyy-MM-dd}+00') TO ('{day.AddDays(1):yyyy-MM-dd}+00')"), ct);

        foreach (var name in names)
            if (DateTime.TryParseExact(name[(table.Length + 1)..], "yyyyMMdd", CultureInfo.InvariantCulture, DateTimeStyles.None, out var day) && day < today.AddDays(-days))
                await RunAsync(connection, $"DROP TABLE IF EXISTS {table}_{day:yyyyMMdd}", ct);
    }

    private static async Task<HashSet<string>> NamesAsync(NpgsqlConnection connection, string table, CancellationToken ct)
    {
        var names = new HashSet<string>(StringComparer.Ordinal);
        await using var list = new NpgsqlCommand("SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = $1::text::regclass", connection);
        list.Parameters.Add(new() { Value = table });
        await using var reader = await list.ExecuteReaderAsync(ct);
        while (await reader.ReadAsync(ct)) names.Add(reader.GetString(0));
        return names;
    }

    private static async Task RunAsync(NpgsqlConnection connection, string sql, CancellationToken ct)
    {
        await using var command = new NpgsqlCommand(sql, connection);
        await command.ExecuteNonQueryAsync(ct);
    }
}
