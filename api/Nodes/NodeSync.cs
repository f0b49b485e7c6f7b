using Api.Data;
using Api.Devices;
using Api.Events;
using Api.Faults;
using Api.Images;
using Api.Replicas;
using Api.Sandboxes;
using Contracts;
using Microsoft.EntityFrameworkCore;
using Sandbox = Api.Sandboxes.Sandbox;

namespace Api.Nodes;

/// <summary>Stores what a node reports and answers what it should run.
/// Guarantees: phases, devices and their events change in one transaction; a report applied twice changes nothing the second time;
/// nothing of a report of another machine than the node is stored.
/// Assumes: a report is one consistent snapshot. On a crash midway nothing of the report is stored and the node sends it again.</summary>
public sealed class NodeSync(IServiceScopeFactory scopes, NodePlans plans, AnsweredReports answers, FaultIntake faults, SandboxScheduler scheduler, ReplicaSettings replica, TimeProvider time, ILogger<NodeSync> log)
{
    private const int Attempts = 5;
    private Guid? operating;
    public const int MaxReportedSandboxes = 4096, MaxReportedDevices = 4096, MaxReportedImages = 256;

    /// <summary>The plan, with what it answers; null: the report is of another machine than the node, or came by a token (<paramref name="token"/>: its hash) that is the node's no more. <paramref name="last"/>: of the same connection.</summary>
    public async Task<AnsweredReport?> SyncAsync(Guid nodeId, byte[] token, NodeReport report, AnsweredReport? last, CancellationToken ct)
    {
        if (report.Sandboxes.Count > MaxReportedSandboxes || report.Devices.Count > MaxReportedDevices || report.Images.Count > MaxReportedImages)
            throw new InvalidOperationException($"node {nodeId} reports more than the limits allow");
        var digest = AnsweredReports.Digest(report);
        if (last is not null && await answers.HoldsAsync(last, nodeId, token, report.Installation, digest, time.GetUtcNow(), ct)) return last;
        for (var attempt = 1; ; attempt++)
        {
            var rows = await answers.RowsAsync(nodeId, ct);
            await using var scope = scopes.CreateAsyncScope();
            var db = scope.ServiceProvider.GetRequiredService<SandboxDb>();
            try
            {
                return await ApplyAsync(db, nodeId, token, report, ct) is { } plan ? new AnsweredReport(digest, rows, plan) : null;
            }
            catch (DbUpdateConcurrencyException) when (attempt < Attempts)
            {
                log.LogDebug("Node {NodeId}: a row changed during the sync; once more", nodeId);
            }
        }
    }

    private async Task<NodePlan?> ApplyAsync(SandboxDb db, Guid nodeId, byte[] token, NodeReport report, CancellationToken ct)
    {
        var now = time.GetUtcNow();
        if (await db.Nodes.SingleOrDefaultAsync(n => n.Id == nodeId, ct) is not { } node || !node.TokenSha256.AsSpan().SequenceEqual(token)) return null;
        if (NodeMachine.Judge(node.Installation, report.Installation) == NodeMachine.Judgement.Another) return null;
        ApplyNode(db, node, report, now);
        node.ReplicaId = replica.Id;
        await ApplyImagesAsync(db, node, report.Images, now, ct);

        // Devices before sandboxes: a placement between the two then shows a device as still free, never a given one without its sandbox.
        var devices = await db.Devices.Where(d => d.NodeId == nodeId).ToListAsync(ct);
        var sandboxes = await db.Sandboxes.Where(s => s.NodeId == nodeId).ToDictionaryAsync(s => s.Id, ct);
        foreach (var observed in report.Sandboxes)
            if (sandboxes.TryGetValue(observed.Id, out var sandbox)) ApplySandbox(db, node, devices, sandbox, observed, now);
        var gone = sandboxes.Values.Where(s => db.Entry(s).State == EntityState.Deleted).ToList();
        operating ??= await db.Projects.Where(p => p.Operates).Select(p => (Guid?)p.Id).SingleOrDefaultAsync(ct);
        var freed = ApplyDevices(db, node, devices, report.Devices, sandboxes, gone, now);
        await db.SaveChangesAsync(ct);

        if (freed || gone.Count > 0) scheduler.Wake();
        var plan = await plans.ComputeAsync(db, node, ct);
        faults.Know(nodeId, plan.Sandboxes.Select(s => new OwnedSandbox(s.Id, s.Incarnation, s.Spec.Vmm == Vmm.Simulated ? Origin.Simulated : report.Facts.Origin ?? Origin.Hardware,
            sandboxes.GetValueOrDefault(s.Id)?.LeaseIdleTimeoutSeconds is not null)));
        return plan;
    }

