namespace GuestAgent.Probe;

/// <summary>Why a probe ended: a stable code and a sentence with the step's errno.</summary>
internal sealed class ProbeException(string reason, string message) : Exception(message)
{
    public string Reason { get; } = reason;

    public static ProbeException FromErrno(string reason, string step) => new(reason, $"{step}: {LibC.Describe(LibC.LastError)}");
}
