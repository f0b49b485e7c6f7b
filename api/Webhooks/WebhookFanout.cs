using Api.Data;
using Api.Reconciliation;
using Microsoft.EntityFrameworkCore;

namespace Api.Webhooks;

/// <summary>Makes deliveries of new events, for each endpoint that is enabled, and tells the dispatch.
/// Guarantees and a crash: see <see cref="DeliveryQueue"/>; each endpoint is a transaction, and one that fails stops no other.</summary>
public sealed class WebhookFanout(IServiceScopeFactory scopes, WebhookDispatch dispatch, TimeProvider time, ILogger<WebhookFanout> log) : Reconciler(time, TimeSpan.FromSeconds(5), log)
{
    private readonly TimeProvider clock = time;

    protected override async Task PassAsync(CancellationToken ct)
    {
        await using var scope = scopes.CreateAsyncScope();
        var db = scope.ServiceProvider.GetRequiredService<SandboxDb>();
        var behind = await (
            from e in db.WebhookEndpoints
            join c in db.EventCounters on e.ProjectId equals c.ProjectId
            where e.Disabled == null && e.Cursor < c.LastNumber
            select e.Id).ToListAsync(ct);
        foreach (var id in behind)
        {
            try
            {
                if (await DeliveryQueue.FanOutAsync(db, id, clock.GetUtcNow(), ct)) Wake();
            }
            catch (Exception e) when (e is not OperationCanceledException || !ct.IsCancellationRequested)
            {
                log.LogError(e, "Events could not be handed to webhook {WebhookId}; the next pass tries again", id);
            }
            db.ChangeTracker.Clear();
        }
        if (behind.Count > 0) dispatch.Wake();
    }
}
