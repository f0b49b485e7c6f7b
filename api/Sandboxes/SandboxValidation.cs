using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using Contracts;

namespace Api.Sandboxes;

/// <summary>The limits of a create request. Pure: the field's name to what it takes, empty when all is well.</summary>
public static partial class SandboxValidation
{
    public const int MaxVcpus = 64, MinMemoryMib = 128, MaxMemoryMib = 1_048_576, DefaultMemoryMib = 512;
    public const int MaxAcceleratorEntries = 8, MaxDevices = 8;
    public const int MaxLabels = 32, MaxPlacementLabels = 8, MaxLabelValue = 255, MaxUserDataBytes = 16_384, MaxSshKeys = 16, MaxSshKey = 1024;
    public const int MinPriority = -100, MaxPriority = 100;
    public const int MinTtlSeconds = 60, MaxTtlSeconds = 31_536_000;
    public const int MinStormWindowSeconds = 5, MaxStormWindowSeconds = 3600;
    /// <summary>Below the least no window has a rate but 0: one event in the longest is 0.00028 a second.</summary>
    public const double MinStormPerSecond = 1e-4, MaxStormPerSecond = 1e9;

    [GeneratedRegex(@"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\z")] public static partial Regex Name();
    [GeneratedRegex(@"^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?\z")] private static partial Regex LabelKey();
    [GeneratedRegex(@"^[0-9A-Fa-f]{4}\z")] public static partial Regex PciId();
    [GeneratedRegex(@"^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-ssh-ed25519@openssh\.com|sk-ecdsa-sha2-nistp256@openssh\.com) [A-Za-z0-9+/]+={0,3}( [\x20-\x7e]*)?\z")]
    private static partial Regex SshKey();

    public static Dictionary<string, string[]> Check(SandboxCreate create) => Collect(refuse => Check(create, refuse));

    public static Dictionary<string, string[]> Check(LeaseRequest lease) => Collect(refuse => CheckLease(lease, "", refuse));

    public static Dictionary<string, string[]> Check(RestartRequest? restart) => Collect(refuse => CheckRestart(restart, refuse));

    public static Dictionary<string, string[]> Check(StormPolicyRequest policy) => Collect(refuse => CheckStorm(policy, "", refuse));

    private static Dictionary<string, string[]> Collect(Action<Action<string, string>> check)
    {
        var errors = new Dictionary<string, List<string>>();
        check((field, message) =>
        {
            if (!errors.TryGetValue(field, out var list)) errors[field] = list = [];
            list.Add(message);
        });
        return errors.ToDictionary(e => e.Key, e => e.Value.ToArray());
    }

    private static void Check(SandboxCreate create, Action<string, string> refuse)
    {
        if (create.Name is null) refuse("name", "is required");
        else if (!Name().IsMatch(create.Name)) refuse("name", "takes 1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit");
        if (create.Image is null) refuse("image", "is required");
        else if (!Name().IsMatch(create.Image)) refuse("image", "takes the name of an image (GET /v1/images)");
        if (create.Vcpus is { } vcpus and (< 1 or > MaxVcpus)) refuse("vcpus", $"takes 1 to {MaxVcpus}, not {vcpus}");
        if (create.MemoryMib is { } mib and (< MinMemoryMib or > MaxMemoryMib)) refuse("memoryMib", $"takes {MinMemoryMib} to {MaxMemoryMib}, not {mib}");
        if (create.Viommu is { } viommu && !Enum.IsDefined(viommu)) refuse("viommu", "takes smmuv3, virtio or none");
        if (create.Vmm is { } vmm && !Enum.IsDefined(vmm)) refuse("vmm", "takes qemu, kvmtool or simulated");
        if (create.Vmm == Vmm.Kvmtool && create.Viommu is Viommu.Smmuv3 or Viommu.Virtio)
        {
            refuse("vmm", "kvmtool gives a guest no IOMMU; take qemu, or viommu none");
            refuse("viommu", "takes none with vmm kvmtool");
        }
        if (create.Vmm == Vmm.Simulated)
        {
            if (create.Viommu == Viommu.None) refuse("viommu", "takes smmuv3 or virtio with vmm simulated");
            if (create.Accelerators is null or []) refuse("accelerators", "takes at least one with vmm simulated, which is a model of a device's DMA");
        }
        CheckHugePages(create, refuse);
        if (create.Node is not null && !Name().IsMatch(create.Node)) refuse("node", "takes the name of a node (GET /v1/nodes)");
        if (!IsPriority(create.Priority ?? 0)) refuse("priority", $"takes {MinPriority} to {MaxPriority}, not {create.Priority}");
        CheckAccelerators(create.Accelerators, refuse);
        CheckPlacement(create.Placement, create.Priority ?? 0, refuse);
        CheckLease(create.Lease, "lease.", refuse);
        CheckLabels(create.Labels, refuse);
        if (create.UserData is { } data)
        {
            if (Encoding.UTF8.GetByteCount(data) > MaxUserDataBytes) refuse("userData", $"takes at most {MaxUserDataBytes} bytes");
            if (data.Contains('\0', StringComparison.Ordinal)) refuse("userData", "takes no NUL");
        }
        if (create.SshKeys is { Count: > MaxSshKeys }) refuse("sshKeys", $"takes at most {MaxSshKeys} keys");
        for (var i = 0; i < Math.Min(create.SshKeys?.Count ?? 0, MaxSshKeys); i++)
            if (create.SshKeys![i] is not { Length: <= MaxSshKey } key || !SshKey().IsMatch(key) || !HoldsItsType(key))
                refuse($"sshKeys[{i}]", $"takes an OpenSSH public key of at most {MaxSshKey} characters on one line");
        CheckStorm(create.FaultStorm, "faultStorm.", refuse);
        CheckRestart(create.Restart, refuse);
    }

