using System.Text.Json;
using System.Text.Json.Serialization;
using Contracts;

namespace Worker.Vms;

/// <summary>Why a guest's run ended, or is being ended. The first cause stays.</summary>
[JsonConverter(typeof(NamedEnum<EndCause>))]
public enum EndCause { GuestPoweredOff, GuestPanicked, GuestReset, GuestEndUnknown, StoppedByUser, VmmKilled, VmmExited, VmmLost, NodeShutDown, Failed }

/// <summary>All that a worker must know of one incarnation to go on after a crash. Written before and after each step that changes the world.</summary>
public sealed record VmRecord(Guid Id, int Incarnation, VmState State)
{
    public string? HostBootId { get; init; }
    public ProcessIdentity? Process { get; init; }
    public uint? User { get; init; }
    public string? Cgroup { get; init; }
    public bool HasAgent { get; init; }
    /// <summary>Devices not yet cleaned after, or still used by, this incarnation.</summary>
    public IReadOnlyList<string> HeldDevices { get; init; } = [];
    public IReadOnlyList<Condition> Conditions { get; init; } = [];
    public EndCause? End { get; init; }
    public Failure? Failure { get; init; }
    public Verdict? Verdict { get; init; }
    public DateTimeOffset? ExecAt { get; init; }
    public DateTimeOffset? GuestReadyAt { get; init; }
    public DateTimeOffset? EndedAt { get; init; }
    public DateTimeOffset? StopAskedAt { get; init; }
    public GuestFacts? Guest { get; init; }
    public IReadOnlyList<ProbeResult>? Probe { get; init; }
    /// <summary>By which policy the condition FaultStorm was judged; null when there is none.</summary>
    public StormPolicy? StormJudgedBy { get; init; }
    /// <summary>The guest boot that has been given its user data and keys.</summary>
    public string? ConfiguredBootId { get; init; }
    /// <summary>Where this incarnation's output begins in the console.</summary>
    public long ConsoleFrom { get; init; }

    public bool HasEnded => State is VmState.Stopped or VmState.Failed or VmState.Absent;

    public VmRecord With(Condition condition) => this with
    {
        Conditions =
        [
            .. Conditions.Where(c => c.Type != condition.Type),
            Conditions.FirstOrDefault(c => c.Type == condition.Type) is { } old && old.Status == condition.Status && old.Reason == condition.Reason
                ? condition with { Since = old.Since }
                : condition,
        ],
    };

    public ReportedSandbox ToReport() => new(
        Id, Incarnation, State, Conditions, Failure, Verdict, HasEnded ? null : Process?.Pid, ExecAt, GuestReadyAt, EndedAt, Guest, Probe, StormJudgedBy);
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(VmRecord))]
[JsonSerializable(typeof(SandboxSpec))]
public sealed partial class VmJson : JsonSerializerContext;

// Guarantees: after a crash or power loss at any moment a file is the old or the new one, whole.
public static class VmFiles
{
    private const long MaxBytes = 1 << 20;

    public static void Write(RuntimeDirectory directory, VmRecord record) =>
        WholeFile.Replace(directory.StateFile, JsonSerializer.SerializeToUtf8Bytes(record, VmJson.Default.VmRecord));

    public static void Write(RuntimeDirectory directory, SandboxSpec spec) =>
        WholeFile.Replace(directory.SpecFile, JsonSerializer.SerializeToUtf8Bytes(spec, VmJson.Default.SandboxSpec));

    /// <summary>Null when there is none, or it is not readable as one.</summary>
    public static VmRecord? ReadRecord(RuntimeDirectory directory) =>
        Read(directory.StateFile) is { } bytes ? Parse(bytes, VmJson.Default.VmRecord) is { } record && record.Id == directory.Id ? record : null : null;

    public static SandboxSpec? ReadSpec(RuntimeDirectory directory) =>
        Read(directory.SpecFile) is { } bytes ? Parse(bytes, VmJson.Default.SandboxSpec) : null;

    /// <summary>The last bytes of a plain file that the VM's user may have replaced by anything; null when it is no plain file.</summary>
    public static byte[]? ReadEnd(string path, int maxBytes)
    {
        using var handle = LibC.OpenWithoutFollowing(path, write: false);
        if (handle is null)
            return null;
        using var stream = new FileStream(handle, FileAccess.Read, bufferSize: 0);
        var length = (int)Math.Min(maxBytes, stream.Length);
        stream.Seek(-length, SeekOrigin.End);
        var buffer = new byte[length];
        var read = stream.ReadAtLeast(buffer, length, throwOnEndOfStream: false);
        return buffer[..read];
    }

    private static T? Parse<T>(byte[] bytes, System.Text.Json.Serialization.Metadata.JsonTypeInfo<T> type) where T : class
    {
        try
        {
            return JsonSerializer.Deserialize(bytes, type);
        }
        catch (JsonException)
        {
            return null;
        }
    }

    private static byte[]? Read(string path)
    {
        var file = new FileInfo(path);
        return file is { Exists: true, LinkTarget: null, Length: <= MaxBytes } ? File.ReadAllBytes(path) : null;
    }
}
