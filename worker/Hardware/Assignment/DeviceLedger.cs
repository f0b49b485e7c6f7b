using System.Text.Json;
using System.Text.Json.Serialization;
using Contracts;
using Worker.Hardware.Pci;

namespace Worker.Hardware.Assignment;

/// <summary>What a rule says of one device: how it is cleaned where the settings do not say it, or not any more.</summary>
public sealed record TakenBy(string Class, string Driver, VfioAccess? Access, bool GiveBackDriver)
{
    public static TakenBy Of(PassthroughOptions rule) => new(rule.Class, rule.Driver, rule.Access, rule.GiveBackDriver);

    public PassthroughOptions RuleFor(PciAddress address) =>
        new() { Address = address.ToString(), Class = Class, Driver = Driver, Access = Access, GiveBackDriver = GiveBackDriver };
}

/// <summary>What must be known of one device after a crash. <c>Drivers</c>: which driver each function of its group had before the worker took it.
/// <c>Taken</c>: null until it was, and in what an earlier version wrote.</summary>
public sealed record DeviceEntry(Failure? Quarantine, IReadOnlyDictionary<string, string> Drivers, TakenBy? Taken = null)
{
    public static readonly DeviceEntry Empty = new(null, new Dictionary<string, string>());
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, UseStringEnumConverter = true)]
[JsonSerializable(typeof(DeviceEntry))]
internal sealed partial class LedgerJson : JsonSerializerContext;

// One small file a device below the worker's state directory. Guarantees: after a crash a file is the old or the new one, whole;
// one that cannot be read counts as a quarantine, for it may have been one.
internal sealed class DeviceLedger(string directory)
{
    private const int MaxBytes = 64 * 1024;

    // address: A PCI address; its colons may stand in a file's name.
    public DeviceEntry Read(PciAddress address, DateTimeOffset now)
    {
        var file = new FileInfo(FileOf(address));
        if (!file.Exists)
            return DeviceEntry.Empty;
        try
        {
            if (file is { LinkTarget: null, Length: <= MaxBytes } && JsonSerializer.Deserialize(File.ReadAllBytes(file.FullName), LedgerJson.Default.DeviceEntry) is { Drivers: not null, Quarantine: null or { Reason: not null, Message: not null, Remedy: not null } } entry
                && (entry.Taken is null || (entry.Taken is { Class: not null, Driver: not null } taken && taken.RuleFor(address).Problem() is null)))
                return entry;
        }
        catch (JsonException)
        {
            // As any other that is not whole.
        }
        return DeviceEntry.Empty with { Quarantine = AssignmentReasons.LedgerUnreadable.With().ToFailure(now) };
    }

    public void Write(PciAddress address, DeviceEntry entry)
    {
        Directory.CreateDirectory(directory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        WholeFile.Replace(FileOf(address), JsonSerializer.SerializeToUtf8Bytes(entry, LedgerJson.Default.DeviceEntry));
    }

    private string FileOf(PciAddress address) => Path.Combine(directory, address + ".json");
}
