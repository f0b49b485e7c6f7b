using Worker.Hardware;
using Worker.Hardware.Assignment;
using Worker.Hardware.Pci;

namespace Worker.Tests.Hardware.Assignment;

/// <summary>The kernel's part over a fixture tree: drivers come and go by driver_override, resets and erasures are noted and go wrong when told to.</summary>
internal sealed class FakeHost(HostTree tree) : IHostControl
{
    private int _vfioDevices;

    /// <summary>What was done, in order: "unbind 0000:01:00.0", "probe …", "reset flr …", "erase …".</summary>
    public List<string> Done { get; } = [];
    /// <summary>The driver that takes a function whose driver_override is empty.</summary>
    public Dictionary<string, string> NaturalDrivers { get; } = [];
    public HashSet<string> StuckUnbinding { get; } = [];
    /// <summary>An unbinding or an erasure that does not come back until the test lets it.</summary>
    public Dictionary<string, TaskCompletionSource> Hanging { get; } = [];
    public HashSet<string> RefusesUnbinding { get; } = [];
    public HashSet<string> RefusesProbe { get; } = [];
    public HashSet<string> RefusesOwner { get; } = [];
    public HashSet<string> RefusesMethod { get; } = [];
    public HashSet<string> RefusesReset { get; } = [];
    /// <summary>Stays a bus master over its reset.</summary>
    public HashSet<string> KeepsMastering { get; } = [];
    public HashSet<string> KeepsData { get; } = [];
    /// <summary>A tenant has detached a namespace.</summary>
    public HashSet<string> HidesNamespace { get; } = [];
    /// <summary>Controllers that have a disk which something has for itself; a disk that was pulled comes back as nobody's.</summary>
    public HashSet<string> DisksInUse { get; } = [];
    public Dictionary<string, uint?> Owners { get; } = [];
    public SmmuHardware? Smmu { get; set; }
    /// <summary>Called before each action with its number, from 0: a test dies there.</summary>
    public Action<int>? Before { get; set; }
    private int _actions;

    public async Task<HostAnswer> WriteAsync(string path, string text, TimeSpan limit, CancellationToken ct)
    {
        Before?.Invoke(_actions++);
        ct.ThrowIfCancellationRequested();
        var parts = path.Split('/');
        if (path == "sys/bus/pci/drivers_probe")
            return Probe(text);
        var address = parts[4];
        if (parts[^1] == "unbind" && Hanging.TryGetValue(address, out var hangs))
            await hangs.Task.WaitAsync(ct);
        return parts[^1] switch
        {
            "unbind" => Unbind(address),
            "reset" => Reset(address),
            "reset_method" when RefusesMethod.Contains(address) => new HostAnswer(HostOutcome.Refused, "Invalid argument"),
            var file => Store($"{string.Join('/', parts[..5])}/{file}", text),
        };
    }

    public SmmuHardware? AskSmmu(PciAddress address) => Smmu;

    public Task<HostAnswer> TryDisksAsync(PciAddress address, TimeSpan limit, CancellationToken ct) =>
        Task.FromResult(DisksInUse.Contains(address.ToString()) ? new HostAnswer(HostOutcome.Refused, "/dev/nvme0n1 cannot be opened exclusively: errno 16") : HostAnswer.Done);

    public async Task<HostAnswer> EraseNamespacesAsync(PciAddress address, CancellationToken ct)
    {
        Before?.Invoke(_actions++);
        var name = address.ToString();
        if (Hanging.TryGetValue(name, out var hangs))
            await hangs.Task.WaitAsync(ct);
        if (DriverOf(name) != "nvme")
            return new HostAnswer(HostOutcome.Refused, "not on nvme");
        if (DisksInUse.Contains(name))
            return new HostAnswer(HostOutcome.Refused, "/dev/nvme0n1 cannot be opened: errno 16");
        if (HidesNamespace.Contains(name))
            return new HostAnswer(HostOutcome.OutOfReach, "Not attached: 2.");
        Done.Add($"erase {name}");
        return KeepsData.Contains(name) ? new HostAnswer(HostOutcome.Refused, "nvme0n1 still has data at byte 0") : HostAnswer.Done;
    }

