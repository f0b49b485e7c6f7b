using Api.Data;
using Api.Http;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Devices;

public static class DeviceEndpoints
{
    // The name of a class says enough only to those who know the device.
    private static readonly Dictionary<string, string> Descriptions = new()
    {
        ["edu"] = "QEMU's teaching device: a DMA engine without PASID, ATS or PRI.",
        ["nvme"] = "An NVMe controller with a scratch namespace that lives as long as the tenancy.",
    };

    public static void MapDevices(this IEndpointRouteBuilder routes)
    {
        routes.MapGet("/v1/devices", ListAsync).WithTags("Devices").WithSummary("Every assignable function of every node, its origin and its SVA verdict.")
            .Produces<Page<DeviceView>>().ProducesProblem(422);
        routes.MapGet("/v1/device-classes", ClassesAsync).WithTags("Devices").WithSummary("What a sandbox may ask for, and how many are free now.");
    }

    private static async Task<IResult> ListAsync(HttpContext http, SandboxDb db, CancellationToken ct, int limit = Paging.MaxLimit, Guid? after = null)
    {
        if (limit is < 1 or > Paging.MaxLimit) return Paging.LimitProblem();
        var project = http.User.ProjectId();
        var rows = await (
            from d in db.Devices.AsNoTracking()
            join n in db.Nodes on d.NodeId equals n.Id
            join s in db.Sandboxes on d.SandboxId equals s.Id into held
            from s in held.DefaultIfEmpty()
            where (d.Present || d.SandboxId != null) && (after == null || d.Id > after)
            orderby d.Id
            select new { d, Node = n.Name, Sandbox = s }).Take(limit + 1).ToListAsync(ct);
        return Results.Ok(new Page<DeviceView>(rows.Take(limit).Select(r => new DeviceView(
            r.d.Id, r.d.NodeId, r.Node, r.d.Address, r.d.Class, r.d.VendorId, r.d.DeviceId, r.d.Description, r.d.Origin, r.d.Phase,
            r.Sandbox?.ProjectId == project ? r.d.SandboxId : null, r.Sandbox?.ProjectId == project ? r.Sandbox.Name : null, r.d.Quarantine, r.d.Verdict, [], false)).ToList(),
            rows.Count > limit ? rows[limit - 1].d.Id.ToString() : null));
    }

    private static async Task<Page<DeviceClassView>> ClassesAsync(SandboxDb db, CancellationToken ct)
    {
        var devices = await db.Devices.AsNoTracking().Where(d => d.Present).Select(d => new { d.Class, d.Origin, d.Phase, d.SandboxId, d.Description }).ToListAsync(ct);
        return new Page<DeviceClassView>(devices.GroupBy(d => (d.Class, d.Origin)).OrderBy(g => g.Key).Select(g => new DeviceClassView(
            g.Key.Class, Descriptions.GetValueOrDefault(g.Key.Class) ?? g.First().Description, g.Key.Origin,
            g.Count(), g.Count(d => d.Phase == DevicePhase.Available && d.SandboxId == null))).ToList(), null);
    }
}
