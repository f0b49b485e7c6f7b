using Worker.Hardware.Assignment;

namespace Worker;

/// <summary>Settings of one node, from the environment (<c>Worker__ApiUrl</c> and so on).</summary>
public sealed class WorkerOptions
{
    public const string Section = "Worker";

    public string ApiUrl { get; set; } = "";
    public string TokenFile { get; set; } = "";
    /// <summary>Holds the join token by which a machine without a token of its own becomes a node; null: <see cref="TokenFile"/> is there.</summary>
    public string? JoinTokenFile { get; set; }
    /// <summary>The worker fetches another token of its own when the present one is so old; null: only when an operator asks.</summary>
    public int? TokenMaxAgeDays { get; set; }
    public string StateDirectory { get; set; } = "";
    public string ImagesDirectory { get; set; } = "";
    /// <summary>Of registered images that the node keeps, below its state directory.</summary>
    public long ImageCacheMaxBytes { get; set; } = 20L << 30;
    /// <summary>Null: qemu-system-aarch64 on the PATH.</summary>
    public string? QemuPath { get; set; }
    /// <summary>Where Prometheus reads, as 127.0.0.1:9464; null: nowhere.</summary>
    public string? MetricsAddress { get; set; }
    /// <summary>UEFI for arm64 guests. Null: where Debian, Ubuntu and Fedora put theirs.</summary>
    public string? FirmwarePath { get; set; }
    /// <summary>Null: lkvm on the PATH.</summary>
    public string? KvmtoolPath { get; set; }
    /// <summary>vCPUs offered for each host CPU. Null: 16 under tcg, 1 under kvm.</summary>
    public int? VcpuOvercommit { get; set; }
    /// <summary>Null: all but an eighth, at least 512 MiB, of the host's memory.</summary>
    public long? MemoryCapacityMib { get; set; }
    /// <summary>First of <see cref="UserCount"/> user ids, one for each VM; used only by a worker that is root.
    /// Null: by the state directory, so that two workers on one machine do not give their VMs the same.</summary>
    public uint? FirstUser { get; set; }
    public int UserCount { get; set; } = 4096;
    /// <summary>Whether the SMMU's TLB lookups are traced as well: one line of log for each translation.</summary>
    public bool TraceTlb { get; set; }
    public int ScratchDiskMib { get; set; } = 256;
    /// <summary>Accelerators that QEMU emulates, and those of kind simulated. Null: four edu, two nvme and two simulated, or none where <see cref="Passthrough"/> names real ones.</summary>
    public List<EmulatedDeviceOptions>? Devices { get; set; }
    /// <summary>Functions of the host that are given to guests.</summary>
    public List<PassthroughOptions> Passthrough { get; set; } = [];

    public System.Net.IPEndPoint? MetricsEndPoint() => System.Net.IPEndPoint.TryParse(MetricsAddress ?? "", out var address) && address.Port > 0 ? address : null;

    public string ImageCacheDirectory => Path.Combine(StateDirectory, "images");

    public string RuntimeRoot => Path.Combine(StateDirectory, "vms");

    public static readonly IReadOnlyList<EmulatedDeviceOptions> DefaultDevices =
    [
        .. Enumerable.Range(0, 4).Select(n => new EmulatedDeviceOptions { Name = $"edu-{n}", Kind = "edu", Class = "edu" }),
        .. Enumerable.Range(0, 2).Select(n => new EmulatedDeviceOptions { Name = $"nvme-{n}", Kind = "nvme", Class = "nvme" }),
    ];

    public static readonly IReadOnlyList<EmulatedDeviceOptions> DefaultSimulatedDevices =
        [.. Enumerable.Range(0, 2).Select(n => new EmulatedDeviceOptions { Name = $"sva-{n}", Kind = EmulatedDeviceOptions.Simulated, Class = "sva" })];

    /// <summary>What the node emulates and simulates, by its settings.</summary>
    public IReadOnlyList<EmulatedDeviceOptions> EmulatedDevices => Devices is { Count: > 0 } some ? some : Passthrough.Count > 0 ? [] : [.. DefaultDevices, .. DefaultSimulatedDevices];

    /// <summary>Everything wrong with the settings, one sentence each.</summary>
    public IEnumerable<string> Problems()
    {
        if (!Uri.TryCreate(ApiUrl, UriKind.Absolute, out var uri) || uri.Scheme is not ("http" or "https"))
            yield return "Worker__ApiUrl must be an http or https address";
        if (!Path.IsPathFullyQualified(TokenFile) || (JoinTokenFile is null && !File.Exists(TokenFile)))
            yield return "Worker__TokenFile must name the file that holds the node's token, or that will once the machine has joined by Worker__JoinTokenFile";
        if (TokenMaxAgeDays is < 1 or > 3650)
            yield return "Worker__TokenMaxAgeDays must be 1 to 3650";
        foreach (var problem in LocalProblems())
            yield return problem;
    }

    /// <summary>Those that matter without an API.</summary>
    public IEnumerable<string> LocalProblems()
    {
        if (MetricsAddress is not null && MetricsEndPoint() is null)
            yield return "Worker__MetricsAddress must be an IP address and a port, as 127.0.0.1:9464";
        if (!Path.IsPathFullyQualified(StateDirectory))
            yield return "Worker__StateDirectory must be an absolute path";
        if (!Path.IsPathFullyQualified(ImagesDirectory))
            yield return "Worker__ImagesDirectory must be an absolute path";
        if (ImageCacheMaxBytes < 1 << 20)
            yield return "Worker__ImageCacheMaxBytes must be at least 1048576";
        if (VcpuOvercommit is < 1 or > 256)
            yield return "Worker__VcpuOvercommit must be 1 to 256";
        if (MemoryCapacityMib is < 128)
            yield return "Worker__MemoryCapacityMib must be at least 128";
        if (ScratchDiskMib is < 1 or > 1 << 20)
            yield return "Worker__ScratchDiskMib must be 1 to 1048576";
        if (FirstUser is < 65536 or > 2_000_000_000 || UserCount is < 1 or > 1 << 20)
            yield return "Worker__FirstUser must be 65536 to 2000000000 and Worker__UserCount 1 to 1048576";
        foreach (var (index, rule) in Passthrough.Index())
            if (rule.Problem() is { } problem)
                yield return $"Worker__Passthrough__{index} {problem}";
        var names = new HashSet<string>(StringComparer.Ordinal);
        foreach (var device in Devices ?? [])
        {
            if (!IsName(device.Name) || !IsName(device.Class) || device.Kind is not ("edu" or "nvme" or EmulatedDeviceOptions.Simulated))
                yield return $"device '{device.Name}': name and class take 1 to 63 of a-z 0-9 -, kind is edu, nvme or simulated";
            else if (!names.Add(device.Name))
                yield return $"device '{device.Name}' is configured twice";
        }
    }

    internal static bool IsName(string text) =>
        text.Length is >= 1 and <= 63 && text.All(c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c == '-');
}

public sealed class EmulatedDeviceOptions
{
    /// <summary>The kind that no VMM emulates: a device of the simulated machine.</summary>
    public const string Simulated = "simulated";

    public string Name { get; set; } = "";
    public string Kind { get; set; } = "";
    public string Class { get; set; } = "";
}
