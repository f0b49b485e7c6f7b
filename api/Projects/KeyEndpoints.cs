using Api.Data;
using Api.Http;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Projects;

/// <summary>A project's API keys. A secret is shown when it is made and never again; a key that is gone, or has expired, is refused from the next request on.</summary>
public static class KeyEndpoints
{
    public static void MapKeys(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/v1/keys").WithTags("Keys");
        group.MapGet("/", List).Requires(Role.Admin).WithSummary("The project's keys, oldest first, without their secrets.").Produces<Page<KeyView>>().ProducesProblem(422);
        group.MapPost("/", (KeyCreate? create, HttpContext http, SandboxDb db, TimeProvider time, CancellationToken ct) => CreateAsync(http.User.ProjectId(), create, db, time, ct))
            .Requires(Role.Admin).WithSummary("Make a key. Its secret is shown here only.").Produces<KeyCreated>(201).ProducesProblem(400).ProducesProblem(409).ProducesProblem(422);
        group.MapGet("/{id:guid}", Get).Requires(Role.Admin).WithSummary("One key, without its secret.").Produces<KeyView>().ProducesProblem(404);
        group.MapPost("/{id:guid}/rotate", Rotate).Requires(Role.Admin).WithSummary("Give the key another secret, shown here only. The old one, and what was opened with it, is taken for overlapSeconds more.")
            .Produces<KeyCreated>().ProducesProblem(400).ProducesProblem(404).ProducesProblem(412).ProducesProblem(422);
        group.MapDelete("/{id:guid}", Delete).Requires(Role.Admin).WithSummary("End the key, and the sessions and connections that it opened.").Produces(204).ProducesProblem(404).ProducesProblem(409).ProducesProblem(412);
        routes.MapPost("/v1/projects/{id:guid}/keys", (Guid id, KeyCreate? create, SandboxDb db, TimeProvider time, CancellationToken ct) => CreateAsync(id, create, db, time, ct))
            .RequiresService(Role.Admin).WithTags("Projects").WithSummary("Make a key of another project: its first one, or one for members who have lost theirs.")
            .Produces<KeyCreated>(201).ProducesProblem(400).ProducesProblem(404).ProducesProblem(409).ProducesProblem(422);
    }

    private static async Task<IResult> List(HttpContext http, SandboxDb db, TimeProvider time, CancellationToken ct, int limit = 100, Guid? after = null)
    {
        if (limit is < 1 or > Paging.MaxLimit) return Paging.LimitProblem();
        var project = http.User.ProjectId();
        var rows = await db.ApiKeys.AsNoTracking().Where(k => k.ProjectId == project && (after == null || k.Id > after)).OrderBy(k => k.Id).Take(limit + 1).ToListAsync(ct);
        return Results.Ok(new Page<KeyView>(rows.Take(limit).Select(k => k.ToView(time.GetUtcNow())).ToList(), rows.Count > limit ? rows[limit - 1].Id.ToString() : null));
    }

    private static async Task<IResult> CreateAsync(Guid projectId, KeyCreate? create, SandboxDb db, TimeProvider time, CancellationToken ct)
    {
        if (create is null) return ApiProblem.Of(400, "invalid_request", "A JSON object is expected.");
        var now = time.GetUtcNow();
        if (ProjectRules.Check(create, now) is { Count: > 0 } errors) return ApiProblem.Validation(errors);
        await using var transaction = await db.BeginAsync(ct);
        if (await Quotas.LockAsync(db, projectId, ct) is null) return ProjectEndpoints.NotFound();
        if (await db.ApiKeys.CountAsync(k => k.ProjectId == projectId, ct) >= ProjectRules.MaxKeys)
            return ApiProblem.Of(409, "too_many_keys", $"The project has {ProjectRules.MaxKeys} keys, as many as it may; delete one first.");
        var (key, secret) = ApiKey.Create(projectId, create.Name!, create.Role!.Value, create.ExpiresAt?.ToUniversalTime(), now);
        db.ApiKeys.Add(key);
        await db.SaveChangesAsync(ct);
        await transaction.CommitAsync(ct);
        return Results.Created($"/v1/keys/{key.Id}", new KeyCreated(key.ToView(now), secret)).Tagged(key.Generation);
    }

    private static async Task<IResult> Get(Guid id, HttpContext http, SandboxDb db, TimeProvider time, CancellationToken ct) =>
        await FindAsync(id, http, db, ct) is { } key ? Results.Ok(key.ToView(time.GetUtcNow())).Tagged(key.Generation) : NotFound();

    private static async Task<IResult> Rotate(Guid id, KeyRotate? rotate, HttpContext http, SandboxDb db, TimeProvider time, CancellationToken ct)
    {
        if (rotate?.OverlapSeconds is < 0 or > ProjectRules.MaxOverlapSeconds) return ApiProblem.Validation("overlapSeconds", $"takes 0 to {ProjectRules.MaxOverlapSeconds}");
        if (await FindAsync(id, http, db, ct) is not { } key) return NotFound();
        if (IfMatch.Of(http).Problem(key.Generation) is { } failed) return failed;
        var now = time.GetUtcNow();
        var secret = key.Rotate(TimeSpan.FromSeconds(rotate?.OverlapSeconds ?? 0), now);
        // Whoever had the old secret may have signed in with it.
        foreach (var session in await db.Sessions.Where(s => s.KeyId == id && s.ExpiresAt > key.PreviousUntil).ToListAsync(ct)) session.ExpiresAt = key.PreviousUntil!.Value;
        await db.SaveChangesAsync(ct);
        return Results.Ok(new KeyCreated(key.ToView(now), secret)).Tagged(key.Generation);
    }

    private static async Task<IResult> Delete(Guid id, HttpContext http, SandboxDb db, CancellationToken ct)
    {
        await using var transaction = await db.BeginAsync(ct);
        // Two who delete each other's key at once wait here: one admin's key stays.
        await Quotas.LockAsync(db, http.User.ProjectId(), ct);
        if (await FindAsync(id, http, db, ct) is not { } key) return NotFound();
        if (IfMatch.Of(http).Problem(key.Generation) is { } failed) return failed;
        if (key is { Role: Role.Admin, ExpiresAt: null } && !await db.ApiKeys.AnyAsync(k => k.ProjectId == key.ProjectId && k.Id != id && k.Role == Role.Admin && k.ExpiresAt == null, ct))
            return ApiProblem.Of(409, "last_admin_key", "It is the project's last admin key that does not expire; make another one first.");
        db.ApiKeys.Remove(key);
        await db.SaveChangesAsync(ct);
        await transaction.CommitAsync(ct);
        return Results.NoContent();
    }

    private static Task<ApiKey?> FindAsync(Guid id, HttpContext http, SandboxDb db, CancellationToken ct)
    {
        var project = http.User.ProjectId();
        return db.ApiKeys.SingleOrDefaultAsync(k => k.Id == id && k.ProjectId == project, ct);
    }

    private static IResult NotFound() => ApiProblem.Of(404, "key_not_found", "There is no key with that id.");
}