    private static void ApplyNode(SandboxDb db, Node node, NodeReport report, DateTimeOffset now)
    {
        node.Installation = report.Installation;
        node.LastReportAt = now;
        node.WorkerVersion = report.WorkerVersion;
        node.Refusal = null;
        node.Facts = report.Facts;
        node.ProtocolMinor = report.ProtocolMinor;
        if (node.Phase is not (NodePhase.Joining or NodePhase.Unreachable)) return;
        var type = node.Phase == NodePhase.Joining ? EventType.NodeJoined : EventType.NodePhase;
        node.Phase = node.Standing;
        db.Events.Add(Event.Infrastructure(type, node.Id, node.Name, "NodeReported", $"Node {node.Name} reports and is {node.Phase}.", now));
    }

    private static async Task ApplyImagesAsync(SandboxDb db, Node node, IReadOnlyList<ReportedImage> reported, DateTimeOffset now, CancellationToken ct)
    {
        var stored = await db.NodeImages.Where(i => i.NodeId == node.Id).ToDictionaryAsync(i => i.Name, ct);
        foreach (var image in reported)
        {
            if (stored.Remove(image.Name, out var row) && row.Digest == image.Digest) continue;
            if (row is null) db.NodeImages.Add(row = new NodeImage { NodeId = node.Id, Name = image.Name, Digest = "", Architecture = "", Kernel = "" });
            (row.Digest, row.Architecture, row.Kernel, row.HasAgent, row.SizeBytes) = (image.Digest, image.Architecture, image.Kernel, image.HasAgent, image.SizeBytes);
            db.Events.Add(Event.Infrastructure(EventType.ImageChanged, node.Id, image.Name, "ImageReported", $"Node {node.Name} has image {image.Name}.", now));
        }
        foreach (var missing in stored.Values)
        {
            db.NodeImages.Remove(missing);
            db.Events.Add(Event.Infrastructure(EventType.ImageChanged, node.Id, missing.Name, "ImageGone", $"Node {node.Name} no longer has image {missing.Name}.", now));
        }
    }

    private static void ApplySandbox(SandboxDb db, Node node, List<Device> devices, Sandbox sandbox, ReportedSandbox observed, DateTimeOffset now)
    {
        if (Observe() is SandboxLifecycle.Outcome.Gone)
        {
            db.Sandboxes.Remove(sandbox);
            db.Events.Add(Event.Of(sandbox, EventType.SandboxDeleted, "Removed", $"{sandbox.Name} is gone; nothing of it is left on its node.", now));
            return;
        }
        if (observed.Incarnation != sandbox.Incarnation || sandbox.Phase == Phase.Pending) return;

        // Details of an ended guest are still taken (its last conditions come with, or after, its end); its phase is not.
        foreach (var condition in observed.Conditions.Where(c => !FaultStorms.IsOutOfDate(c, observed.StormJudgedBy, sandbox.FaultStorm)).Select(c => SandboxStops.Told(c, sandbox.Failure)))
            if (sandbox.Set(condition))
                db.Events.Add(Event.Of(sandbox, EventType.SandboxCondition, condition.Reason, $"{condition.Type} is {condition.Status}: {condition.Message}", now));
        if (observed.Verdict is not null) sandbox.Verdict = observed.Verdict;
        sandbox.Guest = observed.Guest ?? sandbox.Guest;
        sandbox.Probe = observed.Probe?.ToList() ?? sandbox.Probe;
        sandbox.ExecAt = Stored(observed.ExecAt) ?? sandbox.ExecAt;
        sandbox.GuestReadyAt = Stored(observed.GuestReadyAt) ?? sandbox.GuestReadyAt;
        FaultStorms.Answer(db, sandbox, observed, devices, node.Name, now);
        if (Observe() is not SandboxLifecycle.Outcome.Become become) return;
        if (observed.State is not (VmState.Absent or VmState.Preparing)) sandbox.Launched = true;
        if (become.Phase is Phase.Failed or Phase.Stopped) sandbox.Failure = SandboxStops.FailureOfEnd(observed.Failure, sandbox.Failure);
        if (!sandbox.Enter(become.Phase, now)) return;
        var ended = become.Phase is Phase.Stopped or Phase.Failed ? observed.Conditions.FirstOrDefault(c => c is { Type: ConditionType.VmmRunning, Status: ConditionStatus.False }) : null;
        var told = ended is null ? null : SandboxStops.Told(ended, sandbox.Failure);
        db.Events.Add(Event.Of(sandbox, EventType.SandboxPhase, observed.Failure?.Reason ?? told?.Reason ?? become.Phase.ToString(),
            observed.Failure?.Message ?? told?.Message ?? $"{sandbox.Name} is {become.Phase}.", now));
        if (become.Phase is Phase.Stopped or Phase.Failed) SandboxRestarts.AfterEnd(db, sandbox, observed.Failure?.Reason ?? ended?.Reason, now);

        SandboxLifecycle.Outcome Observe() => SandboxLifecycle.Observe(sandbox.Phase, sandbox.Desired, sandbox.Incarnation, sandbox.Launched, observed.Incarnation, observed.State);
    }

