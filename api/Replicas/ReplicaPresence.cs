using System.Collections.Concurrent;
using Api.Data;
using Api.Reconciliation;
using Microsoft.EntityFrameworkCore;

namespace Api.Replicas;

/// <summary>Tells the other replicas that this one is there, and where, and notices when one of them is not any more. Which nodes are connected to it stands in their rows
/// (<see cref="Nodes.Node.ReplicaId"/>), written with each report that is stored.
/// Guarantees: one writer, this process, for its own row; a replica that has not written its own for <see cref="Fresh"/> is asked for nothing, and after <see cref="Lost"/> what was asked of it is given up.
/// Rows of those long gone are removed by whoever sees them first.
/// Assumes: times are the database's own, so that clocks of replicas need not agree; while the database is away, and for <see cref="Lost"/> after it, nobody is judged. On a crash the row goes stale by itself, and the next run has another.</summary>
public sealed class ReplicaPresence(IServiceScopeFactory scopes, ReplicaSettings own, TimeProvider time, ILogger<ReplicaPresence> log) : Reconciler(time, TimeSpan.FromSeconds(2), log)
{
    public static readonly TimeSpan Fresh = TimeSpan.FromSeconds(10), Lost = TimeSpan.FromSeconds(20);
    private static readonly TimeSpan Kept = TimeSpan.FromHours(1);
    private readonly ConcurrentDictionary<Guid, CancellationTokenSource> asked = new();

    /// <summary>Cancelled when that replica has said for too long nothing.</summary>
    public CancellationToken LossOf(Guid replica) => asked.GetOrAdd(replica, _ => new()).Token;

    protected override async Task PassAsync(CancellationToken ct)
    {
        await using var scope = scopes.CreateAsyncScope();
        var db = scope.ServiceProvider.GetRequiredService<SandboxDb>();
        var url = own.Url?.GetLeftPart(UriPartial.Authority);
        await db.Database.ExecuteSqlAsync($"INSERT INTO replicas (id, url, seen_at) VALUES ({own.Id}, {url}, now()) ON CONFLICT (id) DO UPDATE SET seen_at = now()", ct);
        await db.Database.ExecuteSqlAsync($"DELETE FROM replicas WHERE seen_at < now() - {Kept}", ct);
        if (asked.IsEmpty || HasFailedWithin(Lost)) return;
        var there = await db.Database.SqlQuery<Guid>($"SELECT id AS \"Value\" FROM replicas WHERE seen_at >= now() - {Lost}").ToListAsync(ct);
        foreach (var id in asked.Keys.Except(there))
            if (asked.TryRemove(id, out var lost)) await lost.CancelAsync();
    }
}