    private static void CheckHugePages(SandboxCreate create, Action<string, string> refuse)
    {
        if (create.HugePages is not { } pages || pages == HugePageSize.None) return;
        if (!Enum.IsDefined(pages)) refuse("hugePages", "takes none, size2Mi or size1Gi");
        else if (create.Vmm == Vmm.Simulated) refuse("hugePages", "takes none with vmm simulated, whose memory is a model");
        else if (create.Vmm == Vmm.Kvmtool) refuse("hugePages", "takes none with vmm kvmtool, which would need a hugetlbfs that every VM's user may write to");
        else if ((create.MemoryMib ?? DefaultMemoryMib) % pages.Mib() != 0) refuse("memoryMib", $"takes a multiple of {pages.Mib()} with hugePages {pages}");
    }

    public static bool IsPriority(int priority) => priority is >= MinPriority and <= MaxPriority;

    public static Viommu DefaultViommu(Vmm? vmm) => vmm == Vmm.Kvmtool ? Viommu.None : Viommu.Smmuv3;

    private static void CheckAccelerators(IReadOnlyList<AcceleratorRequest>? accelerators, Action<string, string> refuse)
    {
        if (accelerators is null) return;
        if (accelerators.Count > MaxAcceleratorEntries)
        {
            refuse("accelerators", $"takes at most {MaxAcceleratorEntries} entries");
            return;
        }
        var seen = new HashSet<string>();
        for (var i = 0; i < accelerators.Count; i++)
        {
            if (accelerators[i] is not { } entry) { refuse($"accelerators[{i}]", "takes an object"); continue; }
            if (entry.Class is null || !Name().IsMatch(entry.Class)) refuse($"accelerators[{i}].class", "takes the name of a device class (GET /v1/device-classes)");
            else if (!seen.Add(entry.Class)) refuse($"accelerators[{i}].class", "is named twice; use count");
            if (entry.VendorId is { } vendor && !PciId().IsMatch(vendor)) refuse($"accelerators[{i}].vendorId", "takes four hexadecimal digits");
            if (entry.DeviceId is { } device && !PciId().IsMatch(device)) refuse($"accelerators[{i}].deviceId", "takes four hexadecimal digits");
            if (entry.MinVerdict is { } verdict and not (VerdictClass.GuestSvaDeviceFaults or VerdictClass.GuestSvaPrefaultOnly or VerdictClass.PassthroughOnly))
                refuse($"accelerators[{i}].minVerdict", "takes guestSvaDeviceFaults, guestSvaPrefaultOnly or passthroughOnly");
            if (entry.Count is { } count and (< 1 or > MaxDevices)) refuse($"accelerators[{i}].count", $"takes 1 to {MaxDevices}, not {count}");
        }
        if (accelerators.Sum(a => (long)(a?.Count ?? 1)) > MaxDevices) refuse("accelerators", $"takes at most {MaxDevices} devices in all");
    }

    /// <summary>The key's bytes begin with the name of its type, as in RFC 4253 section 6.6.</summary>
    private static bool HoldsItsType(string key)
    {
        var parts = key.Split(' ', 3);
        var type = Encoding.ASCII.GetBytes(parts[0]);
        Span<byte> bytes = stackalloc byte[MaxSshKey];
        return Convert.TryFromBase64String(parts[1], bytes, out var length) && length > 4 + type.Length
            && System.Buffers.Binary.BinaryPrimitives.ReadInt32BigEndian(bytes) == type.Length && bytes.Slice(4, type.Length).SequenceEqual(type);
    }

