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
        routes.MapGet("/v1/devices", ListAsync).RequiresService(Role.Viewer).WithTags("Devices").WithSummary("Every assignable function of every node, its origin and its SVA verdict.")
            .Produces<Page<DeviceView>>().ProducesProblem(422);
        routes.MapPost("/v1/devices/{id:guid}/quarantine", (Guid id, DeviceQuarantine? quarantine, HttpContext http, DeviceQuarantines quarantines, CancellationToken ct) =>
                quarantines.QuarantineAsync(id, quarantine?.Message, http.User, ct))
            .RequiresService(Role.Admin).WithTags("Devices").WithSummary("Hand it out no more: at once when it is free, else after its tenancy; its guest goes on.")
            .Produces<DeviceView>().ProducesProblem(404).ProducesProblem(422);
        routes.MapPost("/v1/devices/{id:guid}/release", (Guid id, HttpContext http, DeviceQuarantines quarantines, CancellationToken ct) => quarantines.ReleaseAsync(id, http.User, ct))
            .RequiresService(Role.Admin).WithTags("Devices").WithSummary("End a quarantine. One that the node set itself ends once the node has cleaned the device again.")
            .Produces<DeviceView>().ProducesProblem(404).ProducesProblem(409);
        routes.MapGet("/v1/device-classes", ClassesAsync).Requires(Role.Viewer).WithTags("Devices").WithSummary("What a sandbox may ask for, and how many could be handed out now: available, on a node that is Ready.");
    }

    private static async Task<IResult> ListAsync(HttpContext http, SandboxDb db, CancellationToken ct, int limit = Paging.MaxLimit, Guid? after = null)
    {
        if (limit is < 1 or > Paging.MaxLimit) return Paging.LimitProblem();
        var rows = await DeviceViews.ReadAsync(
            db.Devices.AsNoTracking().Where(DeviceViews.Shown).Where(d => after == null || d.Id > after), db, http.User.ProjectId(), limit + 1, ct);
        return Results.Ok(new Page<DeviceView>(rows.Take(limit).ToList(), rows.Count > limit ? rows[limit - 1].Id.ToString() : null));
    }

    private static async Task<Page<DeviceClassView>> ClassesAsync(SandboxDb db, CancellationToken ct)
    {
        var devices = await (
            from d in db.Devices.AsNoTracking()
            join n in db.Nodes on d.NodeId equals n.Id
            where d.Present
            group new { d.Description, Free = n.Phase == NodePhase.Ready && d.Phase == DevicePhase.Available && d.SandboxId == null } by new { d.Class, d.Origin } into g
            select new { g.Key.Class, g.Key.Origin, Description = g.Min(d => d.Description), Total = g.Count(), Free = g.Count(d => d.Free) }).ToListAsync(ct);
        return new Page<DeviceClassView>(devices.OrderBy(d => (d.Class, d.Origin)).Select(d => new DeviceClassView(
            d.Class, Descriptions.GetValueOrDefault(d.Class) ?? d.Description!, d.Origin, d.Total, d.Free)).ToList(), null);
    }
}
