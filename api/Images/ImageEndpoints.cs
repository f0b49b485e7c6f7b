using Api.Data;
using Api.Http;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Images;

public static class ImageEndpoints
{
    public static void MapImages(this IEndpointRouteBuilder routes) =>
        routes.MapGet("/v1/images", ListAsync).Requires(Role.Viewer).WithTags("Images").WithSummary("The images that nodes have on their disks.");

    private static async Task<Page<ImageView>> ListAsync(HttpContext http, SandboxDb db, CancellationToken ct)
    {
        var rows = await (from i in db.NodeImages.AsNoTracking() join n in db.Nodes on i.NodeId equals n.Id orderby i.Name, n.Name select new { i, n.Name }).ToListAsync(ct);
        return new Page<ImageView>(rows.GroupBy(r => (r.i.Name, r.i.Digest)).Select(g => new ImageView(
            g.Key.Name, g.Key.Digest, g.First().i.Architecture, g.First().i.Kernel, g.First().i.HasAgent, g.First().i.SizeBytes,
            http.User.Operates() ? g.Select(r => r.Name).ToList() : null)).ToList(), null);
    }
}
