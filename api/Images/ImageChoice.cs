using Api.Data;
using Api.Sandboxes;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Images;

/// <summary>Which image a name means: the project's own registered one, else a shared one, else a folder of nodes. It is settled when the sandbox is asked for.</summary>
public static class ImageChoice
{
    /// <summary>The registered image's id, null for a folder; not found: there is none of any kind.</summary>
    public static async Task<(bool Found, Guid? Registered)> FindAsync(SandboxDb db, Guid project, string name, CancellationToken ct)
    {
        var registered = await db.RegisteredImages.AsNoTracking().Where(i => i.Name == name && (i.ProjectId == project || i.ProjectId == null)).OrderBy(i => i.ProjectId == null).Select(i => (Guid?)i.Id).FirstOrDefaultAsync(ct);
        return registered is not null ? (true, registered) : (await db.NodeImages.AnyAsync(i => i.Name == name, ct), null);
    }

    /// <summary>Of registered images, what placement asks for.</summary>
    public static async Task<Dictionary<Guid, Placement.Image>> ReadAsync(SandboxDb db, IEnumerable<Guid?> ids, CancellationToken ct)
    {
        var asked = ids.OfType<Guid>().Distinct().ToList();
        return asked.Count == 0 ? [] : (await db.RegisteredImages.AsNoTracking().Where(i => asked.Contains(i.Id)).Select(i => new { i.Id, i.Phase, i.Failure, i.DiskFormat, i.Files }).ToListAsync(ct))
            .ToDictionary(i => i.Id, i => new Placement.Image(i.Id, i.Phase, i.DiskFormat is not null, i.Phase == ImagePhase.Failed && i.Failure is { } f ? $"{f.Reason}: {f.Message} {f.Remedy}" : null) { Files = i.Files.ConvertAll(f => new Placement.ImageFile(f.Sha256, f.Bytes)) });
    }

    /// <summary>The phases of the images that sandboxes wait with: another text than before is a reason to look at all of them again.</summary>
    public static async Task<string> DescribeAsync(SandboxDb db, IQueryable<Sandbox> waiting, CancellationToken ct) =>
        string.Join(';', (await (from s in waiting join i in db.RegisteredImages on s.ImageId equals i.Id select new { i.Id, i.Phase }).Distinct().ToListAsync(ct)).OrderBy(i => i.Id).Select(i => $"{i.Id}:{i.Phase}"));
}
