using System.Security.Claims;
using Api.Data;
using Api.Events;
using Api.Http;
using Api.Nodes;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Devices;

/// <summary>An operator takes a device out of service, or puts it back.
/// Guarantees: nobody's guest is ended by it; the wish and its event are one transaction, and neither an operator nor a report overwrites what changed meanwhile (xmin).
/// On a crash: what is stored holds, and the node gets the plan with its next report.</summary>
public sealed class DeviceQuarantines(SandboxDb db, NodePlans plans, TimeProvider time)
{
    public const string ByOperator = "QuarantinedByOperator";
    public const int MaxMessage = 500;
    private const int Attempts = 10;
    private const string DefaultMessage = "An operator has taken it out of service.";
    private const string Remedy = "Release it when it may be handed out again: POST /v1/devices/{id}/release.";

    public Task<IResult> QuarantineAsync(Guid id, string? message, ClaimsPrincipal user, CancellationToken ct)
    {
        if (message is { Length: > MaxMessage } || message?.Any(char.IsControl) is true)
            return Task.FromResult(ApiProblem.Validation("message", $"takes at most {MaxMessage} characters, none of them control characters"));
        return ChangeAsync(id, user, (device, node, now) =>
        {
            // The first who took it out stays its reason.
            if (device.OperatorQuarantine is not null) return null;
            device.OperatorQuarantine = new Failure(ByOperator, string.IsNullOrWhiteSpace(message) ? DefaultMessage : message.Trim(), Remedy, now);
            device.Phase = DeviceLifecycle.Quarantine(device.Phase);
            db.Events.Add(Event.Infrastructure(EventType.DeviceQuarantine, device.Id, device.Address, ByOperator,
                $"{user.Identity!.Name} has quarantined {device.Address} on {node}{(device.Phase == DevicePhase.Quarantined ? "" : "; it is handed out no more once its tenancy is over")}: {device.OperatorQuarantine.Message}", now));
            return null;
        }, ct);
    }

    public Task<IResult> ReleaseAsync(Guid id, ClaimsPrincipal user, CancellationToken ct) => ChangeAsync(id, user, (device, node, now) =>
    {
        // What the API has set itself it takes back itself: its node knows nothing of it.
        var vanished = DeviceVanishing.IsIt(device.Quarantine);
        var (outcome, phase) = DeviceLifecycle.Lift(device.Phase, device.Present, vanished || device.OperatorQuarantine is not null, vanished ? null : device.Quarantine?.At, device.LiftQuarantineOf);
        if (outcome == DeviceLifecycle.Release.NotQuarantined) return ApiProblem.Of(409, "not_quarantined", "Neither an operator nor its node has quarantined it.");
        if (outcome == DeviceLifecycle.Release.Unchanged) return null;
        if (vanished) device.Quarantine = null;
        (device.OperatorQuarantine, device.LiftQuarantineOf, device.Phase) = (null, device.Quarantine?.At, phase);
        db.Events.Add(Event.Infrastructure(EventType.DeviceQuarantine, device.Id, device.Address, "ReleasedByOperator",
            $"{user.Identity!.Name} has released {device.Address} on {node}{(vanished ? ", which no longer has it." : device.Quarantine is null ? "." : "; its node cleans it once more before it is handed out.")}", now));
        return null;
    }, ct);

    private async Task<IResult> ChangeAsync(Guid id, ClaimsPrincipal user, Func<Device, string, DateTimeOffset, IResult?> change, CancellationToken ct)
    {
        for (var attempt = 1; ; attempt++)
        {
            if (await db.Devices.SingleOrDefaultAsync(d => d.Id == id, ct) is not { } device) return ApiProblem.Of(404, "device_not_found", "There is no device with that id.");
            var node = await db.Nodes.Where(n => n.Id == device.NodeId).Select(n => n.Name).SingleAsync(ct);
            if (change(device, node, time.GetUtcNow()) is { } refusal) return refusal;
            var lifts = db.Entry(device).Property(d => d.LiftQuarantineOf).IsModified;
            try
            {
                await db.SaveChangesAsync(ct);
            }
            catch (DbUpdateConcurrencyException) when (attempt < Attempts)
            {
                db.ChangeTracker.Clear();
                continue;
            }
            if (lifts) await db.AfterCommitAsync(() => plans.ChangedAsync(device.NodeId, ct));
            return Results.Ok((await DeviceViews.ReadAsync(db.Devices.AsNoTracking().Where(d => d.Id == id), db, user.ProjectId(), 1, ct))[0]);
        }
    }
}
