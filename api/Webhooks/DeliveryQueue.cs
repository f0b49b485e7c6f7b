using Api.Data;
using Api.Events;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Webhooks;

/// <summary>The deliveries as they lie in the database: Waiting → Pending → Succeeded or Failed, and back to Waiting when asked for again.
/// Guarantees: each event that an endpoint wants becomes one delivery (unique by endpoint and event, and the cursor moves in the same transaction); of one stream (subject) at most one is Pending, of those that wait the one with the earliest event follows it,
/// so a subject's events are attempted in order; a claim is a lease: what a replica that died had claimed becomes due again.
/// Assumes: whoever makes, ends or repeats deliveries holds the lock of the endpoint's row, so nobody decides on a stream while another changes it.
/// On a crash between an attempt and its record the delivery is attempted again: at least once.</summary>
public static class DeliveryQueue
{
    /// <summary>How long a claimed delivery may take, waiting for its turn included.</summary>
    public static readonly TimeSpan Lease = TimeSpan.FromSeconds(45);
    private const int FanOutEvents = 5000;

    public static async Task<WebhookEndpoint?> LockAsync(SandboxDb db, Guid id, Guid? project, CancellationToken ct) =>
        (await db.WebhookEndpoints.FromSql($"SELECT * FROM webhook_endpoints WHERE id = {id} AND ({project}::uuid IS NULL OR project_id = {project}::uuid) FOR NO KEY UPDATE").ToListAsync(ct)).SingleOrDefault();

    /// <summary>Makes deliveries of the events that the endpoint has not seen. True when there may be more of them.</summary>
    public static async Task<bool> FanOutAsync(SandboxDb db, Guid id, DateTimeOffset now, CancellationToken ct)
    {
        await using var transaction = await db.Database.BeginTransactionAsync(ct);
        if (await LockAsync(db, id, null, ct) is not { Disabled: null } endpoint) return false;
        var last = await EventReading.LastNumberAsync(db, endpoint.ProjectId, ct);
        var upTo = Math.Min(last, endpoint.Cursor + FanOutEvents);
        if (upTo == endpoint.Cursor) return false;
        endpoint.LastDelivery += await MakeAsync(db, endpoint, endpoint.Cursor, upTo, DateTimeOffset.UnixEpoch, atOnce: true, now, ct);
        endpoint.Cursor = upTo;
        await db.SaveChangesAsync(ct);
        await transaction.CommitAsync(ct);
        return upTo < last;
    }

    /// <summary>At once: the first of a stream that has none Pending (and so none Waiting) is Pending. Else all of them wait until the caller promotes.</summary>
    private static Task<int> MakeAsync(SandboxDb db, WebhookEndpoint endpoint, long after, long upTo, DateTimeOffset since, bool atOnce, DateTimeOffset now, CancellationToken ct)
    {
        var (like, labels) = (EventFilter.Like(endpoint.Types), LabelsOf(endpoint));
        return db.Database.ExecuteSqlAsync($"""
            INSERT INTO webhook_deliveries (endpoint_id, number, project_id, event_number, type, subject_id, stream, created_at, state, attempts, due_at)
            SELECT {endpoint.Id}, {endpoint.LastDelivery} + row_number() OVER (ORDER BY n.number), n.project_id, n.number, n.type, n.subject_id, n.stream, {now},
              CASE WHEN n.is_first THEN 'Pending' ELSE 'Waiting' END, 0, CASE WHEN n.is_first THEN {now} END
            FROM (
              SELECT e.*, s.stream, {atOnce} AND row_number() OVER (PARTITION BY s.stream ORDER BY e.number) = 1
                AND NOT EXISTS (SELECT 1 FROM webhook_deliveries p WHERE p.endpoint_id = {endpoint.Id} AND p.stream = s.stream AND p.state = 'Pending') AS is_first
              FROM events e CROSS JOIN LATERAL (SELECT COALESCE(e.subject_id, '00000000-0000-0000-0000-000000000000') AS stream) s
              WHERE e.project_id = {endpoint.ProjectId} AND e.number > {after} AND e.number <= {upTo} AND e.at >= {since}
                AND e.type LIKE ANY ({like}) AND ({labels}::jsonb IS NULL OR e.labels @> {labels}::jsonb)
                AND NOT EXISTS (SELECT 1 FROM webhook_deliveries d WHERE d.endpoint_id = {endpoint.Id} AND d.event_number = e.number)) n
            """, ct);
    }

    private static string? LabelsOf(WebhookEndpoint endpoint) => endpoint.Labels.Count == 0 ? null : System.Text.Json.JsonSerializer.Serialize(endpoint.Labels);

