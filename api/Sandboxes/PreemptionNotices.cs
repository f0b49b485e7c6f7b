using Api.Data;
using Api.Events;
using Api.Nodes;
using Api.Reconciliation;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Sandboxes;

/// <summary>Ends those who have been given notice for one of higher priority (<see cref="Preemption"/>), when their time has come.
/// Guarantees: nobody ends without its notice and its event, nor once the other has a place, waits no more, or their node takes nothing: then the notice is taken back.
/// Their node is kept for the other until it has its place (<see cref="ClaimsAsync"/>). Each is one transaction under xmin. On a crash the next pass finds what is left.</summary>
public sealed class PreemptionNotices(IServiceScopeFactory scopes, NodePlans plans, TimeProvider time, ILogger<PreemptionNotices> log) : Reconciler(time, TimeSpan.FromSeconds(1), log)
{
    public const string Reason = "Preempted";
    private const int MostAtOnce = 200;
    private readonly TimeProvider clock = time;

    /// <summary>Nodes that are kept for those for whom others end. <c>IsOpen</c>: some of those have not ended yet, or their devices are not clean.</summary>
    public sealed record Claim(Guid By, int Priority, Guid Node, bool IsOpen);

    public static async Task<List<Claim>> ClaimsAsync(SandboxDb db, CancellationToken ct) =>
        (await (from s in db.Sandboxes.AsNoTracking()
                join other in FleetReading.Waiting(db) on s.PreemptedFor equals other.Id
                where s.NodeId != null
                select new { By = other.Id, other.Priority, Node = s.NodeId!.Value, IsOpen = s.Phase != Phase.Stopped && s.Phase != Phase.Failed || db.Devices.Any(d => d.SandboxId == s.Id && d.Phase != DevicePhase.Quarantined) }).ToListAsync(ct))
            .GroupBy(c => (c.By, c.Priority, c.Node)).Select(g => new Claim(g.Key.By, g.Key.Priority, g.Key.Node, g.Any(c => c.IsOpen))).ToList();

    /// <summary>Gives notice. Throws <see cref="DbUpdateConcurrencyException"/> when one of them has changed meanwhile: then nobody has it.</summary>
    public static async Task GiveAsync(SandboxDb db, Guid to, Preemption.Choice choice, DateTimeOffset now, TimeSpan notice, CancellationToken ct)
    {
        db.ChangeTracker.Clear();
        var ids = choice.Victims.Select(v => v.Id).ToList();
        var victims = await db.Sandboxes.Where(s => ids.Contains(s.Id)).ToListAsync(ct);
        if (victims.Count < ids.Count || victims.Exists(v => v.PreemptedFor is not null || v.NodeId != choice.Node.Id || v.Desired != DesiredState.Running || !SandboxLifecycle.IsOnNode(v.Phase)))
            throw new DbUpdateConcurrencyException("one who was to end has changed");
        foreach (var victim in victims)
        {
            (victim.PreemptedFor, victim.PreemptAt, victim.UpdatedAt) = (to, now + notice, now);
            db.Events.Add(Event.Of(victim, EventType.SandboxPreempting, "Preempting", $"{victim.Name} is stopped at {victim.PreemptAt:O}: a sandbox of higher priority needs its place.", now));
        }
        await db.SaveChangesAsync(ct);
    }

    protected override async Task PassAsync(CancellationToken ct)
    {
        await using var scope = scopes.CreateAsyncScope();
        var db = scope.ServiceProvider.GetRequiredService<SandboxDb>();
        var noticed = await db.Sandboxes.AsNoTracking().Where(s => s.PreemptedFor != null).OrderBy(s => s.PreemptAt).Take(MostAtOnce)
            .Select(s => new { s.Id, Waits = db.Sandboxes.Any(o => o.Id == s.PreemptedFor && o.Phase == Phase.Pending && o.Desired == DesiredState.Running), Takes = db.Nodes.Any(n => n.Id == s.NodeId && n.Phase == NodePhase.Ready), s.PreemptAt }).ToListAsync(ct);
        foreach (var row in noticed.Where(r => !r.Waits || !r.Takes || r.PreemptAt <= clock.GetUtcNow()))
        {
            try
            {
                await SettleAsync(db, row.Id, row.Waits && row.Takes, ct);
            }
            catch (DbUpdateConcurrencyException)
            {
                log.LogDebug("Sandbox {SandboxId} changed while its notice was looked at; the next pass looks again", row.Id);
            }
            db.ChangeTracker.Clear();
        }
    }

    private async Task SettleAsync(SandboxDb db, Guid id, bool holds, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        if (await db.Sandboxes.SingleOrDefaultAsync(s => s.Id == id && s.PreemptedFor != null, ct) is not { } sandbox) return;
        var runs = sandbox.Desired == DesiredState.Running && SandboxLifecycle.IsOnNode(sandbox.Phase);
        var noticed = sandbox.PreemptAt is not null;
        sandbox.PreemptAt = null;
        if (!holds)
        {
            // One that waits still may ask others.
            await db.Sandboxes.Where(s => s.Id == sandbox.PreemptedFor && s.Phase == Phase.Pending).ExecuteUpdateAsync(u => u.SetProperty(s => s.RefusedReason, (string?)null), ct);
            sandbox.PreemptedFor = null;
            if (noticed && runs) db.Events.Add(Event.Of(sandbox, EventType.SandboxPreempting, "PreemptionCancelled", $"{sandbox.Name} goes on: its place is not needed any more.", now));
        }
        else if (runs && noticed)
        {
            sandbox.Desired = DesiredState.Stopped;
            sandbox.Generation++;
            sandbox.Failure = new Failure(Reason, "It was stopped, as told before, because a sandbox of higher priority needed its place.", "Start it again: it waits for a place. With a higher priority it is not ended for that one.", now);
            sandbox.Enter(Phase.Stopping, now);
            db.Events.Add(Event.Of(sandbox, EventType.SandboxPhase, Reason, $"{sandbox.Name} shall be {sandbox.Desired}: {sandbox.Failure.Message}", now));
        }
        await db.SaveChangesAsync(ct);
        if (holds && runs && noticed && sandbox.NodeId is { } node) await plans.ChangedAsync(node, ct);
    }
}
