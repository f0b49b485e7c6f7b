using Contracts;

namespace Worker.Vms;

public enum VmStep { None, Start, ReportLost, ReportStopped, AskPowerOff, AskAgentPowerOff, Quit, Kill, Finish, Remove }

/// <summary>What the last plan says of a sandbox: not known yet, named, or not named any more.</summary>
public readonly record struct Wanted(bool Known, PlannedSandbox? Planned)
{
    public bool Gone => Known && (Planned is null || Planned.Desired == DesiredState.Deleted);
}

// Pure: the one next thing to do for a sandbox, from what is recorded, what is wanted, and whether its VMM lives.
// Every step is safe to repeat, so a worker that died in the middle of one does it again.
public static class VmDecision
{
    /// <summary>A guest whose power button is not wired gets the same wish through its agent a little later.</summary>
    public static readonly TimeSpan AgentPowerOffAfter = TimeSpan.FromSeconds(2);
    public static readonly TimeSpan QuitAfter = TimeSpan.FromSeconds(10);
    public static readonly TimeSpan KillAfter = TimeSpan.FromSeconds(12);

    // vmmLives: A process of the VMM exists.
    public static VmStep Next(VmRecord? record, Wanted wanted, bool vmmLives, DateTimeOffset now) =>
        record is { HasEnded: false } ? NextOfLive(record, wanted, vmmLives, now) : NextOfEnded(record, wanted);

    private static VmStep NextOfLive(VmRecord record, Wanted wanted, bool vmmLives, DateTimeOffset now)
    {
        if (!vmmLives)
            return VmStep.Finish;
        if (record.End is not null || wanted.Gone || wanted.Planned?.Incarnation > record.Incarnation)
            return VmStep.Kill;
        if (wanted.Planned is not { Desired: DesiredState.Stopped })
            return record.StopAskedAt is null ? VmStep.None : NextOfStopping(record.StopAskedAt.Value, now);
        return record.StopAskedAt is { } asked ? NextOfStopping(asked, now) : VmStep.AskPowerOff;
    }

    private static VmStep NextOfStopping(DateTimeOffset asked, DateTimeOffset now) => (now - asked) switch
    {
        var waited when waited >= KillAfter => VmStep.Kill,
        var waited when waited >= QuitAfter => VmStep.Quit,
        var waited when waited >= AgentPowerOffAfter => VmStep.AskAgentPowerOff,
        _ => VmStep.None,
    };

    private static VmStep NextOfEnded(VmRecord? record, Wanted wanted)
    {
        if (wanted.Gone)
            return VmStep.Remove;
        if (wanted.Planned is not { } planned || planned.Incarnation <= record?.Incarnation)
            return VmStep.None;
        if (planned.Desired == DesiredState.Stopped)
            return VmStep.ReportStopped;
        return planned.Launched ? VmStep.ReportLost : VmStep.Start;
    }
}
