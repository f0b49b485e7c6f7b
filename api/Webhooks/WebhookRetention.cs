using Api.Data;
using Api.Reconciliation;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Webhooks;

/// <summary>Removes deliveries that ended long ago (<see cref="WebhookSettings.DeliveryDays"/>). Idempotent: several replicas and a crash do no harm.</summary>
public sealed class WebhookRetention(IServiceScopeFactory scopes, WebhookSettings settings, TimeProvider time, ILogger<WebhookRetention> log) : Reconciler(time, TimeSpan.FromHours(1), log)
{
    private readonly TimeProvider clock = time;

    protected override async Task PassAsync(CancellationToken ct)
    {
        await using var scope = scopes.CreateAsyncScope();
        var db = scope.ServiceProvider.GetRequiredService<SandboxDb>();
        var oldest = clock.GetUtcNow().AddDays(-settings.DeliveryDays);
        foreach (var endpoint in await db.WebhookEndpoints.Select(e => e.Id).ToListAsync(ct))
            await db.WebhookDeliveries.Where(d => d.EndpointId == endpoint && (d.State == DeliveryState.Succeeded || d.State == DeliveryState.Failed) && d.LastAttemptAt < oldest).ExecuteDeleteAsync(ct);
    }
}
