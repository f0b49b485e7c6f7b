using System.Linq.Expressions;
using Api.Data;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Devices;

/// <summary>Devices as the API answers them: the row, its node's name, and its holder for the holder's own project.</summary>
public static class DeviceViews
{
    /// <summary>Not those that vanished and were released: nobody has anything to do with them.</summary>
    public static readonly Expression<Func<Device, bool>> Shown = d => d.Present || d.SandboxId != null || d.Quarantine != null;

    /// <summary>The first rows by id.</summary>
    public static async Task<List<DeviceView>> ReadAsync(IQueryable<Device> devices, SandboxDb db, Guid project, int most, CancellationToken ct)
    {
        var rows = await (
            from d in devices
            join n in db.Nodes on d.NodeId equals n.Id
            join s in db.Sandboxes on d.SandboxId equals s.Id into held
            from s in held.DefaultIfEmpty()
            orderby d.Id
            select new { d, Node = n.Name, Project = (Guid?)s.ProjectId, Sandbox = s.Name }).Take(most).ToListAsync(ct);
        return rows.Select(r => new DeviceView(
            r.d.Id, r.d.NodeId, r.Node, r.d.Address, r.d.Class, r.d.VendorId, r.d.DeviceId, r.d.Description, r.d.Origin, r.d.Phase,
            r.Project == project ? r.d.SandboxId : null, r.Project == project ? r.Sandbox : null,
            // What the node found comes first: only the node can say that it is over.
            r.d.Quarantine ?? r.d.OperatorQuarantine, r.d.Verdict, r.d.Viommus, r.d.FitsKvmtool)).ToList();
    }
}