    /// <summary>As the database keeps it: to the microsecond. What is more exact would be another time with each report, and each a new version of the row.</summary>
    private static DateTimeOffset? Stored(DateTimeOffset? at) => at is { } exact ? exact.AddTicks(-(exact.Ticks % TimeSpan.TicksPerMicrosecond)) : null;

    /// <summary>True if a device became free. Its events are those of whoever operates the service, and of the project whose sandbox had it.</summary>
    private bool ApplyDevices(SandboxDb db, Node node, List<Device> stored, IReadOnlyList<ReportedDevice> reported,
        Dictionary<Guid, Sandbox> sandboxes, List<Sandbox> gone, DateTimeOffset now)
    {
        var freed = false;
        var byAddress = stored.ToDictionary(d => d.Address);
        foreach (var seen in reported)
        {
            if (!byAddress.Remove(seen.Address, out var device))
            {
                device = new Device { Id = Guid.CreateVersion7(), NodeId = node.Id, Address = seen.Address, Class = seen.Class, VendorId = "", DeviceId = "", Description = "", Phase = DevicePhase.Cleaning };
                db.Devices.Add(device);
            }
            (device.Class, device.VendorId, device.DeviceId, device.Description) = (seen.Class, seen.VendorId, seen.DeviceId, seen.Description);
            (device.Origin, device.Verdict, device.Quarantine, device.Present) = (seen.Origin, seen.Verdict, seen.Quarantine, true);
            (device.Viommus, device.FitsKvmtool) = ([.. seen.Viommus], seen.FitsKvmtool);
            device.LiftQuarantineOf = DeviceLifecycle.LiftStillWanted(device.LiftQuarantineOf, seen.Quarantine?.At);
            var had = device.SandboxId;
            var next = DeviceLifecycle.Observe(device.SandboxId, HolderOf(device), seen.HeldBy, seen.Quarantine is not null, device.OperatorQuarantine is not null);
            if (!next.Keeps) device.SandboxId = null;
            if (next.Phase == device.Phase) continue;
            freed |= next.Phase == DevicePhase.Available;
            device.Phase = next.Phase;
            Tell(device, had, next.Phase.ToString(), $"{device.Address} on {node.Name} is {next.Phase}.");
        }
        foreach (var missing in byAddress.Values)
        {
            var next = DeviceLifecycle.Missing(missing.Phase, missing.SandboxId, HolderOf(missing));
            var known = !missing.Present && (next.Keeps || missing.SandboxId is null && (missing.Quarantine is null || DeviceVanishing.IsIt(missing.Quarantine)));
            if (known) continue;
            (missing.Present, missing.Phase) = (false, next.Phase);
            Tell(missing, missing.SandboxId, next.Keeps ? "DeviceMissing" : DeviceVanishing.Reason, $"{missing.Address} is not in the report of {node.Name} any more{(next.Keeps ? "" : ", and no sandbox has it")}.");
            if (!next.Keeps) (missing.SandboxId, missing.Quarantine) = (null, DeviceVanishing.Of(missing.Address, node.Name, now));
        }
        return freed;

        void Tell(Device device, Guid? had, string reason, string message)
        {
            db.Events.Add(Event.Infrastructure(EventType.DevicePhase, device.Id, device.Address, reason, message, now));
            if (had is { } id && sandboxes.TryGetValue(id, out var holder) && holder.ProjectId != operating)
                db.Events.Add(Event.Of(holder.ProjectId, EventType.DevicePhase, device.Id, device.Address, reason, message, now));
        }

        Phase? HolderOf(Device device) => device.SandboxId is { } id && sandboxes.TryGetValue(id, out var holder) && !gone.Contains(holder) ? holder.Phase : null;
    }
}
