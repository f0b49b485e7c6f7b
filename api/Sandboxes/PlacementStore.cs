using System.Text.Json;
using Api.Data;
using Api.Events;
using Contracts;
using Microsoft.EntityFrameworkCore;
using Npgsql;

namespace Api.Sandboxes;

/// <summary>Stores what a round of placement has decided, many sandboxes in one transaction of a few statements.
/// Guarantees: a device is given to one sandbox only (one nullable column, looked at again under its row's lock), no node more than it has, and none to two that must lie apart: those who place wait for each other here, and look again at what the
/// nodes have given meanwhile. A batch is stored as a whole or not at all, and each of its sandboxes as what it still was then: one that waits. Rows are locked in the order of their ids, devices before
/// sandboxes, events last. On a crash: what is not stored waits still.</summary>
public static class PlacementStore
{
    // The name of the lock that only those who place take; any number that nothing else uses.
    private const long Lock = 0x706c_6163_696e_67;
    private const string Placed = "Placed";

    /// <summary>Throws <see cref="DbUpdateConcurrencyException"/> when something of it has changed since the round has read it.</summary>
    public static async Task PlaceAsync(SandboxDb db, IReadOnlyList<PlacementRound.Decision> batch, DateTimeOffset now, CancellationToken ct)
    {
        db.ChangeTracker.Clear();
        await using var transaction = await db.Database.BeginTransactionAsync(ct);
        await db.Database.ExecuteSqlAsync($"SELECT pg_advisory_xact_lock({Lock})", ct);
        await RoomAsync(db, batch, ct);
        await GiveDevicesAsync(db, batch, ct);
        Dictionary<Guid, Moved> moved;
        try
        {
            moved = (await MoveAsync(db, batch, now, ct)).ToDictionary(m => m.Id);
        }
        catch (PostgresException e) when (e.SqlState == PostgresErrorCodes.ForeignKeyViolation)
        {
            throw new DbUpdateConcurrencyException("a node was decommissioned", e);
        }
        if (moved.Count < batch.Count) throw new DbUpdateConcurrencyException("a sandbox does not wait any more");
        await EventWriting.InsertAsync(db, [.. batch.Select(d => Told(moved[d.Waiting.Id], NodeOf(d), now))], ct);
        await transaction.CommitAsync(ct);
    }

    private sealed record Moved(Guid Id, Guid ProjectId, string Name, string Labels, int Incarnation);

    private static Placement.NodePicture NodeOf(PlacementRound.Decision decision) => ((Placement.Placed)decision.Result).Node;

    private static Event Told(Moved sandbox, Placement.NodePicture node, DateTimeOffset now) => Event.OfPlaced(sandbox.ProjectId, sandbox.Id, sandbox.Name,
        JsonSerializer.Deserialize<Dictionary<string, string>>(sandbox.Labels, JsonSerializerOptions.Web)!, sandbox.Incarnation, node.Id, Placed, $"{sandbox.Name} was placed on {node.Name}.", now);

    /// <summary>What <see cref="Sandbox.ForgetGuest"/> and <see cref="Sandbox.Enter"/> do, of many rows at once; those alone that still wait.</summary>
    private static Task<List<Moved>> MoveAsync(SandboxDb db, IReadOnlyList<PlacementRound.Decision> batch, DateTimeOffset now, CancellationToken ct)
    {
        var ids = batch.Select(d => d.Waiting.Id).ToArray();
        var nodes = batch.Select(d => NodeOf(d).Id).ToArray();
        var conditions = batch.Select(d => JsonSerializer.Serialize<Condition[]>([new(ConditionType.Placed, ConditionStatus.True, Placed, $"Placed on {NodeOf(d).Name}.", now)], JsonSerializerOptions.Web)).ToArray();
        var (entry, at) = (JsonSerializer.Serialize<PhaseEntry[]>([new(Phase.Scheduled, now)], JsonSerializerOptions.Web), now.ToUniversalTime());
        return db.Database.SqlQuery<Moved>($"""
            WITH waiting AS MATERIALIZED (SELECT id FROM sandboxes WHERE id = ANY({ids}) AND phase = 'Pending' AND desired = 'Running' ORDER BY id FOR NO KEY UPDATE)
            UPDATE sandboxes s SET
              node_id = p.node, phase = 'Scheduled', incarnation = s.incarnation + 1, conditions = p.conditions::jsonb, updated_at = {at},
              phases = (CASE WHEN jsonb_array_length(s.phases) >= {Sandbox.MaxPhases} THEN s.phases - 0 ELSE s.phases END) || {entry}::jsonb,
              launched = false, failure = NULL, verdict = NULL, guest = NULL, probe = NULL, exec_at = NULL, guest_ready_at = NULL, refused_reason = NULL, preempt_at = NULL, preempted_for = NULL
            FROM unnest({ids}, {nodes}, {conditions}) AS p (id, node, conditions) JOIN waiting w ON w.id = p.id
            WHERE s.id = p.id AND s.phase = 'Pending' AND s.desired = 'Running'
            RETURNING s.id, s.project_id, s.name, s.labels::text AS labels, s.incarnation
            """).ToListAsync(ct);
    }

