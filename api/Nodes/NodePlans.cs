using System.Security.Cryptography;
using System.Text.Json;
using Api.Dashboard;
using Api.Data;
using Contracts;
using Microsoft.AspNetCore.SignalR;
using Microsoft.EntityFrameworkCore;

namespace Api.Nodes;

/// <summary>What a node should run, computed from the rows, and the nudge that it has changed. A lost nudge costs one period.</summary>
public sealed class NodePlans(IHubContext<NodeHub> hub, ConsoleRelay consoles)
{
    public static string Group(Guid nodeId) => $"node:{nodeId:N}";

    public Task ChangedAsync(Guid nodeId, CancellationToken ct) => hub.Clients.Group(Group(nodeId)).SendAsync(NodeProtocol.PlanChanged, ct);

    public Task TypeAsync(Guid nodeId, ConsoleKeys keys, CancellationToken ct) => hub.Clients.Group(Group(nodeId)).SendAsync(NodeProtocol.ConsoleInput, keys, ct);

    /// <summary>The plan from the rows as they are now; stores a new revision when it is another plan than the last.</summary>
    public async Task<NodePlan> ComputeAsync(SandboxDb db, Node node, CancellationToken ct)
    {
        var nodeId = node.Id;
        // Sandboxes before devices: whoever is in the plan has every device that its placement gave it.
        var rows = await db.Sandboxes.AsNoTracking().Where(s => s.NodeId == nodeId).OrderBy(s => s.Id).ToListAsync(ct);
        var devices = (await db.Devices.AsNoTracking().Where(d => d.NodeId == nodeId && d.SandboxId != null).ToListAsync(ct)).ToLookup(d => d.SandboxId!.Value);
        var lifted = await db.Devices.AsNoTracking().Where(d => d.NodeId == nodeId && d.LiftQuarantineOf != null).OrderBy(d => d.Id).ToListAsync(ct);
        var registered = rows.Select(s => s.ImageId).OfType<Guid>().Distinct().ToList();
        var images = registered.Count == 0 ? [] : await db.RegisteredImages.AsNoTracking().Where(i => registered.Contains(i.Id)).ToDictionaryAsync(i => i.Id, i => i.ToPlan(), ct);
        // Whose image is gone meanwhile is gone itself.
        rows.RemoveAll(s => s.ImageId is { } gone && !images.ContainsKey(gone));
        var planned = rows.Select(s => new PlannedSandbox(
            s.Id, s.Name, s.Incarnation, Desired(s), s.Launched,
            new SandboxSpec(IsUnderstood(node, s) ? s.Image : "needs protocol 3.2", s.Vcpus, s.MemoryMib, s.Viommu, devices[s.Id].Select(d => d.Address).Order(StringComparer.Ordinal).ToList(), s.UserData, s.SshKeys, s.Vmm, s.HugePages, s.ImageId is { } image ? images[image] : null),
            s.FaultStorm, s.Restart is { Policy: not RestartWhen.Never }));
        var plan = new NodePlan(0, planned.ToList(), consoles.WatchedAmong(rows.Select(r => r.Id)), lifted.Select(d => new PlannedDevice(d.Address, d.LiftQuarantineOf!.Value)).ToList(),
            NodeProtocol.Version, NodeProtocol.Minor, node.RotationWantedAt is not null);
        var digest = SHA256.HashData(JsonSerializer.SerializeToUtf8Bytes(plan, NodeJson.Default.NodePlan));
        if (node.PlanSha256 is null || !node.PlanSha256.AsSpan().SequenceEqual(digest))
        {
            node.PlanSha256 = digest;
            node.PlanRevision++;
            await db.SaveChangesAsync(ct);
        }
        return plan with { Revision = node.PlanRevision };
    }

    // A worker that was set back since would start a folder's image of that name, or go without huge pages: there is no folder of the name that it is told instead (ImageMissing).
    private static bool IsUnderstood(Node node, Sandboxes.Sandbox s) => node.ProtocolMinor >= NodeProtocol.RegisteredImages || (s.ImageId is null && s.HugePages == HugePageSize.None);

    // A pending sandbox still names the node of its last guest, whose files stay until it is placed again: there it must not run.
    private static DesiredState Desired(Sandboxes.Sandbox s) =>
        s.Desired == DesiredState.Running && s.Phase == Phase.Pending ? DesiredState.Stopped : s.Desired;
}
