using Api.Data;
using Api.Events;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Sandboxes;

/// <summary>Stores what a round of placement has decided, several sandboxes in one transaction.
/// Guarantees: a device is given to one sandbox only (one nullable column, xmin on all rows), and no node more than it has: those who place wait for each other here, and look again at what the nodes have
/// given meanwhile. A batch is stored as a whole or not at all. On a crash: what is not stored waits still.</summary>
public static class PlacementStore
{
    // The name of the lock that only those who place take; any number that nothing else uses.
    private const long Lock = 0x706c_6163_696e_67;

    /// <summary>Throws <see cref="DbUpdateConcurrencyException"/> when something of it has changed since the round has read it.</summary>
    public static async Task PlaceAsync(SandboxDb db, IReadOnlyList<PlacementRound.Decision> batch, DateTimeOffset now, CancellationToken ct)
    {
        db.ChangeTracker.Clear();
        var placed = batch.ToDictionary(d => d.Waiting.Id, d => (Placement.Placed)d.Result);
        await using var transaction = await db.Database.BeginTransactionAsync(ct);
        await db.Database.ExecuteSqlAsync($"SELECT pg_advisory_xact_lock({Lock})", ct);
        await RoomAsync(db, placed, ct);
        var sandboxes = await FleetReading.Waiting(db).Where(s => placed.Keys.Contains(s.Id)).ToDictionaryAsync(s => s.Id, ct);
        if (sandboxes.Count < placed.Count) throw new DbUpdateConcurrencyException("a sandbox does not wait any more");
        var given = placed.SelectMany(p => p.Value.Devices.Select(d => (Device: d.Id, Sandbox: p.Key))).ToDictionary(d => d.Device, d => d.Sandbox);
        var devices = await db.Devices.Where(d => given.Keys.Contains(d.Id) || d.SandboxId != null && placed.Keys.Contains(d.SandboxId.Value)).ToListAsync(ct);
        foreach (var device in devices)
        {
            if (!given.TryGetValue(device.Id, out var sandbox))
            {
                // Of its last guest, and not yet clean.
                device.SandboxId = null;
                device.Phase = DevicePhase.Cleaning;
                continue;
            }
            if (device.SandboxId is not null || device.Phase != DevicePhase.Available) throw new DbUpdateConcurrencyException($"device {device.Id} was taken");
            device.SandboxId = sandbox;
            device.Phase = DevicePhase.Assigned;
        }
        foreach (var (waiting, _) in batch)
        {
            var (sandbox, node) = (sandboxes[waiting.Id], placed[waiting.Id].Node);
            sandbox.ForgetGuest();
            (sandbox.PreemptAt, sandbox.PreemptedFor) = (null, null);
            sandbox.NodeId = node.Id;
            sandbox.Incarnation++;
            sandbox.Set(new Condition(ConditionType.Placed, ConditionStatus.True, "Placed", $"Placed on {node.Name}.", now));
            sandbox.Enter(Phase.Scheduled, now);
            db.Events.Add(Event.Of(sandbox, EventType.SandboxPhase, "Placed", $"{sandbox.Name} was placed on {node.Name}.", now));
        }
        await db.SaveChangesAsync(ct);
        await transaction.CommitAsync(ct);
    }

    private static async Task RoomAsync(SandboxDb db, Dictionary<Guid, Placement.Placed> placed, CancellationToken ct)
    {
        var nodes = placed.Values.Select(p => p.Node).DistinctBy(n => n.Id).ToDictionary(n => n.Id);
        if (await db.Nodes.CountAsync(n => nodes.Keys.Contains(n.Id) && n.Phase == NodePhase.Ready, ct) < nodes.Count) throw new DbUpdateConcurrencyException("a node takes nothing new any more");
        var asked = await db.Sandboxes.AsNoTracking().Where(s => placed.Keys.Contains(s.Id)).Select(s => new { s.Id, s.Vcpus, s.MemoryMib }).ToListAsync(ct);
        var used = await FleetReading.OnNodes(db).Where(s => nodes.Keys.Contains(s.NodeId!.Value))
            .GroupBy(s => s.NodeId!.Value).Select(g => new { g.Key, Vcpus = g.Sum(s => s.Vcpus), Mib = g.Sum(s => (long)s.MemoryMib) }).ToDictionaryAsync(g => g.Key, ct);
        foreach (var on in asked.GroupBy(s => placed[s.Id].Node.Id))
        {
            var use = used.GetValueOrDefault(on.Key);
            if ((use?.Vcpus ?? 0) + on.Sum(s => s.Vcpus) > nodes[on.Key].VcpuCapacity || (use?.Mib ?? 0) + on.Sum(s => (long)s.MemoryMib) > nodes[on.Key].MemoryCapacityMib)
                throw new DbUpdateConcurrencyException($"node {on.Key} was given to others");
        }
    }

    /// <summary>Stores why they wait. Those that have changed meanwhile are left to whoever changed them.</summary>
    public static async Task RefuseAsync(SandboxDb db, IReadOnlyList<PlacementRound.Decision> batch, DateTimeOffset now, CancellationToken ct)
    {
        db.ChangeTracker.Clear();
        var refused = batch.ToDictionary(d => d.Waiting.Id, d => (Placement.Refused)d.Result);
        foreach (var sandbox in await FleetReading.Waiting(db).Where(s => refused.Keys.Contains(s.Id)).ToListAsync(ct))
        {
            var (reason, message) = (refused[sandbox.Id].Reason, refused[sandbox.Id].Message);
            var changed = sandbox.RefusedReason != reason;
            sandbox.RefusedReason = reason;
            if (sandbox.Set(new Condition(ConditionType.Placed, ConditionStatus.False, reason, message, now)) || changed)
                db.Events.Add(Event.Of(sandbox, EventType.SandboxCondition, reason, message, now));
        }
        await db.SaveChangesAsync(ct);
    }
}