    private static async Task GiveDevicesAsync(SandboxDb db, IReadOnlyList<PlacementRound.Decision> batch, CancellationToken ct)
    {
        var given = batch.SelectMany(d => ((Placement.Placed)d.Result).Devices.Select(device => (device.Id, Sandbox: d.Waiting.Id))).ToList();
        var (devices, holders, sandboxes) = (given.ConvertAll(g => g.Id).ToArray(), given.ConvertAll(g => g.Sandbox).ToArray(), batch.Select(d => d.Waiting.Id).ToArray());
        var held = await db.Database.SqlQuery<Guid>($"SELECT id FROM devices WHERE id = ANY({devices}) OR sandbox_id = ANY({sandboxes}) ORDER BY id FOR NO KEY UPDATE").ToListAsync(ct);
        if (held.Count == 0 && devices.Length == 0) return;
        // Of their last guests, and not yet clean.
        await db.Database.ExecuteSqlAsync($"UPDATE devices SET sandbox_id = NULL, phase = 'Cleaning' WHERE sandbox_id = ANY({sandboxes})", ct);
        var got = await db.Database.ExecuteSqlAsync($"""
            UPDATE devices d SET sandbox_id = g.sandbox, phase = 'Assigned' FROM unnest({devices}, {holders}) AS g (device, sandbox)
            WHERE d.id = g.device AND d.sandbox_id IS NULL AND d.phase = 'Available'
            """, ct);
        if (got < devices.Length) throw new DbUpdateConcurrencyException("a device was taken");
    }

    private static async Task RoomAsync(SandboxDb db, IReadOnlyList<PlacementRound.Decision> batch, CancellationToken ct)
    {
        var ids = batch.Select(d => NodeOf(d).Id).Distinct().ToArray();
        if (await db.Nodes.CountAsync(n => ids.Contains(n.Id) && n.Phase == NodePhase.Ready, ct) < ids.Length) throw new DbUpdateConcurrencyException("a node takes nothing new any more");
        var used = (await FleetReading.OnNodes(db).Where(s => ids.Contains(s.NodeId!.Value)).GroupBy(s => new { Node = s.NodeId!.Value, s.HugePages })
            .Select(g => new { g.Key.Node, g.Key.HugePages, Vcpus = g.Sum(s => s.Vcpus), Mib = g.Sum(s => (long)s.MemoryMib) }).ToListAsync(ct)).ToLookup(g => g.Node);
        foreach (var on in batch.GroupBy(d => NodeOf(d).Id, d => d))
        {
            var (node, asked, has) = (NodeOf(on.First()), on.Select(d => d.Waiting.Request).ToList(), used[on.Key].ToList());
            if (has.Sum(u => u.Vcpus) + asked.Sum(r => r.Vcpus) > node.VcpuCapacity || has.Sum(u => u.Mib) + asked.Sum(r => (long)r.MemoryMib) > node.MemoryCapacityMib
                || asked.Where(r => r.HugePages != HugePageSize.None).Select(r => r.HugePages).Distinct()
                    .Any(size => has.Where(u => u.HugePages == size).Sum(u => size.PagesOf(u.Mib)) + asked.Where(r => r.HugePages == size).Sum(r => r.PagesNeeded) > node.HugePageCapacity.GetValueOrDefault(size)))
                throw new DbUpdateConcurrencyException($"node {on.Key} was given to others");
        }
        var there = FleetReading.OnNodes(db).Where(s => ids.Contains(s.NodeId!.Value));
        if (batch.Any(d => d.Waiting.Request.Registered is not null))
        {
            var files = await FleetReading.ReadImageFilesAsync(db, there, ct);
            foreach (var on in batch.Where(d => d.Waiting.Request is { Registered: not null, Vmm: not Vmm.Simulated }).GroupBy(d => NodeOf(d).Id))
                if (!Placement.HasRoom(files[on.Key].Union(on.SelectMany(d => d.Waiting.Request.Registered!.Files)), NodeOf(on.First()))) throw new DbUpdateConcurrencyException($"node {on.Key} was given to other images");
        }
        var residents = (await FleetReading.ReadResidentsAsync(there, [.. batch.Select(d => d.Waiting.Request).Where(r => r.ApartFrom is not null)], ct)).ToLookup(r => r.Node, r => r.Resident);
        foreach (var decision in batch)
            if (residents[NodeOf(decision).Id].Any(r => Placement.IsApart(decision.Waiting.Request, r))) throw new DbUpdateConcurrencyException($"node {NodeOf(decision).Id} was given to one that must lie apart");
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
