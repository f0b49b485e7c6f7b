using System.Security.Cryptography;
using System.Text.Json;
using Api.Dashboard;
using Api.Replicas;
using Contracts;
using Npgsql;
using NpgsqlTypes;

namespace Api.Nodes;

/// <summary>What a connection's node was answered, to which report, and by which rows.</summary>
/// <param name="Report">Digest of the report without its time.</param>
/// <param name="Rows">The versions of the node's sandboxes and devices just before the report was applied.</param>
/// <param name="Plan">The answer.</param>
public sealed record AnsweredReport(byte[] Report, string Rows, NodePlan Plan);

/// <summary>Most reports say again what the last one said, of rows that nobody has changed meanwhile: these are answered again by one statement, whatever the fleet's size.
/// Guarantees: the same answer as applying the report would give. Rows with the versions that they had before the last report was applied are what its plan was computed from,
/// and a report applied twice changes nothing; whatever is not so (a change by a user, the scheduler or another replica, a node that was taken for silent, a console that
/// is watched) is applied in full. Assumes: one connection a node tells the node's reports in order; what is remembered ends with it.</summary>
public sealed class AnsweredReports(NpgsqlDataSource source, ConsoleRelay consoles, ReplicaSettings replica)
{
    // xmin is another after each change of a row.
    private const string Versions = """
        (SELECT count(*) || ':' || coalesce(bit_xor(uuid_hash_extended(id, xmin::text::bigint)), 0) FROM sandboxes WHERE node_id = $1) || ' ' ||
        (SELECT count(*) || ':' || coalesce(bit_xor(uuid_hash_extended(id, xmin::text::bigint)), 0) FROM devices WHERE node_id = $1)
        """;

    private const string Again = $"""
        UPDATE nodes SET last_report_at = $2
        WHERE id = $1 AND installation = $3 AND plan_revision = $4 AND phase NOT IN ('Joining', 'Unreachable') AND token_sha256 = $6 AND replica_id = $7 AND ({Versions}) = $5
        """;

    public static byte[] Digest(NodeReport report) => SHA256.HashData(JsonSerializer.SerializeToUtf8Bytes(report with { At = default }, NodeJson.Default.NodeReport));

    public async Task<string> RowsAsync(Guid nodeId, CancellationToken ct)
    {
        await using var connection = await source.OpenConnectionAsync(ct);
        await using var command = new NpgsqlCommand($"SELECT {Versions}", connection);
        command.Parameters.Add(new() { Value = nodeId });
        await command.PrepareAsync(ct);
        return (string)(await command.ExecuteScalarAsync(ct))!;
    }

    /// <summary>Whether the last answer is the answer to this report too; if so, that the node has reported is stored.</summary>
    public async Task<bool> HoldsAsync(AnsweredReport last, Guid nodeId, byte[] token, Guid installation, byte[] report, DateTimeOffset now, CancellationToken ct)
    {
        if (!last.Report.AsSpan().SequenceEqual(report) || !consoles.WatchedAmong(last.Plan.Sandboxes.Select(s => s.Id)).SequenceEqual(last.Plan.WatchedConsoles)) return false;
        await using var connection = await source.OpenConnectionAsync(ct);
        await using var command = new NpgsqlCommand(Again, connection);
        command.Parameters.Add(new() { Value = nodeId });
        command.Parameters.Add(new() { Value = now.UtcDateTime, NpgsqlDbType = NpgsqlDbType.TimestampTz });
        command.Parameters.Add(new() { Value = installation });
        command.Parameters.Add(new() { Value = last.Plan.Revision });
        command.Parameters.Add(new() { Value = last.Rows });
        command.Parameters.Add(new() { Value = token });
        command.Parameters.Add(new() { Value = replica.Id });
        await command.PrepareAsync(ct);
        return await command.ExecuteNonQueryAsync(ct) == 1;
    }
}