    public HostAnswer Own(string deviceNode, uint? user)
    {
        if (RefusesOwner.Contains(Path.GetFileName(deviceNode)))
            return new HostAnswer(HostOutcome.Refused, "Operation not permitted");
        Owners[deviceNode] = user;
        return HostAnswer.Done;
    }

    public string? DriverOf(string address) => tree.LinkName($"{PciScan.Directory}/{address}/driver");

    /// <summary>The host starts anew: every function is on the driver that takes it by itself, and nothing is owned by anybody.</summary>
    public void Reboot()
    {
        foreach (var address in tree.Names(PciScan.Directory))
        {
            Remove(address);
            File.Delete(Of($"{PciScan.Directory}/{address}/driver_override"));
            if (NaturalDrivers.GetValueOrDefault(address) is { } driver)
                File.CreateSymbolicLink(Of($"{PciScan.Directory}/{address}/driver"), $"../../../bus/pci/drivers/{driver}");
        }
        Owners.Clear();
    }

    private HostAnswer Unbind(string address)
    {
        if (RefusesUnbinding.Contains(address))
            return new HostAnswer(HostOutcome.Refused, "Device or resource busy");
        if (StuckUnbinding.Contains(address))
            return new HostAnswer(HostOutcome.TimedOut, "no answer within 15 s");
        Done.Add($"unbind {address}");
        DisksInUse.Remove(address);
        Remove(address);
        return HostAnswer.Done;
    }

    private HostAnswer Probe(string address)
    {
        Done.Add($"probe {address}");
        var wanted = tree.Text($"{PciScan.Directory}/{address}/driver_override") is { Length: > 0 } named ? named : NaturalDrivers.GetValueOrDefault(address);
        if (wanted is null || DriverOf(address) is not null || RefusesProbe.Contains(address))
            return HostAnswer.Done;
        File.CreateSymbolicLink(Of($"{PciScan.Directory}/{address}/driver"), $"../../../bus/pci/drivers/{wanted}");
        if (!wanted.Contains("vfio", StringComparison.Ordinal))
            return HostAnswer.Done;
        var name = $"vfio{_vfioDevices++}";
        Directory.CreateDirectory(Of($"{PciScan.Directory}/{address}/vfio-dev/{name}"));
        Touch($"dev/vfio/devices/{name}");
        if (tree.LinkName($"{PciScan.Directory}/{address}/iommu_group") is { } group)
            Touch($"dev/vfio/{group}");
        return HostAnswer.Done;
    }

    private HostAnswer Reset(string address)
    {
        Done.Add($"reset {tree.Text($"{PciScan.Directory}/{address}/reset_method")} {address}");
        if (RefusesReset.Contains(address))
            return new HostAnswer(HostOutcome.Refused, "Inappropriate ioctl for device");
        var path = Of($"{PciScan.Directory}/{address}/config");
        var config = File.ReadAllBytes(path);
        config[4] = (byte)(KeepsMastering.Contains(address) ? config[4] | 4 : config[4] & ~4);
        File.WriteAllBytes(path, config);
        return HostAnswer.Done;
    }

    private HostAnswer Store(string path, string text)
    {
        File.WriteAllText(Of(path), text + "\n");
        return HostAnswer.Done;
    }

    private void Remove(string address)
    {
        File.Delete(Of($"{PciScan.Directory}/{address}/driver"));
        var vfio = Of($"{PciScan.Directory}/{address}/vfio-dev");
        if (!Directory.Exists(vfio))
            return;
        foreach (var name in tree.Names($"{PciScan.Directory}/{address}/vfio-dev"))
        {
            File.Delete(Of($"dev/vfio/devices/{name}"));
            Owners.Remove(Of($"dev/vfio/devices/{name}"));
        }
        Directory.Delete(vfio, recursive: true);
    }

    private void Touch(string path)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(Of(path))!);
        File.WriteAllText(Of(path), "");
    }

    private string Of(string path) => Path.Combine(tree.Root, path);
}
