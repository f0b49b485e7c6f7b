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
        var reason = cause is EndCause.VmmExited or EndCause.VmmKilled && record.State == VmState.Preparing ? StartReasons.VmmStartFailed : EndReasons.Of(cause);
        var failure = stopped ? null : record.Failure ?? FailureOf(cause, reason, vmmLog, now);
        var (code, message) = failure is null ? (reason.Code, reason.Message) : (failure.Reason, failure.Message);
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
            .With(new Condition(ConditionType.VmmRunning, ConditionStatus.False, code, message, now))
            .With(new Condition(ConditionType.GuestReady, ConditionStatus.False, code, message, now))
            .With(ConditionReasons.GuestEnded.At(now));
        // Nothing storms any more; that it did must still be told where nobody could be told in time.
        if (record.Conditions.FirstOrDefault(c => c is { Type: ConditionType.FaultStorm, Status: ConditionStatus.True }) is { } storm)
            ended = ended.With(ConditionReasons.EndedInStorm.At(now, storm.Message));
        return record.HeldDevices.Count == 0
            ? ended
            : ended.With(ConditionReasons.Released.At(now));
    }

    private static Failure FailureOf(EndCause cause, Reason reason, string vmmLog, DateTimeOffset now)
    {
        var said = vmmLog.Length == 0 || cause is EndCause.VmmLost or EndCause.GuestPanicked or EndCause.GuestReset ? null : $"It said: {vmmLog}";
        return (reason == StartReasons.VmmStartFailed || cause == EndCause.VmmKilled) && KnownFailures.EndOf(vmmLog) is { } known
            ? known.Reason.ToFailure(now, said)
            : reason.ToFailure(now, said);
    }
}
