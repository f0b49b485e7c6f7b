using System.Collections.Concurrent;
using Api.Data;
using Api.Events;
using Api.Reconciliation;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Webhooks;

/// <summary>Claims what is due and hands it to the lane of its endpoint, which attempts it.
/// Guarantees: an endpoint that hangs or fails holds places of its own only (<see cref="SendingRooms"/>), so it delays no other. Several replicas share the work by claims.
/// When the service stops, attempts that run have <see cref="Farewell"/> to end; on a crash what was claimed becomes due again when its lease ends.</summary>
public sealed class WebhookDispatch : Reconciler
{
    public static readonly TimeSpan Farewell = TimeSpan.FromSeconds(5);
    private readonly ConcurrentDictionary<Guid, EndpointLane> lanes = new();
    private readonly CancellationTokenSource cutOff = new();
    private readonly IServiceScopeFactory scopes;
    private readonly DeliveryResults results;
    private readonly WebhookClient client;
    private readonly ProtectedSecrets secrets;
    private readonly TimeProvider clock;
    private Guid lastEndpoint;
    private bool disposed;

    public WebhookDispatch(IServiceScopeFactory scopes, DeliveryResults results, WebhookClient client, ProtectedSecrets secrets, TimeProvider time, ILogger<WebhookDispatch> log) : base(time, TimeSpan.FromSeconds(1), log)
    {
        (this.scopes, this.results, this.client, this.secrets, clock) = (scopes, results, client, secrets, time);
        results.Stored += Wake;
    }

    protected override async Task PassAsync(CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        foreach (var (id, lane) in lanes)
            if (lane.IsForgotten) lanes.TryRemove(id, out _);
        var (rooms, others, most) = SendingRooms.Of(lanes.Values.Select(l => l.Describe()));
        if (most == 0) return;
        await using var scope = scopes.CreateAsyncScope();
        var db = scope.ServiceProvider.GetRequiredService<SandboxDb>();
        var claimed = await DeliveryQueue.ClaimAsync(db, rooms, others, most, lastEndpoint, now, ct);
        if (claimed.Count == 0) return;
        // The next claim begins elsewhere, so that none is always the last.
        lastEndpoint = claimed[Random.Shared.Next(claimed.Count)].EndpointId;
        var ids = claimed.Select(d => d.EndpointId).Distinct().ToList();
        var endpoints = await db.WebhookEndpoints.AsNoTracking().Where(e => ids.Contains(e.Id)).ToDictionaryAsync(e => e.Id, ct);
        var (projects, numbers) = (claimed.Select(d => d.ProjectId).ToArray(), claimed.Select(d => d.EventNumber ?? 0).ToArray());
        var events = (await db.Events.FromSql($"SELECT e.* FROM (SELECT DISTINCT * FROM unnest({projects}, {numbers}) AS k (project_id, number)) k JOIN events e USING (project_id, number)").AsNoTracking().ToListAsync(ct))
            .ToDictionary(e => (e.ProjectId, e.Number));
        foreach (var delivery in claimed.OrderBy(d => d.Number))
        {
            // Deleted meanwhile, and its deliveries with it.
            if (!endpoints.TryGetValue(delivery.EndpointId, out var endpoint)) continue;
            var body = delivery.EventNumber is not { } number ? PayloadText.OfTest(endpoint.Id, delivery.CreatedAt) : events.TryGetValue((delivery.ProjectId, number), out var e) ? PayloadText.Of(e) : null;
            Lane(endpoint.Id).Take(new DeliveryJob(delivery, new Uri(endpoint.Url), secrets.Keys(endpoint, now), body));
        }
        Wake();
    }

    public override async Task StopAsync(CancellationToken cancellationToken)
    {
        await base.StopAsync(cancellationToken);
        using var patience = new CancellationTokenSource(Farewell);
        await Task.WhenAll(lanes.Values.Select(l => l.CloseAsync(patience.Token)));
        if (!disposed) await cutOff.CancelAsync();
    }

    public override void Dispose()
    {
        disposed = true;
        results.Stored -= Wake;
        cutOff.Dispose();
        base.Dispose();
    }

    private EndpointLane Lane(Guid endpoint) => lanes.GetOrAdd(endpoint, id => new EndpointLane(id, client, clock, results.Add, cutOff.Token));
}
