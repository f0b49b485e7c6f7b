using Api.Data;
using Api.Images;
using Api.Nodes;
using Api.Reconciliation;
using Microsoft.EntityFrameworkCore;

namespace Api.Sandboxes;

/// <summary>Gives pending sandboxes a node and devices, in rounds (<see cref="PlacementRound"/>) over all that wait.
/// Guarantees: what <see cref="PlacementStore"/> does; what is refused is stored with its reason, again only when that is another one: its counts are of the first time.
/// Assumes: several replicas may run it at once; the loser of a race changes nothing and runs again. On a crash: each batch is one transaction.</summary>
public sealed class SandboxScheduler(IServiceScopeFactory scopes, NodePlans plans, PlacementSettings settings, TimeProvider time, ILogger<SandboxScheduler> log)
    : Reconciler(time, TimeSpan.FromSeconds(5), log)
{
    private const int BatchRows = 256;
    /// <summary>So many placements, then another look: who comes meanwhile with a higher priority waits for no more.</summary>
    private const int MostPlaced = 1024;
    private const int MostPreempting = 16;
    private readonly TimeProvider clock = time;
    private string lastFleet = "";

    protected override async Task PassAsync(CancellationToken ct)
    {
        await using var scope = scopes.CreateAsyncScope();
        var db = scope.ServiceProvider.GetRequiredService<SandboxDb>();
        if (!await FleetReading.Waiting(db).AnyAsync(ct)) return;
        var nodes = await FleetReading.ReadFleetAsync(db, ct);

        // Those refused before are tried again only when the fleet, or an image that one of them waits for, has changed: a long queue costs nothing while nothing moves.
        var picture = $"{Describe(nodes)} {await ImageChoice.DescribeAsync(db, FleetReading.Waiting(db), ct)}";
        if (picture == lastFleet && !await FleetReading.Waiting(db).AnyAsync(s => s.RefusedReason == null, ct)) return;
        var queued = (await FleetReading.ReadWaitingAsync(db, FleetReading.Waiting(db), ct)).ToDictionary(q => q.Waiting.Id);
        await FleetReading.AddDetailsAsync(db, nodes, [.. queued.Values.Select(q => q.Waiting.Request)], ct);
        var shares = await FleetReading.ReadSharesAsync(db, nodes, ct);
        var now = clock.GetUtcNow();
        var round = new PlacementRound(new(nodes), new(queued.Values.Select(q => q.Waiting), shares, now), now);
        var (placed, refused, unplaced) = (new List<PlacementRound.Decision>(), new List<PlacementRound.Decision>(), new List<Placement.Request>());
        foreach (var decision in round.Decide())
        {
            if (decision.Result is Placement.Placed) placed.Add(decision);
            else if (decision.Result is Placement.Refused r && r.Reason != queued[decision.Waiting.Id].RefusedReason) refused.Add(decision);
            if (decision.Result is Placement.Refused && decision.Waiting.Request.Preempts) unplaced.Add(decision.Waiting.Request);
            if (placed.Count == MostPlaced) break;
        }
        var (settled, all) = (placed.Count == 0, true);
        foreach (var batch in placed.Chunk(BatchRows)) all &= await PlaceAsync(db, batch, now, ct);
        foreach (var batch in refused.Chunk(BatchRows)) all &= await RefuseAsync(db, batch, now, ct);
        if (all) all = await PreemptAsync(db, nodes, unplaced, now, ct);
        if (!all || placed.Count == MostPlaced) Wake();
        lastFleet = settled && all ? picture : "";
    }

    /// <summary>False: not all of them. One that has changed keeps none of the others back.</summary>
    private async Task<bool> PlaceAsync(SandboxDb db, PlacementRound.Decision[] batch, DateTimeOffset now, CancellationToken ct)
    {
        try
        {
            await PlacementStore.PlaceAsync(db, batch, now, ct);
        }
        catch (DbUpdateConcurrencyException) when (batch.Length > 1)
        {
            // The half without it is stored at once; the other is halved again.
            var half = batch.Length / 2;
            return await PlaceAsync(db, batch[..half], now, ct) & await PlaceAsync(db, batch[half..], now, ct);
        }
        catch (DbUpdateConcurrencyException e)
        {
            log.LogInformation("Sandbox {SandboxId}, its node or a device changed meanwhile; placing it again: {Change}", batch[0].Waiting.Id, e.Message);
            return false;
        }
        foreach (var node in batch.Select(d => ((Placement.Placed)d.Result).Node.Id).Distinct()) await plans.ChangedAsync(node, ct);
        return true;
    }

    private async Task<bool> RefuseAsync(SandboxDb db, PlacementRound.Decision[] batch, DateTimeOffset now, CancellationToken ct)
    {
        try
        {
            await PlacementStore.RefuseAsync(db, batch, now, ct);
            return true;
        }
        catch (DbUpdateConcurrencyException)
        {
            log.LogInformation("A sandbox of {Count} that wait changed meanwhile; the next pass tells why they wait", batch.Length);
            return false;
        }
    }

    /// <summary>Gives notice to others for those that may ask for it and have nobody under notice yet. False: one of those others has changed.</summary>
    private async Task<bool> PreemptAsync(SandboxDb db, List<Placement.NodePicture> nodes, List<Placement.Request> unplaced, DateTimeOffset now, CancellationToken ct)
    {
        if (unplaced.Count == 0) return true;
        var waits = (await PreemptionNotices.ClaimsAsync(db, ct)).Where(c => c.IsOpen).Select(c => c.By).ToHashSet();
        var asking = unplaced.Where(r => !waits.Contains(r.Id)).Take(MostPreempting).ToList();
        if (asking.Count == 0) return true;
        var guests = await FleetReading.ReadGuestsAsync(db, nodes, asking.Max(r => r.Priority), ct);
        foreach (var request in asking)
        {
            if (Preemption.Choose(request, nodes, guests) is not { } choice) continue;
            try
            {
                await PreemptionNotices.GiveAsync(db, request.Id, choice, now, settings.PreemptionNotice, ct);
            }
            catch (DbUpdateConcurrencyException)
            {
                log.LogInformation("Those who were to end for sandbox {SandboxId} changed meanwhile; another pass looks again", request.Id);
                return false;
            }
            choice.Node.Reservation = new(request.Id, request.Priority);
        }
        return true;
    }

    private static string Describe(IEnumerable<Placement.NodePicture> fleet) => string.Join(';', fleet.Select(n =>
        $"{n.Id}:{n.Phase}:{n.VcpuCapacity}:{n.FreeVcpus}:{n.MemoryCapacityMib}:{n.FreeMemoryMib}:{string.Join('+', n.FreeHugePages.OrderBy(p => p.Key).Select(p => p.Value))}:{n.HeldDevices.Count}:{string.Join(',', n.FreeDevices.Select(Describe))}:{string.Join(',', n.Images.Order(StringComparer.Ordinal))}:{string.Join(',', n.Viommus.Order())}:{string.Join(',', n.Vmms.Order())}:{n.StartsRegistered}:{n.HasFirmware}:{n.ImageCacheMaxBytes}:{n.ImageFiles.Sum(f => f.Bytes)}"));

    private static string Describe(Placement.FreeDevice device) => $"{device.Id}/{device.VendorId}/{device.DeviceId}/{device.Verdict}/{string.Join('+', device.Viommus.Order())}/{device.FitsKvmtool}/{device.IsSimulated}";
}