    private static void CheckLease(LeaseRequest? lease, string prefix, Action<string, string> refuse)
    {
        if (lease is null) return;
        if (lease.TtlSeconds is null && lease.IdleTimeoutSeconds is null) refuse($"{prefix}ttlSeconds", "is required, unless idleTimeoutSeconds is given");
        if (lease.TtlSeconds is { } ttl and (< MinTtlSeconds or > MaxTtlSeconds)) refuse($"{prefix}ttlSeconds", $"takes {MinTtlSeconds} to {MaxTtlSeconds}, not {ttl}");
        if (lease.IdleTimeoutSeconds is { } idle and (< MinTtlSeconds or > MaxTtlSeconds)) refuse($"{prefix}idleTimeoutSeconds", $"takes {MinTtlSeconds} to {MaxTtlSeconds}, not {idle}");
        if (lease.OnExpiry is { } end && !Enum.IsDefined(end)) refuse($"{prefix}onExpiry", "takes stop or delete");
    }

    private static void CheckRestart(RestartRequest? restart, Action<string, string> refuse)
    {
        if (restart is null) return;
        if (restart.Policy is not { } policy) refuse("restart.policy", "is required");
        else if (!Enum.IsDefined(policy)) refuse("restart.policy", "takes never, onFailure or always");
        if (restart.MaxRestarts is { } most and (< 0 or > RestartDecision.MaxRestarts)) refuse("restart.maxRestarts", $"takes 0 to {RestartDecision.MaxRestarts}, not {most}");
        if (restart.BackoffSeconds is { } backoff and (< 1 or > RestartDecision.MaxBackoffSeconds)) refuse("restart.backoffSeconds", $"takes 1 to {RestartDecision.MaxBackoffSeconds}, not {backoff}");
    }

    /// <summary>As <see cref="Check(SandboxCreate)"/>, of labels alone.</summary>
    public static Dictionary<string, string[]> Check(IReadOnlyDictionary<string, string> labels)
    {
        var errors = new Dictionary<string, string[]>();
        CheckLabels(labels, (field, message) => errors[field] = [message]);
        return errors;
    }

    private static void CheckStorm(StormPolicyRequest? storm, string prefix, Action<string, string> refuse)
    {
        if (storm is null) return;
        if (storm.PerSecond is not { } rate) refuse($"{prefix}perSecond", "is required");
        else if (!(rate >= MinStormPerSecond && rate <= MaxStormPerSecond)) refuse($"{prefix}perSecond", $"takes {MinStormPerSecond.ToString("0.####", CultureInfo.InvariantCulture)} to {MaxStormPerSecond:0}");
        if (storm.WindowSeconds is { } window and (< MinStormWindowSeconds or > MaxStormWindowSeconds))
            refuse($"{prefix}windowSeconds", $"takes {MinStormWindowSeconds} to {MaxStormWindowSeconds}, not {window}");
        if (storm.Action is { } action && !Enum.IsDefined(action)) refuse($"{prefix}action", "takes none, stop or quarantine");
        if (storm.Source is not null && !StormSources.All.Contains(storm.Source)) refuse($"{prefix}source", $"takes one of {string.Join(", ", StormSources.All)}");
    }

    private static void CheckPlacement(PlacementRequest? placement, int priority, Action<string, string> refuse)
    {
        if (placement is null) return;
        if (placement.Strategy is { } strategy && !Enum.IsDefined(strategy)) refuse("placement.strategy", "takes spread or pack");
        if (placement.Numa is { } numa && !Enum.IsDefined(numa)) refuse("placement.numa", "takes any, preferred or required");
        if (placement.Preempts == true && priority <= 0) refuse("placement.preempts", "takes true only with a priority above 0");
        foreach (var (field, labels) in new[] { ("placement.with", placement.With), ("placement.apartFrom", placement.ApartFrom) })
            if (labels is { Count: 0 }) refuse(field, $"takes 1 to {MaxPlacementLabels} labels");
            else CheckLabels(labels, refuse, field, MaxPlacementLabels);
    }

    public static void CheckLabels(IReadOnlyDictionary<string, string>? labels, Action<string, string> refuse, string field = "labels", int most = MaxLabels)
    {
        if (labels is null) return;
        if (labels.Count > most) { refuse(field, $"takes at most {most} labels"); return; }
        foreach (var (key, value) in labels)
        {
            if (!LabelKey().IsMatch(key)) refuse(field, "takes keys of 1 to 63 of A-Za-z0-9._/-, beginning and ending with a letter or digit");
            else if (value is null || value.Length > MaxLabelValue || value.Any(char.IsControl)) refuse($"{field}.{key}", $"takes at most {MaxLabelValue} characters, none of them control characters");
        }
    }
}
