using Api.Data;
using Api.Devices;
using Api.Events;
using Contracts;

namespace Api.Sandboxes;

/// <summary>What a sandbox's policy makes of a storm that its node reports.
/// Guarantees: only a judgement by the policy as it is now counts; a storm that goes on, and a report that is applied again, stop nothing and quarantine nothing twice,
/// and what an operator releases meanwhile stays released. Assumes: the rows are stored in one transaction under xmin. On a crash the next report brings the storm again.</summary>
public static class FaultStorms
{
    private const string MendFirst = "Look at its faults (GET /v1/sandboxes/{id}/faults) and its console, mend what the guest does with its device or change the policy (PUT /v1/sandboxes/{id}/storm-policy), then start it again.";
    private const string DeviceMessage = "A guest raised a fault storm with it, and its policy was to quarantine.";
    private const string DeviceRemedy = "Find out whether the guest or the device was at fault, then release it: POST /v1/devices/{id}/release.";

    /// <summary>A condition FaultStorm by another policy than the sandbox's, or of a sandbox without one, is out of date.</summary>
    public static bool IsOutOfDate(Condition condition, StormPolicy? judgedBy, StormPolicy? policy) =>
        condition.Type == ConditionType.FaultStorm && policy?.MeasuresLike(judgedBy) is not true;

    public static void Answer(SandboxDb db, Sandbox sandbox, ReportedSandbox observed, IEnumerable<Device> devices, string node, DateTimeOffset now)
    {
        if (sandbox.FaultStorm is not { } policy || !policy.MeasuresLike(observed.StormJudgedBy) || observed.Conditions.FirstOrDefault(StormReasons.IsStorm) is not { } storm) return;
        var answer = SandboxLifecycle.OnStorm(policy.Action, sandbox.Desired, observed.State, sandbox.StormQuarantineOf == sandbox.Incarnation);
        if (answer.Stops)
        {
            sandbox.Desired = DesiredState.Stopped;
            sandbox.Generation++;
            sandbox.Failure = new Failure(StormReasons.Storm, $"Its storm policy has stopped it{(policy.Action == StormAction.Quarantine ? " and quarantined its devices" : "")}. {storm.Message}", MendFirst, now);
            sandbox.Enter(Phase.Stopping, now);
            db.Events.Add(Event.Of(sandbox, EventType.SandboxPhase, StormReasons.Storm, $"{sandbox.Name} shall be {sandbox.Desired}: {sandbox.Failure.Message}", now));
        }
        if (!answer.Quarantines) return;
        sandbox.StormQuarantineOf = sandbox.Incarnation;
        // The first who took a device out stays its reason. Events of devices are everybody's: they name no sandbox.
        foreach (var device in devices.Where(d => d.SandboxId == sandbox.Id && d.OperatorQuarantine is null))
        {
            device.OperatorQuarantine = new Failure(StormReasons.Storm, DeviceMessage, DeviceRemedy, now);
            device.Phase = DeviceLifecycle.Quarantine(device.Phase);
            db.Events.Add(Event.Infrastructure(EventType.DeviceQuarantine, device.Id, device.Address, StormReasons.Storm, $"{device.Address} on {node} is handed out no more once its tenancy is over: {DeviceMessage}", now));
        }
    }
}
