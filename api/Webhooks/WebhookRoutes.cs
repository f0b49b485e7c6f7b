using Api.Data;
using Api.Events;
using Api.Http;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Webhooks;

public static class WebhookRoutes
{
    public static void MapWebhooks(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/v1/webhooks").WithTags("Webhooks");
        group.MapPost("/", CreateAsync).Requires(Role.Admin).WithSummary("Have events posted to a url, by Standard Webhooks. The secret is shown once.").Produces<WebhookCreated>(201).ProducesProblem(400).ProducesProblem(409).ProducesProblem(422);
        group.MapGet("/", ListAsync).Requires(Role.Operator).WithSummary("The project's endpoints, oldest first.").Produces<Page<WebhookView>>();
        group.MapGet("/{id:guid}", GetAsync).Requires(Role.Operator).WithSummary("One endpoint.").Produces<WebhookView>().ProducesProblem(404);
        group.MapPatch("/{id:guid}", PatchAsync).Requires(Role.Admin).WithSummary("Change url, description, filters; disable, or enable: deliveries then go on where they ended.").Produces<WebhookView>().ProducesProblem(400).ProducesProblem(404).ProducesProblem(422);
        group.MapDelete("/{id:guid}", DeleteAsync).Requires(Role.Admin).WithSummary("Remove the endpoint and its deliveries.").Produces(204).ProducesProblem(404);
        group.MapPost("/{id:guid}/rotate-secret", RotateAsync).Requires(Role.Admin).WithSummary("Another secret; for a while deliveries are signed with both.").Produces<WebhookSecretView>().ProducesProblem(404).ProducesProblem(422);
        group.MapPost("/{id:guid}/test", DeliveryRoutes.TestAsync).Requires(Role.Operator).WithSummary("Send a webhook.test; follow its delivery.").Produces<WebhookDeliveryView>(202).ProducesProblem(404).ProducesProblem(409);
        group.MapPost("/{id:guid}/redeliver", DeliveryRoutes.RepeatSinceAsync).Requires(Role.Operator).WithSummary("Deliver every event since a time again.").Produces<WebhookRedelivered>(202).ProducesProblem(404).ProducesProblem(422);
        group.MapGet("/{id:guid}/deliveries", DeliveryRoutes.ListAsync).Requires(Role.Operator).WithSummary("The endpoint's deliveries, newest first; filter by state.").Produces<Page<WebhookDeliveryView>>().ProducesProblem(404).ProducesProblem(422);
        group.MapGet("/{id:guid}/deliveries/{number:long}", DeliveryRoutes.GetAsync).Requires(Role.Operator).WithSummary("One delivery.").Produces<WebhookDeliveryView>().ProducesProblem(404);
        group.MapPost("/{id:guid}/deliveries/{number:long}/redeliver", DeliveryRoutes.RepeatAsync).Requires(Role.Operator).WithSummary("Deliver once more, from the first attempt.").Produces<WebhookDeliveryView>(202).ProducesProblem(404);
    }

    public static IResult NotFound() => ApiProblem.Of(404, "webhook_not_found", "There is no webhook endpoint with that id.");

    private static async Task<IResult> CreateAsync(WebhookCreate? create, HttpContext http, SandboxDb db, WebhookSettings settings, ProtectedSecrets secrets, TimeProvider time, CancellationToken ct)
    {
        if (create is null) return ApiProblem.Of(400, "invalid_request", "A JSON object is expected.");
        if (WebhookValidation.Check(create, settings) is { Count: > 0 } errors) return ApiProblem.Validation(errors);
        var (project, now, secret) = (http.User.ProjectId(), time.GetUtcNow(), create.Secret ?? WebhookSecret.Create());
        await using var transaction = await db.BeginAsync(ct);
        // Creates of a project wait here for each other, so that its limit holds.
        await db.Database.ExecuteSqlAsync($"SELECT pg_advisory_xact_lock(hashtextextended({$"webhooks {project}"}, 0))", ct);
        if (await db.WebhookEndpoints.CountAsync(e => e.ProjectId == project, ct) >= WebhookSettings.MaxEndpoints)
            return ApiProblem.Of(409, "too_many_webhooks", $"The project has its {WebhookSettings.MaxEndpoints} webhook endpoints; delete one first.");
        var endpoint = new WebhookEndpoint
        {
            Id = Guid.CreateVersion7(now),
            ProjectId = project,
            Url = create.Url!,
            Description = create.Description,
            Types = create.Types?.ToList() ?? [],
            Labels = create.Labels?.ToDictionary() ?? [],
            ProtectedSecret = secrets.Protect(secret),
            Disabled = create.Enabled is false ? WebhookReasons.Failure(WebhookReasons.ByUser, now) : null,
            Cursor = await EventReading.LastNumberAsync(db, project, ct),
            CreatedAt = now,
            UpdatedAt = now,
        };
        db.WebhookEndpoints.Add(endpoint);
        await db.SaveChangesAsync(ct);
        await transaction.CommitAsync(ct);
        return Results.Created($"/v1/webhooks/{endpoint.Id}", new WebhookCreated(endpoint.ToView(now), secret));
    }

