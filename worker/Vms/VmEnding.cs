using Contracts;
using Worker.Checks;

namespace Worker.Vms;

// Pure: how an ended run is told: Stopped where the user or the guest wanted it, Failed with a reason and a remedy otherwise.
public static class VmEnding
{
    // observed: What the VMM left behind says, for a run whose end nobody saw.
    public static EndCause CauseOf(VmRecord record, Func<EndCause> observed) => record.End switch
    {
        EndCause.GuestPoweredOff when record.StopAskedAt is not null => EndCause.StoppedByUser,
        { } cause => cause,
        null when record.StopAskedAt is not null => EndCause.StoppedByUser,
        null => observed(),
    };

    public static VmRecord Apply(VmRecord record, EndCause cause, string vmmLog, DateTimeOffset now)
    {
        var stopped = cause is EndCause.StoppedByUser or EndCause.GuestPoweredOff or EndCause.NodeShutDown;
        var reason = cause switch
        {
            _ when !stopped && record.Failure is { } told => told.Reason,
            EndCause.Failed => "VmmStartFailed",
            EndCause.VmmExited or EndCause.VmmKilled when record.State == VmState.Preparing => "VmmStartFailed",
            _ => cause.ToString(),
        };
        var failure = stopped ? null : record.Failure ?? FailureOf(reason, vmmLog, now);
        var message = failure?.Message ?? cause switch
        {
            EndCause.StoppedByUser => "The guest was stopped as asked.",
            EndCause.NodeShutDown => "The node was shut down, and its guests with it.",
            _ => "The guest powered itself off.",
        };
        var ended = record with
        {
            State = stopped ? VmState.Stopped : VmState.Failed,
            End = cause,
            Failure = failure,
            EndedAt = record.EndedAt ?? now,
            HeldDevices = [],
            Process = null,
            User = null,
            Cgroup = null,
        };
        ended = ended
            .With(new Condition(ConditionType.VmmRunning, ConditionStatus.False, reason, message, now))
            .With(new Condition(ConditionType.GuestReady, ConditionStatus.False, reason, message, now))
            .With(new Condition(ConditionType.SvaReady, ConditionStatus.Unknown, "GuestEnded", "The guest has ended.", now));
        return record.HeldDevices.Count == 0
            ? ended
            : ended.With(new Condition(ConditionType.DevicesReady, ConditionStatus.False, "Released", "The devices are clean and given back.", now));
    }

    private static Failure FailureOf(string reason, string vmmLog, DateTimeOffset now)
    {
        var said = vmmLog.Length == 0 ? "" : $" It said: {vmmLog}";
        if (reason is "VmmStartFailed" or "VmmKilled" && KnownFailures.In(LogSource.Vmm, vmmLog) is { } known)
            return new Failure(known.Code, known.Message + said, known.Remedy, now);
        var (message, remedy) = reason switch
        {
            "VmmKilled" => ($"The VMM ended without a word: it was killed or crashed.{said}", "Look for the kernel's out-of-memory killer on the node, then start the sandbox again."),
            "VmmExited" => ($"The VMM was told to end by somebody else.{said}", "Start the sandbox again."),
            "VmmStartFailed" => ($"The VMM did not come up.{said}", "Run the worker's check on the node, then start the sandbox again."),
            "VmmLost" => ("The node no longer has this guest; it was restarted or its state was removed.", "Start the sandbox again."),
            "GuestPanicked" => ("The guest's kernel panicked.", "Read the serial console, then start the sandbox again."),
            "GuestReset" => ("The guest reset its machine without powering off.", "Read the serial console, then start the sandbox again."),
            _ => ($"The guest ended while nobody watched, and how could not be read.{said}", "Read the serial console, then start the sandbox again."),
        };
        return new Failure(reason, message, remedy, now);
    }
}
