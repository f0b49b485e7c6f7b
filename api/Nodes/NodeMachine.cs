using System.Collections.Concurrent;
using Api.Data;
using Api.Events;
using Microsoft.EntityFrameworkCore;

namespace Api.Nodes;

/// <summary>Which machine a node is. Pure: the first installation that reports is its own, until an operator provisions the node anew or replaces it.</summary>
public static class NodeMachine
{
    public enum Judgement { Same, First, Another }

    public static Judgement Judge(Guid? bound, Guid reported) => bound is null ? Judgement.First : bound == reported ? Judgement.Same : Judgement.Another;
}

/// <summary>Tells of machines that show the token of a node that is another machine. Each asks again every few seconds,
/// so it is told rarely: in the log once a minute a node, as an event once an hour.</summary>
public sealed class RefusedMachines(IServiceScopeFactory scopes, TimeProvider time, ILogger<RefusedMachines> log)
{
    public static readonly TimeSpan LogPeriod = TimeSpan.FromMinutes(1), EventPeriod = TimeSpan.FromHours(1);
    private readonly ConcurrentDictionary<Guid, DateTimeOffset> logged = new(), stored = new();

    public async Task TellAsync(Guid nodeId, CancellationToken ct)
    {
        var now = time.GetUtcNow();
        if (IsDue(logged, nodeId, now, LogPeriod)) log.LogWarning("Node {NodeId}: another machine shows its token and is refused", nodeId);
        if (!IsDue(stored, nodeId, now, EventPeriod)) return;
        await using var scope = scopes.CreateAsyncScope();
        var db = scope.ServiceProvider.GetRequiredService<SandboxDb>();
        var name = await db.Nodes.Where(n => n.Id == nodeId).Select(n => n.Name).SingleAsync(ct);
        db.Events.Add(Event.Infrastructure(EventType.NodeRefused, nodeId, name, "AnotherMachine",
            $"Another machine shows the token of node {name} and is refused. Give it a name and a join token of its own, or replace {name} by it.", now));
        await db.SaveChangesAsync(ct);
    }

    /// <summary>True for one caller a period.</summary>
    private static bool IsDue(ConcurrentDictionary<Guid, DateTimeOffset> last, Guid node, DateTimeOffset now, TimeSpan period) =>
        last.TryGetValue(node, out var at) ? now - at >= period && last.TryUpdate(node, now, at) : last.TryAdd(node, now);
}