    private static async Task<IResult> ListAsync(HttpContext http, SandboxDb db, TimeProvider time, CancellationToken ct)
    {
        var project = http.User.ProjectId();
        var rows = await db.WebhookEndpoints.AsNoTracking().Where(e => e.ProjectId == project).OrderBy(e => e.Id).ToListAsync(ct);
        return Results.Ok(new Page<WebhookView>(rows.ConvertAll(e => e.ToView(time.GetUtcNow())), null));
    }

    private static async Task<IResult> GetAsync(Guid id, HttpContext http, SandboxDb db, TimeProvider time, CancellationToken ct)
    {
        var project = http.User.ProjectId();
        return await db.WebhookEndpoints.AsNoTracking().SingleOrDefaultAsync(e => e.Id == id && e.ProjectId == project, ct) is { } row ? Results.Ok(row.ToView(time.GetUtcNow())) : NotFound();
    }

    private static async Task<IResult> PatchAsync(
        Guid id, WebhookPatch? patch, HttpContext http, SandboxDb db, WebhookSettings settings, WebhookFanout fanout, WebhookDispatch dispatch, TimeProvider time, CancellationToken ct)
    {
        if (patch is null) return ApiProblem.Of(400, "invalid_request", "A JSON object is expected.");
        if (WebhookValidation.Check(patch, settings) is { Count: > 0 } errors) return ApiProblem.Validation(errors);
        var now = time.GetUtcNow();
        await using var transaction = await db.BeginAsync(ct);
        if (await DeliveryQueue.LockAsync(db, id, http.User.ProjectId(), ct) is not { } endpoint) return NotFound();
        endpoint.Url = patch.Url ?? endpoint.Url;
        endpoint.Description = patch.Description ?? endpoint.Description;
        endpoint.Types = patch.Types?.ToList() ?? endpoint.Types;
        endpoint.Labels = patch.Labels?.ToDictionary() ?? endpoint.Labels;
        endpoint.UpdatedAt = now;
        if (patch.Enabled is false) endpoint.Disabled ??= WebhookReasons.Failure(WebhookReasons.ByUser, now);
        if (patch.Enabled is true)
        {
            (endpoint.Disabled, endpoint.FailingSince, endpoint.PausedUntil) = (null, null, null);
            await DeliveryQueue.HurryAsync(db, endpoint, now, ct);
        }
        await db.SaveChangesAsync(ct);
        await transaction.CommitAsync(ct);
        await db.AfterCommitAsync(() =>
        {
            fanout.Wake();
            return DeliveryRoutes.WakeAsync(dispatch);
        });
        return Results.Ok(endpoint.ToView(now));
    }

    private static async Task<IResult> DeleteAsync(Guid id, HttpContext http, SandboxDb db, CancellationToken ct)
    {
        var project = http.User.ProjectId();
        if (await db.WebhookEndpoints.SingleOrDefaultAsync(e => e.Id == id && e.ProjectId == project, ct) is not { } endpoint) return NotFound();
        db.WebhookEndpoints.Remove(endpoint);
        try
        {
            await db.SaveChangesAsync(ct);
        }
        catch (DbUpdateConcurrencyException)
        {
            return NotFound();
        }
        return Results.NoContent();
    }

    private static async Task<IResult> RotateAsync(Guid id, WebhookRotate? rotate, HttpContext http, SandboxDb db, ProtectedSecrets secrets, TimeProvider time, CancellationToken ct)
    {
        if (WebhookValidation.Check(rotate) is { Count: > 0 } errors) return ApiProblem.Validation(errors);
        var (now, secret) = (time.GetUtcNow(), rotate?.Secret ?? WebhookSecret.Create());
        var overlap = TimeSpan.FromSeconds(rotate?.OverlapSeconds ?? WebhookValidation.DefaultOverlapSeconds);
        await using var transaction = await db.BeginAsync(ct);
        if (await DeliveryQueue.LockAsync(db, id, http.User.ProjectId(), ct) is not { } endpoint) return NotFound();
        endpoint.ProtectedPreviousSecret = overlap > TimeSpan.Zero ? endpoint.ProtectedSecret : null;
        endpoint.PreviousSecretUntil = overlap > TimeSpan.Zero ? now + overlap : null;
        (endpoint.ProtectedSecret, endpoint.UpdatedAt) = (secrets.Protect(secret), now);
        await db.SaveChangesAsync(ct);
        await transaction.CommitAsync(ct);
        return Results.Ok(new WebhookSecretView(secret, endpoint.PreviousSecretUntil));
    }
}
