using Contracts;
using Worker.Hardware.Assignment;
using Worker.Vms;

namespace Worker.Hardware;

// The accelerators that QEMU emulates, and those that are simulated, from the node's configuration.
// Guarantees: a device is held by at most one sandbox; it is given back only after its scratch file was seen to be gone.
// On a crash: what is held is rebuilt from the records of the adopted sandboxes.
public sealed class EmulatedDevices(IReadOnlyList<EmulatedDeviceOptions> configured, int scratchMib)
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, Guid> _holders = new(StringComparer.Ordinal);

    public IReadOnlyList<EmulatedDeviceOptions> Configured => configured;

    /// <summary>All of the devices or, with the failure, none.</summary>
    public bool TryHold(Guid sandbox, IReadOnlyList<string> addresses, DateTimeOffset now, out Failure? failure)
    {
        lock (_lock)
        {
            failure = null;
            foreach (var address in addresses)
            {
                if (configured.All(d => d.Name != address))
                    failure = AssignmentReasons.Missing.ToFailure(now, $"It is {address}.");
                else if (_holders.TryGetValue(address, out var holder) && holder != sandbox)
                    failure = AssignmentReasons.Busy.ToFailure(now, $"It is {address}, held by {holder}.");
                else
                    continue;
                return false;
            }
            foreach (var address in addresses)
                _holders[address] = sandbox;
            return true;
        }
    }

    public IReadOnlyList<HeldDevice> Describe(RuntimeDirectory directory, IReadOnlyList<string> addresses) =>
    [
        .. addresses.Select(address => configured.FirstOrDefault(d => d.Name == address)).OfType<EmulatedDeviceOptions>()
            .Select(d => new HeldDevice(d.Name, d.Kind, d.Kind == "nvme" ? ScratchFile(directory, d.Name) : null)),
    ];

    /// <summary>Makes the files behind the devices; they take no space until written.</summary>
    public void Prepare(IReadOnlyList<HeldDevice> devices, uint? user)
    {
        foreach (var file in devices.Select(d => d.ScratchFile).OfType<string>())
        {
            using (var stream = new FileStream(file, new FileStreamOptions
            {
                Mode = FileMode.CreateNew,
                Access = FileAccess.Write,
                UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
            }))
                stream.SetLength((long)scratchMib << 20);
            if (user is { } id)
                LibC.Own(file, id);
        }
    }

    /// <summary>Addresses that are verified clean and given back; the others stay held.</summary>
    public IReadOnlyList<string> Release(RuntimeDirectory directory, Guid sandbox, IReadOnlyList<string> addresses)
    {
        var clean = addresses.Where(address => !File.Exists(ScratchFile(directory, address))).ToList();
        lock (_lock)
            foreach (var address in clean)
                if (_holders.TryGetValue(address, out var holder) && holder == sandbox)
                    _holders.Remove(address);
        return clean;
    }

    /// <summary>Of a sandbox that was never prepared.</summary>
    public void LetGo(Guid sandbox)
    {
        lock (_lock)
            foreach (var address in _holders.Where(h => h.Value == sandbox).Select(h => h.Key).ToList())
                _holders.Remove(address);
    }

    public IReadOnlyList<string> HeldBy(Guid sandbox)
    {
        lock (_lock)
            return [.. _holders.Where(h => h.Value == sandbox).Select(h => h.Key)];
    }

    private static string ScratchFile(RuntimeDirectory directory, string address) => Path.Combine(directory.VmmDirectory, address + ".img");
}
