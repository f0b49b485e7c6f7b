using Api.Data;
using Api.Events;
using Microsoft.EntityFrameworkCore;

namespace Api.Nodes;

/// <summary>What an operator changes of a node. Guarantees: the change and its event are one transaction; a node that reports meanwhile costs another look, and no change. On a crash: what is stored holds.</summary>
public static class NodeChange
{
    private const int Attempts = 10;

    /// <param name="db">Of the request.</param>
    /// <param name="id">Of the node.</param>
    /// <param name="change">Why it is refused, or what is told of it; neither: there may be nothing to change. Asked once more when the node has reported meanwhile.</param>
    /// <param name="afterwards">Once a change is stored.</param>
    /// <param name="ct">Of the request.</param>
    public static async Task<IResult> ApplyAsync(SandboxDb db, Guid id, Func<Node, Task<(IResult? Refusal, Event? Told)>> change, Func<Task> afterwards, CancellationToken ct)
    {
        for (var attempt = 1; ; attempt++)
        {
            if (await db.Nodes.SingleOrDefaultAsync(n => n.Id == id, ct) is not { } node) return NodeEndpoints.NotFound();
            var (refusal, told) = await change(node);
            if (refusal is not null) return refusal;
            if (told is not null) db.Events.Add(told);
            if (db.ChangeTracker.HasChanges())
            {
                try
                {
                    await db.SaveChangesAsync(ct);
                }
                // It reported meanwhile.
                catch (DbUpdateConcurrencyException) when (attempt < Attempts)
                {
                    db.ChangeTracker.Clear();
                    continue;
                }
                await db.AfterCommitAsync(afterwards);
            }
            return await NodeEndpoints.Get(id, db, ct);
        }
    }
}
