using Api.Data;
using Api.Events;
using Api.Projects;
using Api.Reconciliation;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Sandboxes;

/// <summary>Starts sandboxes again whose restart policy says so, once their stored time has come.
/// Guarantees: only what its node has said to have ended is started again, so there are never two guests of one sandbox (a Lost one waits for its node); each end causes one start;
/// what the project's quotas have no room for waits. Assumes: several replicas may run it at once (xmin). On a crash the due time is stored: the next pass finds what is left.</summary>
public sealed class SandboxRestarts(IServiceScopeFactory scopes, SandboxScheduler scheduler, TimeProvider time, ILogger<SandboxRestarts> log) : Reconciler(time, TimeSpan.FromSeconds(1), log)
{
    private const int Batch = 100;
    private readonly TimeProvider clock = time;
    // A node that shuts down ends its guests as stopped, which no guest has asked for.
    private static readonly HashSet<string> NodesOwn = new HashSet<string>(StringComparer.Ordinal) { "NodeShutDown" };

    /// <summary>In the transaction that stores a run's end.</summary>
    public static void AfterEnd(SandboxDb db, Sandbox sandbox, string? reason, DateTimeOffset now)
    {
        var moves = sandbox.MovesAfterStop;
        sandbox.MovesAfterStop = false;
        var failed = sandbox.Phase == Phase.Failed || reason is not null && NodesOwn.Contains(reason);
        // The entry of the end itself is the last.
        var decision = RestartDecision.Of(sandbox.Restart, new(sandbox.Desired, failed, moves, RestartDecision.RanFor(sandbox.Phases.SkipLast(1).ToList(), now)), sandbox.RestartCount);
        if (decision.Answer == RestartDecision.Answer.No) return;
        sandbox.RestartCount = decision.Restarts;
        if (decision.Answer == RestartDecision.Answer.Exhausted)
        {
            db.Events.Add(Event.Of(sandbox, EventType.SandboxRestart, "RestartsExhausted", $"{sandbox.Name} is not started again: its policy has done so {decision.Restarts} times in a row.", now));
            return;
        }
        sandbox.RestartAt = now + decision.Delay;
        db.Events.Add(Event.Of(sandbox, EventType.SandboxRestart, "RestartDue", $"{sandbox.Name} is started again at {sandbox.RestartAt:O}, by its policy {sandbox.Restart!.Policy}.", now));
    }

    protected override async Task PassAsync(CancellationToken ct)
    {
        await using var scope = scopes.CreateAsyncScope();
        var db = scope.ServiceProvider.GetRequiredService<SandboxDb>();
        var now = clock.GetUtcNow();
        var due = await db.Sandboxes.AsNoTracking().Where(s => s.RestartAt <= now && (s.Phase == Phase.Stopped || s.Phase == Phase.Failed)).OrderBy(s => s.RestartAt).Take(Batch).Select(s => new { s.Id, s.ProjectId }).ToListAsync(ct);
        foreach (var sandbox in due)
        {
            db.ChangeTracker.Clear();
            try
            {
                await RestartAsync(db, sandbox.Id, sandbox.ProjectId, ct);
            }
            catch (DbUpdateConcurrencyException)
            {
                log.LogDebug("Sandbox {SandboxId} changed when it was to be started again", sandbox.Id);
            }
        }
        if (due.Count > 0) scheduler.Wake();
        if (due.Count == Batch) Wake();
    }

    private async Task RestartAsync(SandboxDb db, Guid id, Guid project, CancellationToken ct)
    {
        await using var transaction = await db.BeginAsync(ct);
        if (await Quotas.LockAsync(db, project, ct) is not { } tenant) return;
        var now = clock.GetUtcNow();
        if (await db.Sandboxes.SingleOrDefaultAsync(s => s.Id == id, ct) is not { Phase: Phase.Stopped or Phase.Failed } sandbox || !(sandbox.RestartAt <= now) || sandbox.Desired == DesiredState.Deleted) return;
        if (await Quotas.ProblemAsync(db, tenant, new(0, sandbox.Vcpus, sandbox.MemoryMib, sandbox.Accelerators), ct) is { } over)
        {
            sandbox.RestartAt = now.AddSeconds(RestartDecision.MaxBackoffSeconds);
            db.Events.Add(Event.Of(sandbox, EventType.SandboxRestart, "QuotaExceeded", $"{sandbox.Name} is not started again before {sandbox.RestartAt:O}: {string.Join("; ", over.Values.SelectMany(v => v))}.", now));
        }
        else
        {
            // A drain is no failure: its move does not count.
            if (sandbox.Desired == DesiredState.Running) sandbox.RestartCount++;
            SandboxWishes.PlaceAnew(sandbox, now);
            sandbox.Generation++;
            db.Events.Add(Event.Of(sandbox, EventType.SandboxPhase, "RestartedByPolicy", $"{sandbox.Name} waits to be started again, by its restart policy.", now));
        }
        await db.SaveChangesAsync(ct);
        await transaction.CommitAsync(ct);
    }
}
