using Api.Data;
using Api.Http;
using Api.Projects;
using Microsoft.EntityFrameworkCore;

namespace Api.Sandboxes;

/// <summary>How far forward a project may put its sandboxes: whoever runs the service says, or one tenant would stand before all others.</summary>
public static class SandboxPriorities
{
    public static IResult? Refusal(Project project, int priority) => priority <= project.MaxPriority
        ? null
        : ApiProblem.Validation("priority", $"takes at most {project.MaxPriority} in this project (quotas.maxPriority), not {priority}");

    public static async Task<IResult?> RefusalAsync(SandboxDb db, Guid project, int priority, CancellationToken ct) =>
        priority <= 0 ? null : await db.Projects.AsNoTracking().SingleOrDefaultAsync(p => p.Id == project, ct) is { } of ? Refusal(of, priority) : ProjectEndpoints.NotFound();
}
