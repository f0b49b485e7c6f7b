using Contracts;
using Worker.Faults;

namespace Worker.Vms;

// Whether the guest's faults are a storm, by the plan's policy. Judged where the samples are taken, by the one sampler of a node; told to the runner's loop,
// which alone writes it down. Guarantees: what a full queue refused is told again with the next sample, because what is told is compared with what is published.
public sealed partial class VmRunner
{
    private StormDetector? _storm;
    private int _stormIncarnation;

    /// <summary>The fault counters of a running guest.</summary>
    public FaultSample? Sample(DateTimeOffset now)
    {
        if (View is not { Sandbox: { State: VmState.Booting or VmState.Running or VmState.Stopping } sandbox } || _vm?.Sample(now) is not { } sample)
            return null;
        if (sample.Incarnation == sandbox.Incarnation)
            JudgeStorm(sandbox, sample);
        return sample;
    }

    private void JudgeStorm(ReportedSandbox sandbox, FaultSample sample)
    {
        // Before the first plan the policy that an earlier worker knew goes on.
        var wanted = Wanted;
        if ((wanted.Known ? wanted.Planned?.FaultStorm : sandbox.StormJudgedBy) is not { } policy)
        {
            _storm = null;
            if (sandbox.StormJudgedBy is not null)
                _queue.Writer.TryWrite(new VmStormJudged(sandbox.Incarnation, null, null));
            return;
        }
        var told = policy.MeasuresLike(sandbox.StormJudgedBy) ? sandbox.Conditions.FirstOrDefault(c => c.Type == ConditionType.FaultStorm) : null;
        if (_storm is null || _stormIncarnation != sandbox.Incarnation || !policy.MeasuresLike(_storm.Policy))
            (_storm, _stormIncarnation) = (new StormDetector(policy, ConditionReasons.All.FirstOrDefault(r => r.Type == ConditionType.FaultStorm && r.Code == told?.Reason) ?? ConditionReasons.StormNotJudged), sandbox.Incarnation);
        var (reason, detail) = _storm.Take(_around.Time.GetElapsedTime(0), sample.Readings);
        if (told is null || told.Status != reason.Status || told.Reason != reason.Code)
            _queue.Writer.TryWrite(new VmStormJudged(sandbox.Incarnation, policy, reason.At(sample.At, detail)));
    }

    /// <summary>A judgement by another policy than the one before is a new one, and not that one going on.</summary>
    private static VmRecord WithStorm(VmRecord record, VmStormJudged storm)
    {
        var kept = storm.By?.MeasuresLike(record.StormJudgedBy) is true ? record : record with { Conditions = [.. record.Conditions.Where(c => c.Type != ConditionType.FaultStorm)] };
        return (storm.Condition is { } condition ? kept.With(condition) : kept) with { StormJudgedBy = storm.By };
    }
}
