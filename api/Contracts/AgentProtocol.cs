using System.Text.Json.Serialization;

namespace Contracts;

// The worker and the guest agent exchange one JSON object a line (UTF-8, at most AgentProtocol.MaxLineBytes, "type" first)
// over the virtio-serial port AgentProtocol.PortName. The guest is not trusted: the worker bounds every line and every rate.
// On each (re)connection the worker says Hello; the agent answers Ready and, if its probe has ended, Probe again.

/// <summary>Name and limits of the protocol between worker and guest agent.</summary>
public static class AgentProtocol
{
    public const string PortName = "org.sandbox.agent.0";
    /// <summary>2: sessions (<see cref="GuestSessions"/>).</summary>
    public const int Version = 2;
    /// <summary>The largest user data and keys that the API takes, with every byte escaped as six.</summary>
    public const int MaxLineBytes = 256 * 1024;
}

/// <summary>Worker to agent.</summary>
[JsonPolymorphic(TypeDiscriminatorPropertyName = "type")]
[JsonDerivedType(typeof(AgentHello), "hello")]
[JsonDerivedType(typeof(AgentConfigure), "configure")]
[JsonDerivedType(typeof(AgentBlockRead), "blockRead")]
[JsonDerivedType(typeof(AgentPowerOff), "powerOff")]
[JsonDerivedType(typeof(AgentToSession), "toSession")]
public abstract record AgentCommand;

/// <summary>Said first on each connection.</summary>
public sealed record AgentHello(int Protocol) : AgentCommand;

/// <summary>Sent once after the first Ready of a boot. User data that starts with <c>#!</c> is run once, as root, its output on the serial console;
/// any other text is only stored (/run/sandbox/user-data). SSH keys go to /root/.ssh/authorized_keys.</summary>
public sealed record AgentConfigure(string? UserData, IReadOnlyList<string> SshKeys) : AgentCommand;

/// <summary>A bounded workload for measuring: read <c>Mib</c> mebibytes with O_DIRECT from the first NVMe namespace.</summary>
public sealed record AgentBlockRead(int Id, int Mib) : AgentCommand;

/// <summary>Writes back the disks and powers the guest off at once: for a machine whose power button the guest cannot see.</summary>
public sealed record AgentPowerOff : AgentCommand;

/// <summary>Agent to worker.</summary>
[JsonPolymorphic(TypeDiscriminatorPropertyName = "type")]
[JsonDerivedType(typeof(AgentReady), "ready")]
[JsonDerivedType(typeof(AgentStats), "stats")]
[JsonDerivedType(typeof(AgentProbe), "probe")]
[JsonDerivedType(typeof(AgentConfigured), "configured")]
[JsonDerivedType(typeof(AgentBlockReadDone), "blockReadDone")]
[JsonDerivedType(typeof(AgentOfSession), "ofSession")]
public abstract record AgentMessage;

/// <summary>User space is up. <c>BootId</c> is the guest's /proc/sys/kernel/random/boot_id. <c>Instance</c>: made at the agent's start, since protocol 2; another one has none of the sessions of the one before.</summary>
public sealed record AgentReady(int Protocol, string AgentVersion, string Kernel, string BootId, long UptimeMilliseconds, int Cpus, long? MemoryKib, Guid? Instance = null) : AgentMessage;

/// <summary>Once a second, below 2 KiB. Counters of /proc/vmstat since boot: <c>Pgfault</c> counts minor and major faults together. The parts are null from an agent
/// that does not know them, or not yet; what an agent knows that its worker does not is passed over. Nothing of it is true only because it is told.</summary>
public sealed record AgentStats(
    long UptimeMilliseconds, long? Pgfault, long? Pgmajfault, AgentWorkload? Workload = null, AgentSmmuLog? SmmuLog = null, AgentPageFaults? PageFaults = null) : AgentMessage;

