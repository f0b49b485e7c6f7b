using Contracts;
using Npgsql;
using NpgsqlTypes;

namespace Api.Faults;

/// <summary>Reads one sandbox's stored samples at one resolution: the last sample of each step and incarnation, of the sources asked for, or of all when none is.</summary>
public sealed class FaultHistory(NpgsqlDataSource store, Guid sandbox, FaultResolution resolution, IReadOnlyCollection<string> sources)
{
    private readonly string rows = resolution.FromMinutes
        // A sample lies in its minute; the two bounds on minute let whole partitions be passed over.
        // What is not rolled up yet is read from the samples, the last of each minute as well.
        ? """
          SELECT at, incarnation, readings, samples FROM (
            (SELECT at, incarnation, readings, samples FROM fault_minutes
              WHERE sandbox_id = $1 AND minute >= date_trunc('minute', $2) AND minute < LEAST($3, (SELECT rolled_until FROM fault_rollup)) AND at >= $2 AND at < $3)
            UNION ALL
            (SELECT DISTINCT ON (date_trunc('minute', at), incarnation) at, incarnation, readings, count(*) OVER (PARTITION BY date_trunc('minute', at), incarnation)::integer FROM fault_samples
              WHERE sandbox_id = $1 AND at >= GREATEST($2, (SELECT rolled_until FROM fault_rollup)) AND at < $3 ORDER BY date_trunc('minute', at), incarnation, at DESC)) AS m
          """
        : "SELECT at, incarnation, readings, 1 AS samples FROM fault_samples WHERE sandbox_id = $1 AND at >= $2 AND at < $3";

    /// <summary>One each second, and the jitter of the first and the last.</summary>
    private const int MostOfAMinute = 62;

    private readonly IReadOnlyCollection<string> read = FaultTypes.ToRead(sources);

    /// <summary>False when every stored row is a step of its own.</summary>
    private bool IsStepped => resolution.StepSeconds != (resolution.FromMinutes ? 60 : 1);

    /// <summary>Oldest first. <paramref name="after"/>: only what is newer.</summary>
    public async Task<List<StoredSample>> ReadAsync(DateTimeOffset from, DateTimeOffset to, DateTimeOffset? after, int limit, CancellationToken ct)
    {
        if (after >= from) from = after.Value.AddTicks(TimeSpan.TicksPerMicrosecond);
        var stepped = !IsStepped
            ? rows
            : $"SELECT DISTINCT ON (step, incarnation) at, incarnation, readings, max(samples) OVER (PARTITION BY date_bin($5, at, 'epoch'), incarnation) AS samples, date_bin($5, at, 'epoch') AS step FROM ({rows}) AS r ORDER BY step, incarnation, at DESC";
        await using var command = store.CreateCommand($"SELECT at, incarnation, readings, samples FROM ({stepped}) AS s ORDER BY at LIMIT $4");
        Add(command, from, to);
        command.Parameters.Add(new() { Value = limit });
        if (IsStepped) command.Parameters.Add(new() { Value = TimeSpan.FromSeconds(resolution.StepSeconds) });
        return await AllAsync(command, ct);
    }

    /// <summary>What the first sample's increase is told from: the last few rows, oldest first, of the steps before its own, or of what was read before, if they are not far.</summary>
    public async Task<List<StoredSample>> BeforeAsync(DateTimeOffset first, DateTimeOffset? after, CancellationToken ct)
    {
        var at = BeginOf(first);
        if (after >= at) at = after.Value.AddTicks(TimeSpan.TicksPerMicrosecond);
        await using var command = store.CreateCommand($"{rows} ORDER BY at DESC LIMIT 4");
        Add(command, at - TimeSpan.FromSeconds(Math.Max(3600, 2 * resolution.StepSeconds)), at);
        var before = await AllAsync(command, ct);
        before.Reverse();
        return before;
    }

    /// <summary>Of the step that a sample tells.</summary>
    private DateTimeOffset BeginOf(DateTimeOffset sample) => IsStepped || resolution.FromMinutes
        ? new(sample.UtcTicks - (sample.UtcTicks - DateTimeOffset.UnixEpoch.Ticks) % (resolution.StepSeconds * TimeSpan.TicksPerSecond), TimeSpan.Zero) : sample;

    /// <summary>That of the last minute before the first sample's step, however far; null when none is kept.</summary>
    public async Task<int?> LastIncarnationAsync(DateTimeOffset first, CancellationToken ct)
    {
        await using var command = store.CreateCommand("SELECT incarnation FROM fault_minutes WHERE sandbox_id = $1 AND minute <= date_trunc('minute', $2) AND at < $2 ORDER BY minute DESC, incarnation DESC LIMIT 1");
        command.Parameters.Add(new() { Value = sandbox });
        command.Parameters.Add(new() { Value = BeginOf(first).UtcDateTime, NpgsqlDbType = NpgsqlDbType.TimestampTz });
        return (int?)await command.ExecuteScalarAsync(ct);
    }

    /// <summary>Of these, those of which a minute is kept in the day before the first sample's step. A clock that was set back may have put another's samples between.</summary>
    public async Task<HashSet<int>> KnownBeforeAsync(DateTimeOffset first, int[] incarnations, CancellationToken ct)
    {
        if (incarnations.Length == 0) return [];
        await using var command = store.CreateCommand("SELECT DISTINCT incarnation FROM fault_minutes WHERE sandbox_id = $1 AND minute >= $2 - interval '1 day' AND minute <= $2 AND at < $2 AND incarnation = ANY($3)");
        command.Parameters.Add(new() { Value = sandbox });
        command.Parameters.Add(new() { Value = BeginOf(first).UtcDateTime, NpgsqlDbType = NpgsqlDbType.TimestampTz });
        command.Parameters.Add(new() { Value = incarnations });
        await using var reader = await command.ExecuteReaderAsync(ct);
        var known = new HashSet<int>();
        while (await reader.ReadAsync(ct)) known.Add(reader.GetInt32(0));
        return known;
    }

    private void Add(NpgsqlCommand command, DateTimeOffset from, DateTimeOffset to)
    {
        command.Parameters.Add(new() { Value = sandbox });
        command.Parameters.Add(new() { Value = from.UtcDateTime, NpgsqlDbType = NpgsqlDbType.TimestampTz });
        command.Parameters.Add(new() { Value = to.UtcDateTime, NpgsqlDbType = NpgsqlDbType.TimestampTz });
    }

    private async Task<List<StoredSample>> AllAsync(NpgsqlCommand command, CancellationToken ct)
    {
        var samples = new List<StoredSample>();
        await using var reader = await command.ExecuteReaderAsync(ct);
        while (await reader.ReadAsync(ct))
        {
            var readings = FaultTypes.Asked(FaultSamplesEncoding.Decode(reader.GetFieldValue<byte[]>(2), read), sources);
            samples.Add(new StoredSample(new DateTimeOffset(reader.GetDateTime(0), TimeSpan.Zero), reader.GetInt32(1), readings) { IsMixed = reader.GetInt32(3) > MostOfAMinute });
        }
        return samples;
    }
}
