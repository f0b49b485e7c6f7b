using System.Security.Claims;
using Api.Data;
using Api.Http;
using Api.Images;
using Api.Projects;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Sandboxes;

/// <summary>What refuses a sandbox that is asked for: one path for the one that is made and the one that is only tried, so that a trial promises nothing that a creation refuses.</summary>
public static class SandboxAdmission
{
    /// <summary>The sandbox that the request means, stored nowhere yet; or why there can be none such, whatever the project has.</summary>
    public static async Task<(Sandbox? Sandbox, IResult? Refusal)> ReadAsync(SandboxCreate? create, ClaimsPrincipal user, SandboxDb db, DateTimeOffset now, CancellationToken ct)
    {
        if (create is null) return (null, ApiProblem.Of(400, "invalid_request", "A JSON object is expected."));
        if (SandboxValidation.Check(create) is { Count: > 0 } errors) return (null, ApiProblem.Validation(errors));
        if (StormPolicies.Refusal(create.FaultStorm, user) is { } storm) return (null, storm);
        var (found, registered) = await ImageChoice.FindAsync(db, user.ProjectId(), create.Image!, ct);
        if (!found) return (null, await ImageNotFoundAsync(db, create.Image!, ct));
        return await ClassRefusalAsync(db, create, ct) is { } unknown ? (null, unknown) : (SandboxEndpoints.From(create, user.ProjectId(), registered, now), null);
    }

    /// <summary>By what the project may have, and has. Whoever makes it holds the project's row.</summary>
    public static async Task<IResult?> RefusalAsync(SandboxDb db, Project project, Sandbox sandbox, CancellationToken ct) =>
        SandboxPriorities.Refusal(project, sandbox.Priority)
        ?? (await Quotas.ProblemAsync(db, project, new(1, sandbox.Vcpus, sandbox.MemoryMib, sandbox.Accelerators), ct) is { } over ? ApiProblem.QuotaExceeded(over) : null);

    public static IResult NameTaken(string name) => ApiProblem.Of(409, "name_taken", $"The project already has a sandbox named {name}.", new Dictionary<string, string[]> { ["name"] = ["is taken"] });

    public static IResult ImageNotFound(string name) => ApiProblem.Of(422, "image_not_found", $"No image named {name} is registered, and no node has one.", new Dictionary<string, string[]> { ["image"] = ["is not known (GET /v1/images)"] });

    private static async Task<IResult> ImageNotFoundAsync(SandboxDb db, string name, CancellationToken ct) => await NodesKnownAsync(db, ct)
        ? ImageNotFound(name)
        : ApiProblem.Of(422, "image_not_found", $"No node has joined yet whose images could be used, and no image named {name} is registered.", new Dictionary<string, string[]> { ["image"] = ["is not known: no node has joined yet"] });

    private static async Task<IResult?> ClassRefusalAsync(SandboxDb db, SandboxCreate create, CancellationToken ct)
    {
        var classes = (create.Accelerators ?? []).Select(a => a.Class!).ToList();
        if (classes.Count == 0) return null;
        var known = await db.Devices.Where(d => classes.Contains(d.Class)).Select(d => d.Class).Distinct().ToListAsync(ct);
        if (classes.Except(known).FirstOrDefault() is not { } unknown) return null;
        var joined = await NodesKnownAsync(db, ct);
        return ApiProblem.Of(422, "device_class_not_found", joined ? $"No node has devices of class {unknown}." : $"No node has joined yet, so that there are no devices of class {unknown}.",
            new Dictionary<string, string[]> { [$"accelerators[{classes.IndexOf(unknown)}].class"] = [joined ? "is on no node (GET /v1/device-classes)" : "is on no node: no node has joined yet"] });
    }

    /// <summary>Whether any node has told what it has.</summary>
    private static Task<bool> NodesKnownAsync(SandboxDb db, CancellationToken ct) => db.Nodes.AnyAsync(n => n.Facts != null, ct);
}