/// <summary>Why an agent has no count: <c>Reason</c> of a part, one of these. One that its worker does not know says no more than null.</summary>
public static class AgentReasons
{
    /// <summary>No user data script has begun in this boot.</summary>
    public const string NoWorkload = "NoWorkload";
    /// <summary>/dev/kmsg cannot be opened or read.</summary>
    public const string LogUnreadable = "LogUnreadable";
    /// <summary>The guest's kernel cannot be asked for recoverable page faults.</summary>
    public const string TracingMissing = "TracingMissing";
}

/// <summary>Page faults of the user data script: its process (/proc/PID/stat minflt, majflt) and the children that it has waited for (cminflt, cmajflt).
/// Once it has ended the exact final counts, as wait4 tells them in ru_minflt and ru_majflt, and these from then on.
/// <c>LowerBound</c>: it ended while no agent was there to be told, and these are the last that were seen.</summary>
public sealed record AgentWorkload(long? MinorFaults, long? MajorFaults, bool LowerBound, string? Reason);

/// <summary>SMMU events by type (F_TRANSLATION; Arm IHI 0070, 7.3) in the guest's kernel log since boot, as far as the log still has them.</summary>
public sealed record AgentSmmuLog(IReadOnlyDictionary<string, long>? Events, string? Reason)
{
    public const int MaxTypes = 32, MaxTypeLength = 40;
}

/// <summary>Recoverable page faults of devices since the guest's kernel was told to count them, which is at its boot: raised, and answered by outcome.
/// <c>Latency</c>: from a fault to its answer, in whole microseconds, rounded down. <c>LowerBound</c>: the kernel says that it has missed some.</summary>
public sealed record AgentPageFaults(long? Raised, long? Success, long? Invalid, long? Failure, LatencyHistogram? Latency, bool LowerBound, string? Reason);

/// <summary>The shared-address probe has ended for every PCI function that the agent knows how to probe; empty when there is none.</summary>
public sealed record AgentProbe(IReadOnlyList<ProbeResult> Devices) : AgentMessage;

/// <summary>The answer to Configure, once user data has ended. <c>ExitCode</c>: null when nothing was run or it was ended by a signal.</summary>
public sealed record AgentConfigured(bool UserDataRan, int? ExitCode) : AgentMessage;

/// <summary>The end of a BlockRead. <c>Error</c>: null when all of it was read.</summary>
public sealed record AgentBlockReadDone(int Id, long Bytes, long ElapsedMicroseconds, string? Error) : AgentMessage;

[JsonConverter(typeof(NamedEnum<ProbeOutcome>))]
public enum ProbeOutcome { Passed, Failed, Skipped }

/// <summary>What the probe saw on one PCI function of the guest.
/// The probe maps a page-aligned buffer through VFIO at IOVA equal to its own virtual address, hands the device the bare pointer,
/// and compares the data after the device has read it and after it has written it; then it lets the device write to an address that nobody mapped.
/// <c>Pasid</c>, <c>Ats</c>, <c>Pri</c>: whether the function's config space has the extended capability; false also for a function
/// that is provably not PCI Express (it has no extended space); null when its config space could not be read far enough to know.
/// <c>IovaEqualsVa</c> the address used, hexadecimal; null if no mapping was made.
/// <c>UnmappedAccess</c>: "sent" when the DMA to the unmapped address was issued (whether the SMMU saw it is observed outside the guest), else null.</summary>
public sealed record ProbeResult(
    string PciAddress, string VendorId, string DeviceId, ProbeOutcome Outcome, string Reason, string Message,
    string? IovaEqualsVa, bool? DeviceReadMatched, bool? DeviceWroteMatched, string? UnmappedAccess,
    bool? Pasid, bool? Ats, bool? Pri, string? IommuDriver, long ElapsedMicroseconds);

/// <summary>Serialization metadata for both ends (Native AOT: no reflection).</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.Never)]
[JsonSerializable(typeof(AgentCommand))]
[JsonSerializable(typeof(AgentMessage))]
public sealed partial class AgentJson : JsonSerializerContext;
