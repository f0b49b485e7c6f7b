using Contracts;

namespace Api.Sandboxes;

/// <summary>One guest and its devices, as stored. <c>Version</c> is PostgreSQL's xmin: two writers never overwrite each other.</summary>
public sealed class Sandbox
{
    public Guid Id { get; init; }
    public Guid ProjectId { get; init; }
    public required string Name { get; init; }
    public required string Image { get; init; }
    /// <summary>The registered image that the name meant when it was asked for; null: a folder of its node.</summary>
    public Guid? ImageId { get; init; }
    public int Vcpus { get; init; }
    public int MemoryMib { get; init; }
    public List<AcceleratorCount> Accelerators { get; init; } = [];
    public HugePageSize HugePages { get; init; }
    public Viommu Viommu { get; init; }
    public Vmm Vmm { get; init; }
    /// <summary>Name of the only node that may run it; null: any.</summary>
    public string? WantedNode { get; init; }
    /// <summary>The higher, the earlier it is placed: see <see cref="PlacementQueue"/>.</summary>
    public int Priority { get; set; }
    /// <summary>Null: none.</summary>
    public PlacementRules? Rules { get; init; }
    public DateTimeOffset? LeaseExpiresAt { get; set; }
    public LeaseEnd? LeaseOnExpiry { get; set; }
    /// <summary>That this lease ends soon has been told.</summary>
    public bool LeaseWarned { get; set; }
    /// <summary>Its lease ends when nobody has used it for so long; null: however idle it is.</summary>
    public int? LeaseIdleTimeoutSeconds { get; set; }
    /// <summary>When somebody last typed into its console, its workload told work, or it began to run. Written at most every 30 s (<see cref="SandboxActivity"/>).</summary>
    public DateTimeOffset? LastActivityAt { get; set; }
    /// <summary>The last activity after which it was told that the lease will end for idleness.</summary>
    public DateTimeOffset? IdleWarnedFor { get; set; }
    /// <summary>Null: never started again by itself.</summary>
    public RestartPolicy? Restart { get; set; }
    /// <summary>When it is started again by itself; null: it is not.</summary>
    public DateTimeOffset? RestartAt { get; set; }
    /// <summary>Starts by its policy since it last ran for long.</summary>
    public int RestartCount { get; set; }
    /// <summary>Its node's drain stops it: once it has ended it is placed elsewhere.</summary>
    public bool MovesAfterStop { get; set; }
    /// <summary>The drain that its owner was told of last.</summary>
    public Guid? ToldDrain { get; set; }
    /// <summary>Replaced as a whole, never changed in place.</summary>
    public Dictionary<string, string> Labels { get; set; } = [];
    public string? UserData { get; init; }
    public List<string> SshKeys { get; init; } = [];
    /// <summary>Null: nobody judges whether its faults are a storm.</summary>
    public StormPolicy? FaultStorm { get; set; }
    /// <summary>The incarnation whose devices its storm policy has quarantined last; null: none.</summary>
    public int? StormQuarantineOf { get; set; }

    public DesiredState Desired { get; set; }
    public Phase Phase { get; set; }
    public int Generation { get; set; }
    public int Incarnation { get; set; }
    /// <summary>The node has reported this incarnation, so nobody may start it a second time.</summary>
    public bool Launched { get; set; }
    public Guid? NodeId { get; set; }
    /// <summary>Until when it has notice to end for another; null: it has none, or its time has come.</summary>
    public DateTimeOffset? PreemptAt { get; set; }
    /// <summary>The waiting sandbox for which it ends or has ended, and for which its node is kept.</summary>
    public Guid? PreemptedFor { get; set; }
    /// <summary>Since when it waits for a place, or has waited last.</summary>
    public DateTimeOffset QueuedAt { get; set; }
    /// <summary>Why the scheduler refused it last; null: not refused since it became pending.</summary>
    public string? RefusedReason { get; set; }

    public List<Condition> Conditions { get; set; } = [];
    public List<PhaseEntry> Phases { get; set; } = [];
    public Failure? Failure { get; set; }
    public Verdict? Verdict { get; set; }
    public GuestFacts? Guest { get; set; }
    public List<ProbeResult>? Probe { get; set; }
    public DateTimeOffset? ExecAt { get; set; }
    public DateTimeOffset? GuestReadyAt { get; set; }
    public DateTimeOffset CreatedAt { get; init; }
    public DateTimeOffset UpdatedAt { get; set; }
    public uint Version { get; set; }

    /// <summary>Most phase entries kept; the oldest go first.</summary>
    public const int MaxPhases = 64;

    public bool Enter(Phase phase, DateTimeOffset at)
    {
        if (Phase == phase && Phases.Count > 0) return false;
        Phase = phase;
        if (phase == Phase.Pending) QueuedAt = at;
        Phases = [.. Phases.TakeLast(MaxPhases - 1), new PhaseEntry(phase, at)];
        UpdatedAt = at;
        if (phase == Phase.Running) LastActivityAt = at;
        return true;
    }

    /// <summary>Replaces the condition of that type; true if its status or reason changed.</summary>
    public bool Set(Condition condition)
    {
        var old = Conditions.Find(c => c.Type == condition.Type);
        if (old is not null && old.Status == condition.Status && old.Reason == condition.Reason && old.Message == condition.Message) return false;
        Conditions = [.. Conditions.Where(c => c.Type != condition.Type).Append(condition).OrderBy(c => c.Type)];
        UpdatedAt = condition.Since > UpdatedAt ? condition.Since : UpdatedAt;
        return old is null || old.Status != condition.Status || old.Reason != condition.Reason;
    }

    /// <summary>Forgets what the last guest showed, before another is started.</summary>
    public void ForgetGuest()
    {
        Launched = false;
        Failure = null;
        Verdict = null;
        Guest = null;
        Probe = null;
        ExecAt = null;
        GuestReadyAt = null;
        RefusedReason = null;
        Conditions = [];
    }
}
