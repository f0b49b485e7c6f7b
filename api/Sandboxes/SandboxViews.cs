using Api.Data;
using Api.Devices;
using Api.Nodes;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Sandboxes;

/// <summary>Sandboxes as the API answers them: the row, its node's name and its devices, in two queries for any number of rows.</summary>
public static class SandboxViews
{
    public static async Task<List<SandboxView>> OfAsync(SandboxDb db, IReadOnlyList<Sandbox> rows, CancellationToken ct)
    {
        var nodeIds = rows.Where(r => r.NodeId is not null).Select(r => r.NodeId!.Value).Distinct().ToList();
        var nodes = nodeIds.Count == 0 ? [] : await db.Nodes.AsNoTracking().Where(n => nodeIds.Contains(n.Id)).ToDictionaryAsync(n => n.Id, ct);
        var withDevices = rows.Where(r => r.Accelerators.Count > 0 && r.NodeId is not null).Select(r => r.Id).ToList();
        var devices = withDevices.Count == 0
            ? []
            : await db.Devices.AsNoTracking().Where(d => d.SandboxId != null && withDevices.Contains(d.SandboxId.Value)).ToListAsync(ct);
        var bySandbox = devices.ToLookup(d => d.SandboxId!.Value);
        return rows.Select(r => Of(r, r.NodeId is { } id ? nodes.GetValueOrDefault(id) : null, bySandbox[r.Id])).ToList();
    }

    public static SandboxView Of(Sandbox s, Node? node, IEnumerable<Device> devices)
    {
        var assigned = devices.OrderBy(d => d.Address).Select(d => new AssignedDevice(d.Id, d.Class, d.Address, d.Origin)).ToList();
        return new SandboxView(
            s.Id, s.Name, s.Image, s.Vcpus, s.MemoryMib, s.Accelerators, s.Viommu,
            s.LeaseOnExpiry is { } end ? new LeaseView(s.LeaseExpiresAt, end, s.LeaseIdleTimeoutSeconds, IdleLease.EndsAt(s)) : null, s.Labels, s.UserData is not null, s.SshKeys.Count,
            s.Desired, s.Phase, s.Generation, s.Incarnation,
            s.NodeId, node?.Name, AccelerationOf(s, node), assigned, s.Verdict?.Origin ?? (assigned.Count > 0 ? assigned.Max(d => d.Origin) : s.Vmm == Vmm.Simulated ? Origin.Simulated : null),
            s.Conditions, s.Phases, s.Failure, s.Verdict, s.Guest, s.Probe, s.ExecAt, s.GuestReadyAt, s.CreatedAt, s.UpdatedAt, s.Vmm, s.WantedNode, s.FaultStorm, s.Priority, s.Rules, s.PreemptAt,
            s.Restart is { } restart ? new(restart.Policy, restart.MaxRestarts, restart.BackoffSeconds, s.RestartCount, s.RestartAt) : null, s.LastActivityAt, s.HugePages, s.ImageId);
    }

    /// <summary>A simulated machine runs no guest, whatever its node could run one by.</summary>
    private static Acceleration? AccelerationOf(Sandbox s, Node? node) => node is null ? null : s.Vmm == Vmm.Simulated ? Acceleration.None : node.Facts?.Acceleration;
}
