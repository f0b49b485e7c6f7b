using Api.Data;
using Api.Events;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Webhooks;

/// <summary>What is to be stored of a claimed delivery. <c>Attempt</c> null: it was not attempted, and is due again after <c>After</c>.</summary>
public sealed record DeliveryRecord(WebhookDelivery Claimed, Attempt? Attempt, DeliveryState State, TimeSpan? After, TimeSpan? Pause, string? Disable, DateTimeOffset At, int TookMilliseconds);

/// <summary>Stores what came of attempts, many in one transaction (<see cref="DeliveryQueue"/> says what it keeps).
/// A success counts whoever had the lease; a failure only while its lease is the present one, or another replica's attempt would be overwritten.</summary>
public static class DeliveryRecords
{
    public static async Task WriteAsync(SandboxDb db, IReadOnlyList<DeliveryRecord> records, DateTimeOffset now, CancellationToken ct)
    {
        await using var transaction = await db.Database.BeginTransactionAsync(ct);
        var ids = records.Select(r => r.Claimed.EndpointId).Distinct().ToArray();
        var endpoints = (await db.WebhookEndpoints.FromSql($"SELECT * FROM webhook_endpoints WHERE id = ANY ({ids}) ORDER BY id FOR NO KEY UPDATE").ToListAsync(ct)).ToDictionary(e => e.Id);
        await UpdateAsync(db, records, now, ct);
        await DeliveryQueue.PromoteAsync(db, [.. records.Where(r => r.State != DeliveryState.Pending).Select(r => (r.Claimed.EndpointId, r.Claimed.Stream))], now, ct);
        foreach (var group in records.Where(r => r.Attempt is not null).GroupBy(r => r.Claimed.EndpointId))
            if (endpoints.TryGetValue(group.Key, out var endpoint)) Judge(db, endpoint, [.. group.OrderBy(r => r.At)], now);
        await db.SaveChangesAsync(ct);
        await transaction.CommitAsync(ct);
    }

    private static Task<int> UpdateAsync(SandboxDb db, IReadOnlyList<DeliveryRecord> records, DateTimeOffset now, CancellationToken ct)
    {
        var endpoint = records.Select(r => r.Claimed.EndpointId).ToArray();
        var number = records.Select(r => r.Claimed.Number).ToArray();
        var lease = records.Select(r => r.Claimed.DueAt!.Value).ToArray();
        var attempted = records.Select(r => r.Attempt is not null).ToArray();
        var state = records.Select(r => r.State.ToString()).ToArray();
        var due = records.Select(r => r.State == DeliveryState.Pending ? now + r.After : null).ToArray();
        var at = records.Select(r => r.At).ToArray();
        var status = records.Select(r => r.Attempt?.Status).ToArray();
        var reason = records.Select(r => r.Attempt?.Reason).ToArray();
        var excerpt = records.Select(r => r.Attempt?.Excerpt).ToArray();
        var took = records.Select(r => r.TookMilliseconds).ToArray();
        return db.Database.ExecuteSqlAsync($"""
            UPDATE webhook_deliveries d SET state = r.state, due_at = r.due, attempts = d.attempts + r.attempted::integer,
              last_attempt_at = CASE WHEN r.attempted THEN r.at ELSE d.last_attempt_at END, last_status = CASE WHEN r.attempted THEN r.status ELSE d.last_status END,
              last_reason = CASE WHEN r.attempted THEN r.reason ELSE d.last_reason END, response_excerpt = CASE WHEN r.attempted THEN r.excerpt ELSE d.response_excerpt END,
              took_milliseconds = CASE WHEN r.attempted THEN r.took ELSE d.took_milliseconds END
            FROM unnest({endpoint}, {number}, {lease}, {attempted}, {state}, {due}, {at}, {status}, {reason}, {excerpt}, {took})
              AS r (endpoint_id, number, lease, attempted, state, due, at, status, reason, excerpt, took)
            WHERE d.endpoint_id = r.endpoint_id AND d.number = r.number AND d.state = 'Pending' AND (r.state = 'Succeeded' OR d.due_at = r.lease)
            """, ct);
    }

    private static void Judge(SandboxDb db, WebhookEndpoint endpoint, List<DeliveryRecord> records, DateTimeOffset now)
    {
        foreach (var record in records)
        {
            endpoint.FailingSince = record.Attempt!.Succeeded ? null : endpoint.FailingSince ?? record.At;
            if (record.Pause is { } pause && !(endpoint.PausedUntil > record.At + pause)) endpoint.PausedUntil = record.At + pause;
            var disable = record.Disable ?? (DeliveryJudgement.FailsTooLong(endpoint.FailingSince, record.At) ? WebhookReasons.FailingTooLong : null);
            if (disable is null || endpoint.Disabled is not null) continue;
            endpoint.Disabled = WebhookReasons.Failure(disable, now);
            endpoint.UpdatedAt = now;
            db.Events.Add(Event.Of(endpoint.ProjectId, EventType.WebhookDisabled, endpoint.Id, Host(endpoint), disable, $"Nothing is sent to {Host(endpoint)} any more. {endpoint.Disabled.Message}", now));
        }
    }

    // Not the whole url: it may hold what only its owner knows.
    private static string Host(WebhookEndpoint endpoint) => new Uri(endpoint.Url).Host;
}
