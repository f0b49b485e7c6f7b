using System.Text.Json.Nodes;
using Api.Data;
using Api.Http;
using Contracts;
using Microsoft.EntityFrameworkCore;
using Npgsql;

namespace Api.Projects;

/// <summary>Projects, for those who run the service, and each one's own.</summary>
public static class ProjectEndpoints
{
    public static void MapProjects(this IEndpointRouteBuilder routes)
    {
        routes.MapGet("/v1/project", Own).Requires(Role.Viewer).WithTags("Projects").WithSummary("The caller's project: its quotas and what of them is in use.").Produces<ProjectView>();
        var group = routes.MapGroup("/v1/projects").WithTags("Projects");
        group.MapGet("/", List).RequiresService(Role.Admin).WithSummary("Every project, oldest first.").Produces<Page<ProjectView>>().ProducesProblem(422);
        group.MapPost("/", Create).RequiresService(Role.Admin).WithSummary("Make a project. Its first key is made with POST /v1/projects/{id}/keys.")
            .Produces<ProjectView>(201).ProducesProblem(400).ProducesProblem(409).ProducesProblem(422);
        group.MapGet("/{id:guid}", Get).RequiresService(Role.Admin).WithSummary("One project.").Produces<ProjectView>().ProducesProblem(404);
        group.MapPatch("/{id:guid}", Patch).RequiresService(Role.Admin).WithSummary("Change quotas. A quota below what is in use ends nothing; it only lets nothing more in.")
            .Accepts<ProjectPatch>(MergePatch.ContentType, "application/json").Produces<ProjectView>().ProducesProblem(400).ProducesProblem(404).ProducesProblem(412).ProducesProblem(422).ProducesProblem(428);
        group.MapDelete("/{id:guid}", Delete).RequiresService(Role.Admin).WithSummary("Remove a project that has no sandboxes, with its keys and images.").Produces(204).ProducesProblem(404).ProducesProblem(409).ProducesProblem(412);
    }

    private static async Task<IResult> Own(HttpContext http, SandboxDb db, CancellationToken ct) => await Get(http.User.ProjectId(), db, ct);

    private static async Task<IResult> List(SandboxDb db, CancellationToken ct, int limit = 100, Guid? after = null)
    {
        if (limit is < 1 or > Paging.MaxLimit) return Paging.LimitProblem();
        var rows = await db.Projects.AsNoTracking().Where(p => after == null || p.Id > after).OrderBy(p => p.Id).Take(limit + 1).ToListAsync(ct);
        var views = new List<ProjectView>();
        foreach (var row in rows.Take(limit)) views.Add(await ViewAsync(db, row, ct));
        return Results.Ok(new Page<ProjectView>(views, rows.Count > limit ? rows[limit - 1].Id.ToString() : null));
    }

    private static async Task<IResult> Create(ProjectCreate? create, SandboxDb db, TimeProvider time, CancellationToken ct)
    {
        if (create is null) return ApiProblem.Of(400, "invalid_request", "A JSON object is expected.");
        if (ProjectRules.Check(create, out var quotas) is { Count: > 0 } errors) return ApiProblem.Validation(errors);
        if (await db.Projects.CountAsync(ct) >= ProjectRules.MaxProjects) return ApiProblem.Of(409, "too_many_projects", $"There are {ProjectRules.MaxProjects} projects, as many as there may be.");
        var now = time.GetUtcNow();
        var project = new Project { Id = Guid.CreateVersion7(now), Name = create.Name!, CreatedAt = now };
        project.Limit(quotas);
        db.Projects.Add(project);
        try
        {
            await db.SaveChangesAsync(ct);
        }
        catch (DbUpdateException e) when (e.InnerException is PostgresException { SqlState: PostgresErrorCodes.UniqueViolation })
        {
            return ApiProblem.Of(409, "name_taken", $"There is a project named {project.Name}.", new Dictionary<string, string[]> { ["name"] = ["is taken"] });
        }
        return Results.Created($"/v1/projects/{project.Id}", await ViewAsync(db, project, ct)).Tagged(project.Version);
    }

    private static async Task<IResult> Get(Guid id, SandboxDb db, CancellationToken ct) =>
        await db.Projects.AsNoTracking().SingleOrDefaultAsync(p => p.Id == id, ct) is { } project ? Results.Ok(await ViewAsync(db, project, ct)).Tagged(project.Version) : NotFound();

    private static async Task<IResult> Patch(Guid id, JsonObject? patch, HttpContext http, SandboxDb db, CancellationToken ct)
    {
        if (patch is null) return ApiProblem.Of(400, "invalid_request", "A JSON object is expected.");
        // The row before the audit log, in the order of those who create sandboxes: neither waits for the other for ever.
        await using var transaction = await db.BeginAsync(ct);
        if (await Quotas.LockAsync(db, id, ct) is null || await db.Projects.SingleOrDefaultAsync(p => p.Id == id, ct) is not { } project) return NotFound();
        var match = IfMatch.Of(http);
        if ((match.Missing ?? match.Problem(project.Version)) is { } failed) return failed;
        var quotas = MergePatch.Apply(new Changeable(project.Quotas), patch, http.JsonOptions()).Quotas;
        if (quotas is null || !Names(patch, "maxSandboxes")) return ApiProblem.Validation("quotas.maxSandboxes", $"takes 0 to {ProjectRules.MaxCount}");
        if (ProjectRules.Check(quotas) is { Count: > 0 } errors) return ApiProblem.Validation(errors);
        project.Limit(quotas);
        await db.SaveChangesAsync(ct);
        await transaction.CommitAsync(ct);
        return Results.Ok(await ViewAsync(db, project, ct)).Tagged(project.Version);
    }

    private sealed record Changeable(ProjectQuotas? Quotas);

    /// <summary>That the one limit that is always there is not taken away: its absence would read as 0.</summary>
    private static bool Names(JsonObject patch, string always) => patch["quotas"] is not JsonObject quotas || !quotas.ContainsKey(always) || quotas[always] is not null;

    private static async Task<IResult> Delete(Guid id, HttpContext http, SandboxDb db, CancellationToken ct)
    {
        await using var transaction = await db.BeginAsync(ct);
        if (await db.Projects.SingleOrDefaultAsync(p => p.Id == id, ct) is not { } project) return NotFound();
        if (IfMatch.Of(http).Problem(project.Version) is { } failed) return failed;
        if (project.Operates) return ApiProblem.Of(409, "operating_project", "That project runs the service.");
        // No sandbox is added while its row is held.
        if (await Quotas.LockAsync(db, id, ct) is null) return NotFound();
        if (await db.Sandboxes.AnyAsync(s => s.ProjectId == id, ct)) return ApiProblem.Of(409, "project_not_empty", "The project has sandboxes; delete them first.");
        db.RegisteredImages.RemoveRange(await db.RegisteredImages.Where(i => i.ProjectId == id).ToListAsync(ct));
        db.ApiKeys.RemoveRange(await db.ApiKeys.Where(k => k.ProjectId == id).ToListAsync(ct));
        db.Projects.Remove(project);
        await db.SaveChangesAsync(ct);
        await transaction.CommitAsync(ct);
        return Results.NoContent();
    }

    private static async Task<ProjectView> ViewAsync(SandboxDb db, Project project, CancellationToken ct) =>
        new(project.Id, project.Name, project.Operates, project.Quotas, await Quotas.ReadAsync(db, project.Id, ct), project.CreatedAt);

    public static IResult NotFound() => ApiProblem.Of(404, "project_not_found", "There is no project with that id.");
}
