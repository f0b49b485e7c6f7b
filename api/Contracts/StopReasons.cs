namespace Contracts;

/// <summary>What a node says of a guest that ended because its plan said so: it does not know who wanted that.</summary>
public static class StopReasons
{
    public const string AsPlanned = "StoppedAsPlanned";
    /// <summary>The same, of workers of before that name.</summary>
    private const string ByUser = "StoppedByUser";

    public static bool IsAsPlanned(string reason) => reason is AsPlanned or ByUser;
}
