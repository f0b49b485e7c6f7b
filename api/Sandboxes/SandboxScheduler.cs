using Api.Data;
using Api.Events;
using Api.Nodes;
using Api.Reconciliation;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Sandboxes;

/// <summary>Gives pending sandboxes a node and devices.
/// Guarantees: a device is given to one sandbox only (one nullable column, xmin on both rows); what is refused is stored with its reason.
/// Assumes: several replicas may run it at once; the loser of a race changes nothing and runs again. On a crash: each sandbox is one transaction.</summary>
public sealed class SandboxScheduler(IServiceScopeFactory scopes, NodePlans plans, TimeProvider time, ILogger<SandboxScheduler> log)
    : Reconciler(time, TimeSpan.FromSeconds(5), log)
{
    private const int BatchRows = 200;
    private readonly TimeProvider clock = time;
    private string lastFleet = "";

    protected override async Task PassAsync(CancellationToken ct)
    {
        await using var scope = scopes.CreateAsyncScope();
        var db = scope.ServiceProvider.GetRequiredService<SandboxDb>();
        var waiting = db.Sandboxes.Where(s => s.Phase == Phase.Pending && s.Desired == DesiredState.Running);
        if (!await waiting.AnyAsync(ct)) return;
        var fleet = await ReadFleetAsync(db, ct);

        // Those refused before are tried again only when the fleet has changed: a long queue costs nothing while nothing moves.
        var picture = Describe(fleet);
        var onlyNew = picture == lastFleet;
        var after = Guid.Empty;
        var changedNodes = new HashSet<Guid>();
        var interrupted = false;
        while (true)
        {
            db.ChangeTracker.Clear();
            var batch = await waiting.Where(s => s.Id > after && (!onlyNew || s.RefusedReason == null)).OrderBy(s => s.Id).Take(BatchRows).ToListAsync(ct);
            foreach (var sandbox in batch)
            {
                try
                {
                    if (await PlaceAsync(db, sandbox, fleet, ct) is not { } node) continue;
                    changedNodes.Add(node);
                    await plans.ChangedAsync(node, ct);
                }
                catch (DbUpdateConcurrencyException)
                {
                    log.LogInformation("Sandbox {SandboxId} or a device changed meanwhile; placing it again", sandbox.Id);
                    interrupted = true;
                    Wake();
                    db.ChangeTracker.Clear();
                    fleet = await ReadFleetAsync(db, ct);
                    break;
                }
            }
            if (batch.Count < BatchRows) break;
            after = batch[^1].Id;
        }
        lastFleet = changedNodes.Count == 0 && !interrupted ? picture : "";
    }

    /// <summary>One sandbox, one transaction. Returns the node it went to.</summary>
    private async Task<Guid?> PlaceAsync(SandboxDb db, Sandbox sandbox, List<Placement.NodePicture> fleet, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        switch (Placement.Choose(RequestOf(sandbox), fleet))
        {
            case Placement.Placed placed:
                var ids = placed.Devices.Select(d => d.Id).ToList();
                foreach (var device in await db.Devices.Where(d => ids.Contains(d.Id) || d.SandboxId == sandbox.Id).ToListAsync(ct))
                {
                    if (device.SandboxId == sandbox.Id)
                    {
                        // Of its last guest, and not yet clean.
                        device.SandboxId = null;
                        device.Phase = DevicePhase.Cleaning;
                        continue;
                    }
                    if (device.SandboxId is not null || device.Phase != DevicePhase.Available) throw new DbUpdateConcurrencyException($"device {device.Id} was taken");
                    device.SandboxId = sandbox.Id;
                    device.Phase = DevicePhase.Assigned;
                }
                sandbox.ForgetGuest();
                sandbox.NodeId = placed.Node.Id;
                sandbox.Incarnation++;
                sandbox.Set(new Condition(ConditionType.Placed, ConditionStatus.True, "Placed", $"Placed on {placed.Node.Name}.", now));
                sandbox.Enter(Phase.Scheduled, now);
                db.Events.Add(Event.Of(sandbox, EventType.SandboxPhase, "Placed", $"{sandbox.Name} was placed on {placed.Node.Name}.", now));
                await db.SaveChangesAsync(ct);
                return placed.Node.Id;
            case Placement.Refused refused:
                var changed = sandbox.RefusedReason != refused.Reason;
                sandbox.RefusedReason = refused.Reason;
                if (sandbox.Set(new Condition(ConditionType.Placed, ConditionStatus.False, refused.Reason, refused.Message, now)) || changed)
                    db.Events.Add(Event.Of(sandbox, EventType.SandboxCondition, refused.Reason, refused.Message, now));
                await db.SaveChangesAsync(ct);
                return null;
            case var other:
                throw new InvalidOperationException($"no such placement: {other}");
        }
    }

    public static Placement.Request RequestOf(Sandbox sandbox) =>
        new(sandbox.Image, sandbox.Vcpus, sandbox.MemoryMib, sandbox.Viommu, sandbox.Accelerators, sandbox.Vmm, sandbox.WantedNode);

    public static async Task<List<Placement.NodePicture>> ReadFleetAsync(SandboxDb db, CancellationToken ct)
    {
        var nodes = await db.Nodes.AsNoTracking().Where(n => n.Facts != null).OrderBy(n => n.Id).ToListAsync(ct);
        if (nodes.Count == 0) return [];
        var used = await db.Sandboxes.AsNoTracking()
            .Where(s => s.NodeId != null && s.Phase != Phase.Stopped && s.Phase != Phase.Failed && s.Phase != Phase.Pending)
            .GroupBy(s => s.NodeId!.Value).Select(g => new { g.Key, Vcpus = g.Sum(s => s.Vcpus), Mib = g.Sum(s => (long)s.MemoryMib) })
            .ToDictionaryAsync(g => g.Key, ct);
        var devices = (await db.Devices.AsNoTracking()
            .Where(d => d.SandboxId == null && d.Phase == DevicePhase.Available && d.Present).OrderBy(d => d.Address)
            // Not its verdict, which is the most of a row: a pass reads all of the fleet.
            .Select(d => new { d.Id, d.NodeId, d.Class, d.Viommus, d.FitsKvmtool, d.Origin }).ToListAsync(ct)).ToLookup(d => d.NodeId);
        var simulating = (await db.Devices.AsNoTracking().Where(d => d.Present && d.Origin == Origin.Simulated).Select(d => d.NodeId).Distinct().ToListAsync(ct)).ToHashSet();
        var images = (await db.NodeImages.AsNoTracking().ToListAsync(ct)).ToLookup(i => i.NodeId, i => i.Name);
        return nodes.Select(n => new Placement.NodePicture
        {
            Id = n.Id,
            Name = n.Name,
            Phase = n.Phase,
            Vmms = Vmms(n.Facts!, simulating.Contains(n.Id)),
            Viommus = n.Facts!.Viommus.ToHashSet(),
            Images = images[n.Id].ToHashSet(),
            FreeVcpus = n.Facts.VcpuCapacity - (used.TryGetValue(n.Id, out var u) ? u.Vcpus : 0),
            FreeMemoryMib = n.Facts.MemoryCapacityMib - (u?.Mib ?? 0),
            FreeDevices = devices[n.Id].Select(d => new Placement.FreeDevice(d.Id, d.Class, d.Viommus.ToHashSet(), d.FitsKvmtool) { IsSimulated = d.Origin == Origin.Simulated }).ToList(),
        }).ToList();
    }

    /// <summary>Every worker can simulate; one that offers devices for it wants to.</summary>
    private static HashSet<Vmm> Vmms(NodeFacts facts, bool simulates)
    {
        var vmms = new HashSet<Vmm>();
        if (facts.VmmVersion is not null) vmms.Add(Vmm.Qemu);
        if (facts.KvmtoolVersion is not null) vmms.Add(Vmm.Kvmtool);
        if (simulates) vmms.Add(Vmm.Simulated);
        return vmms;
    }

    private static string Describe(List<Placement.NodePicture> fleet) => string.Join(';', fleet.Select(n =>
        $"{n.Id}:{n.Phase}:{n.FreeVcpus}:{n.FreeMemoryMib}:{string.Join(',', n.FreeDevices.Select(Describe))}:{string.Join(',', n.Images.Order(StringComparer.Ordinal))}:{string.Join(',', n.Viommus.Order())}:{string.Join(',', n.Vmms.Order())}"));

    private static string Describe(Placement.FreeDevice device) => $"{device.Id}/{string.Join('+', device.Viommus.Order())}/{device.FitsKvmtool}/{device.IsSimulated}";
}
