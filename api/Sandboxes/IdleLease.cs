namespace Api.Sandboxes;

/// <summary>When a lease ends by idleness. Pure.</summary>
public static class IdleLease
{
    /// <summary>Null: not by idleness, or not while it does not run.</summary>
    public static DateTimeOffset? EndsAt(Sandbox s) => s is { LeaseIdleTimeoutSeconds: { } idle, LastActivityAt: { } last, Phase: Contracts.Phase.Running } ? last.AddSeconds(idle) : null;
}
