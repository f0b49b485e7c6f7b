using System.Globalization;
using Api.Data;
using Api.Http;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Webhooks;

/// <summary>The log of an endpoint's deliveries, and what can be asked of it. What is asked changes the endpoint's row, for the audit log tells by rows.</summary>
public static class DeliveryRoutes
{
    public static async Task<IResult> ListAsync(Guid id, HttpContext http, SandboxDb db, CancellationToken ct, int limit = 100, long? after = null, string? state = null)
    {
        if (limit is < 1 or > Paging.MaxLimit) return Paging.LimitProblem();
        if (!NamedEnum.TryParse<DeliveryState>(state, out var inState) && state is not null) return ApiProblem.Validation("state", $"takes one of {string.Join(", ", Enum.GetNames<DeliveryState>())}");
        if (!await ExistsAsync(db, id, http, ct)) return WebhookRoutes.NotFound();
        var query = db.WebhookDeliveries.AsNoTracking().Where(d => d.EndpointId == id);
        if (after is { } before) query = query.Where(d => d.Number < before);
        if (state is not null) query = query.Where(d => d.State == inState);
        var rows = await query.OrderByDescending(d => d.Number).Take(limit + 1).ToListAsync(ct);
        return Results.Ok(new Page<WebhookDeliveryView>(rows.Take(limit).Select(d => d.ToView()).ToList(),
            rows.Count > limit ? rows[limit - 1].Number.ToString(CultureInfo.InvariantCulture) : null));
    }

    public static async Task<IResult> GetAsync(Guid id, long number, HttpContext http, SandboxDb db, CancellationToken ct)
    {
        if (!await ExistsAsync(db, id, http, ct)) return WebhookRoutes.NotFound();
        return await db.WebhookDeliveries.AsNoTracking().SingleOrDefaultAsync(d => d.EndpointId == id && d.Number == number, ct) is { } row ? Results.Ok(row.ToView()) : NotFound();
    }

    public static async Task<IResult> TestAsync(Guid id, HttpContext http, SandboxDb db, WebhookDispatch dispatch, TimeProvider time, CancellationToken ct)
    {
        await using var transaction = await db.BeginAsync(ct);
        if (await DeliveryQueue.LockAsync(db, id, http.User.ProjectId(), ct) is not { } endpoint) return WebhookRoutes.NotFound();
        if (endpoint.Disabled is not null) return ApiProblem.Of(409, "webhook_disabled", "Nothing is sent to an endpoint that is disabled; enable it first.");
        var delivery = DeliveryQueue.Test(endpoint, endpoint.UpdatedAt = time.GetUtcNow());
        db.WebhookDeliveries.Add(delivery);
        await db.SaveChangesAsync(ct);
        await transaction.CommitAsync(ct);
        await db.AfterCommitAsync(() => WakeAsync(dispatch));
        return Accepted(delivery);
    }

    public static async Task<IResult> RepeatAsync(Guid id, long number, HttpContext http, SandboxDb db, WebhookDispatch dispatch, TimeProvider time, CancellationToken ct)
    {
        await using var transaction = await db.BeginAsync(ct);
        if (await DeliveryQueue.LockAsync(db, id, http.User.ProjectId(), ct) is not { } endpoint) return WebhookRoutes.NotFound();
        if (await DeliveryQueue.RepeatAsync(db, endpoint, number, endpoint.UpdatedAt = time.GetUtcNow(), ct) is not { } delivery) return NotFound();
        await transaction.CommitAsync(ct);
        await db.AfterCommitAsync(() => WakeAsync(dispatch));
        return Accepted(delivery);
    }

    public static async Task<IResult> RepeatSinceAsync(Guid id, WebhookRedeliver? redeliver, HttpContext http, SandboxDb db, WebhookDispatch dispatch, TimeProvider time, CancellationToken ct)
    {
        if (redeliver?.Since is not { } since) return ApiProblem.Validation("since", "takes the time from which on events are delivered again");
        await using var transaction = await db.BeginAsync(ct);
        if (await DeliveryQueue.LockAsync(db, id, http.User.ProjectId(), ct) is not { } endpoint) return WebhookRoutes.NotFound();
        var count = await DeliveryQueue.RepeatSinceAsync(db, endpoint, since.ToUniversalTime(), endpoint.UpdatedAt = time.GetUtcNow(), ct);
        await transaction.CommitAsync(ct);
        await db.AfterCommitAsync(() => WakeAsync(dispatch));
        return Results.Json(new WebhookRedelivered(count), statusCode: 202);
    }

    public static Task WakeAsync(WebhookDispatch dispatch)
    {
        dispatch.Wake();
        return Task.CompletedTask;
    }

    private static Task<bool> ExistsAsync(SandboxDb db, Guid id, HttpContext http, CancellationToken ct)
    {
        var project = http.User.ProjectId();
        return db.WebhookEndpoints.AnyAsync(e => e.Id == id && e.ProjectId == project, ct);
    }

    private static IResult Accepted(WebhookDelivery delivery) => Results.Accepted($"/v1/webhooks/{delivery.EndpointId}/deliveries/{delivery.Number}", delivery.ToView());

    private static IResult NotFound() => ApiProblem.Of(404, "delivery_not_found", "The endpoint has no delivery of that number.");
}