    /// <summary>Takes what is due, at most so many of each endpoint, beginning with the endpoints after the given one. <c>DueAt</c> of what is answered is the lease.</summary>
    public static Task<List<WebhookDelivery>> ClaimAsync(SandboxDb db, IReadOnlyDictionary<Guid, int> rooms, int roomOfOthers, int most, Guid after, DateTimeOffset now, CancellationToken ct)
    {
        var (ids, counts) = (rooms.Keys.ToArray(), rooms.Values.ToArray());
        var lease = now + Lease;
        return db.WebhookDeliveries.FromSql($"""
            UPDATE webhook_deliveries d SET due_at = {lease} FROM (
              SELECT c.endpoint_id, c.number
              FROM (SELECT e.id, COALESCE(r.room, {roomOfOthers}) AS room FROM webhook_endpoints e LEFT JOIN unnest({ids}, {counts}) AS r (id, room) ON r.id = e.id
                    WHERE e.disabled IS NULL AND (e.paused_until IS NULL OR e.paused_until <= {now}) AND COALESCE(r.room, {roomOfOthers}) > 0
                    ORDER BY e.id > {after} DESC, e.id) w
              CROSS JOIN LATERAL (SELECT q.endpoint_id, q.number FROM webhook_deliveries q WHERE q.endpoint_id = w.id AND q.state = 'Pending' AND q.due_at <= {now}
                                  ORDER BY q.due_at, q.number LIMIT w.room FOR UPDATE SKIP LOCKED) c
              LIMIT {most}) due
            WHERE d.endpoint_id = due.endpoint_id AND d.number = due.number
            RETURNING d.*
            """).AsNoTracking().ToListAsync(ct);
    }

    /// <summary>Of each of these streams that has none Pending, the one that waits with the earliest event.</summary>
    public static Task<int> PromoteAsync(SandboxDb db, IReadOnlyCollection<(Guid Endpoint, Guid Stream)> streams, DateTimeOffset now, CancellationToken ct)
    {
        var distinct = streams.Distinct().ToList();
        var (endpoints, names) = (distinct.Select(s => s.Endpoint).ToArray(), distinct.Select(s => s.Stream).ToArray());
        return db.Database.ExecuteSqlAsync($"""
            UPDATE webhook_deliveries d SET state = 'Pending', due_at = {now} FROM (
              SELECT k.endpoint_id, (SELECT w.number FROM webhook_deliveries w WHERE w.endpoint_id = k.endpoint_id AND w.stream = k.stream AND w.state = 'Waiting' ORDER BY w.event_number LIMIT 1) AS number
              FROM unnest({endpoints}, {names}) AS k (endpoint_id, stream)
              WHERE NOT EXISTS (SELECT 1 FROM webhook_deliveries p WHERE p.endpoint_id = k.endpoint_id AND p.stream = k.stream AND p.state = 'Pending')) n
            WHERE d.endpoint_id = n.endpoint_id AND d.number = n.number
            """, ct);
    }

    /// <summary>One delivery once more, from the first attempt; null: there is none of that number.</summary>
    public static async Task<WebhookDelivery?> RepeatAsync(SandboxDb db, WebhookEndpoint locked, long number, DateTimeOffset now, CancellationToken ct)
    {
        if (await db.WebhookDeliveries.SingleOrDefaultAsync(d => d.EndpointId == locked.Id && d.Number == number, ct) is not { } delivery) return null;
        delivery.Attempts = 0;
        if (delivery.State == DeliveryState.Pending) delivery.DueAt = now;
        else (delivery.State, delivery.DueAt) = (DeliveryState.Waiting, null);
        await db.SaveChangesAsync(ct);
        await PromoteAsync(db, [(locked.Id, delivery.Stream)], now, ct);
        await db.Entry(delivery).ReloadAsync(ct);
        return delivery;
    }

    /// <summary>Every event since then that the endpoint wants now: those that it had once more, the others for the first time. How many.</summary>
    public static async Task<int> RepeatSinceAsync(SandboxDb db, WebhookEndpoint locked, DateTimeOffset since, DateTimeOffset now, CancellationToken ct)
    {
        var (like, labels) = (EventFilter.Like(locked.Types), LabelsOf(locked));
        var repeated = await db.Database.ExecuteSqlAsync($"""
            UPDATE webhook_deliveries d SET state = 'Waiting', attempts = 0, due_at = NULL FROM events e
            WHERE d.endpoint_id = {locked.Id} AND d.state IN ('Succeeded', 'Failed') AND e.project_id = d.project_id AND e.number = d.event_number AND e.at >= {since} AND e.type LIKE ANY ({like})
              AND ({labels}::jsonb IS NULL OR e.labels @> {labels}::jsonb)
            """, ct);
        var made = await MakeAsync(db, locked, 0, locked.Cursor, since, atOnce: false, now, ct);
        locked.LastDelivery += made;
        await db.SaveChangesAsync(ct);
        var streams = await db.WebhookDeliveries.Where(d => d.EndpointId == locked.Id && d.State == DeliveryState.Waiting).Select(d => d.Stream).Distinct().ToListAsync(ct);
        await PromoteAsync(db, streams.ConvertAll(s => (locked.Id, s)), now, ct);
        return repeated + made;
    }

    public static WebhookDelivery Test(WebhookEndpoint locked, DateTimeOffset now) => new()
    {
        EndpointId = locked.Id,
        Number = ++locked.LastDelivery,
        ProjectId = locked.ProjectId,
        Type = PayloadText.TestType,
        SubjectId = locked.Id,
        // Of its own: it waits for nothing.
        Stream = Guid.NewGuid(),
        CreatedAt = now,
        State = DeliveryState.Pending,
        DueAt = now,
    };

    /// <summary>What was put off goes on at once.</summary>
    public static Task<int> HurryAsync(SandboxDb db, WebhookEndpoint locked, DateTimeOffset now, CancellationToken ct) =>
        db.WebhookDeliveries.Where(d => d.EndpointId == locked.Id && d.State == DeliveryState.Pending && d.DueAt > now).ExecuteUpdateAsync(u => u.SetProperty(d => d.DueAt, now), ct);
}
