using Api.Data;
using Api.Sandboxes;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Projects;

/// <summary>What of a project's quotas is used, and whether more fits. Sandboxes count whatever their phase; vCPUs, memory and devices of those that are at work or wait for it:
/// one that is Stopped or Failed asks again when it is started.
/// Assumes: whoever adds to the use holds the project's row (<see cref="LockAsync"/>), so that two do not both take the last place.</summary>
public static class Quotas
{
    /// <summary>What is asked for: a new sandbox counts as one, one that is started again as none.</summary>
    public readonly record struct Demand(int Sandboxes, int Vcpus, int MemoryMib, IReadOnlyList<AcceleratorCount> Accelerators, int Images = 0, long ImageBytes = 0);

    /// <summary>What is over the limit, each with a sentence. Pure: a table in the tests.</summary>
    public static Dictionary<string, string[]> Exceeded(ProjectQuotas quotas, ProjectUse use, Demand demand)
    {
        var over = new Dictionary<string, string[]>();
        void Check(string name, long? most, long used, long more, string what)
        {
            if (more > 0 && most is { } limit && used + more > limit) over[name] = [$"{used} of {limit} {what} are in use, and {more} more would be"];
        }
        Check("sandboxes", quotas.MaxSandboxes, use.Sandboxes, demand.Sandboxes, "sandboxes");
        Check("vcpus", quotas.MaxVcpus, use.Vcpus, demand.Vcpus, "vCPUs");
        Check("memoryMib", quotas.MaxMemoryMib, use.MemoryMib, demand.MemoryMib, "MiB of memory");
        Check("images", quotas.MaxImages, use.Images, demand.Images, "images");
        Check("imageBytes", quotas.MaxImageBytes, use.ImageBytes, demand.ImageBytes, "bytes of images");
        foreach (var wanted in demand.Accelerators)
            Check($"devices.{wanted.Class}", quotas.MaxDevices.TryGetValue(wanted.Class, out var most) ? most : null, use.Devices.GetValueOrDefault(wanted.Class), wanted.Count, $"devices of class {wanted.Class}");
        return over;
    }

    /// <summary>Until the transaction ends nobody else adds to the project's use; null: the project is gone. Rows of other tables may refer to it meanwhile.</summary>
    public static async Task<Project?> LockAsync(SandboxDb db, Guid project, CancellationToken ct) =>
        await db.Projects.FromSql($"SELECT *, xmin FROM projects WHERE id = {project} FOR NO KEY UPDATE").AsNoTracking().SingleOrDefaultAsync(ct);

    /// <summary>Null when it fits. The caller's transaction holds the project's row.</summary>
    public static async Task<IReadOnlyDictionary<string, string[]>?> ProblemAsync(SandboxDb db, Project project, Demand demand, CancellationToken ct)
    {
        // What has no limit is not counted: that would read every row of the project.
        var counts = project.MaxVcpus is not null || project.MaxMemoryMib is not null || demand.Accelerators.Any(a => project.MaxDevices.ContainsKey(a.Class));
        var use = counts
            ? await ReadAsync(db, project.Id, ct)
            : new ProjectUse(await db.Sandboxes.CountAsync(s => s.ProjectId == project.Id, ct), 0, 0, new Dictionary<string, int>());
        return Exceeded(project.Quotas, use, demand) is { Count: > 0 } over ? over : null;
    }

    /// <summary>As <see cref="ProblemAsync"/>, of one more registered image.</summary>
    public static async Task<IReadOnlyDictionary<string, string[]>?> ImageProblemAsync(SandboxDb db, Project project, long bytes, CancellationToken ct) =>
        Exceeded(project.Quotas, await WithImagesAsync(db, project.Id, new ProjectUse(0, 0, 0, new Dictionary<string, int>()), ct), new(0, 0, 0, [], 1, bytes)) is { Count: > 0 } over ? over : null;

    private static async Task<ProjectUse> WithImagesAsync(SandboxDb db, Guid project, ProjectUse use, CancellationToken ct)
    {
        var images = await db.RegisteredImages.Where(i => i.ProjectId == project).GroupBy(_ => 1).Select(g => new { Count = g.Count(), Bytes = g.Sum(i => i.SizeBytes) }).SingleOrDefaultAsync(ct);
        return use with { Images = images?.Count ?? 0, ImageBytes = images?.Bytes ?? 0 };
    }

    public static async Task<ProjectUse> ReadAsync(SandboxDb db, Guid project, CancellationToken ct)
    {
        var all = await db.Sandboxes.CountAsync(s => s.ProjectId == project, ct);
        var active = db.Sandboxes.AsNoTracking().Where(s => s.ProjectId == project && s.Phase != Phase.Stopped && s.Phase != Phase.Failed);
        var sums = await active.GroupBy(_ => 1).Select(g => new { Vcpus = g.Sum(s => s.Vcpus), Mib = g.Sum(s => (long)s.MemoryMib) }).SingleOrDefaultAsync(ct);
        var devices = await db.Database.SqlQuery<DevicesInUse>($"""
            SELECT a ->> 'class' AS class, sum((a ->> 'count')::int)::int AS count
            FROM sandboxes s, jsonb_array_elements(s.accelerators) a
            WHERE s.project_id = {project} AND s.phase NOT IN ('Stopped', 'Failed') GROUP BY 1
            """).ToListAsync(ct);
        return await WithImagesAsync(db, project, new ProjectUse(all, sums?.Vcpus ?? 0, sums?.Mib ?? 0, devices.ToDictionary(d => d.Class, d => d.Count)), ct);
    }

    private sealed record DevicesInUse(string Class, int Count);
}
