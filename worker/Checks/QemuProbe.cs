using System.ComponentModel;
using System.Diagnostics;
using System.Text.RegularExpressions;

namespace Worker.Checks;

/// <summary>What the installed QEMU says it can do. A null <see cref="Version"/>: there is none. The last two are the properties
/// of its arm-smmuv3 and vfio-pci devices.</summary>
public sealed record QemuFacts(
    string? Path, string? Version, IReadOnlySet<string> Devices, IReadOnlySet<string> Cpus, IReadOnlySet<string> SmmuProperties, IReadOnlySet<string> VfioProperties)
{
    /// <summary>UEFI for arm64 guests, which the accelerated SMMU needs (ACPI); null where there is none.</summary>
    public string? Firmware { get; init; }

    /// <summary>Properties of the virt machine.</summary>
    public IReadOnlySet<string> MachineProperties { get; init; } = new HashSet<string>();

    public static readonly QemuFacts None = new(null, null, new HashSet<string>(), new HashSet<string>(), new HashSet<string>(), new HashSet<string>());

    /// <summary>Null when QEMU could not be asked.</summary>
    public bool? Has(string device) => Version is null ? null : Devices.Contains(device);
}

// Asks QEMU itself, once for each worker; nothing is concluded from a version number.
public static partial class QemuProbe
{
    private const string Program = "qemu-system-aarch64";
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(20);

    [GeneratedRegex("^name \"([^\"]+)\"", RegexOptions.Multiline)]
    private static partial Regex DeviceLine();

    [GeneratedRegex(@"^QEMU emulator version (\S+)", RegexOptions.Multiline)]
    private static partial Regex VersionLine();

    [GeneratedRegex(@"^ +([A-Za-z0-9_-]+)=<", RegexOptions.Multiline)]
    private static partial Regex PropertyLine();

    private static readonly string[] KnownFirmware =
        ["/usr/share/qemu-efi-aarch64/QEMU_EFI.fd", "/usr/share/AAVMF/AAVMF_CODE.no-secboot.fd", "/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/edk2/aarch64/QEMU_EFI.fd"];

    public static async Task<QemuFacts> AskAsync(string? configured, string? firmware, CancellationToken ct)
    {
        if (Locate(configured) is not { } path)
            return QemuFacts.None;
        var answers = await Task.WhenAll(RunAsync(path, ["--version"], ct), RunAsync(path, ["-device", "help"], ct), RunAsync(path, ["-M", "virt", "-cpu", "help"], ct),
            RunAsync(path, ["-device", "arm-smmuv3,help"], ct), RunAsync(path, ["-device", "vfio-pci,help"], ct), RunAsync(path, ["-M", "virt,help"], ct));
        return VersionLine().Match(answers[0]) is { Success: true } version
            ? new QemuFacts(path, version.Groups[1].Value, ParseDevices(answers[1]), ParseCpus(answers[2]), ParseProperties(answers[3]), ParseProperties(answers[4]))
            {
                Firmware = firmware is null ? KnownFirmware.FirstOrDefault(File.Exists) : File.Exists(firmware) ? firmware : null,
                MachineProperties = ParseProperties(answers[5]),
            }
            : QemuFacts.None;
    }

    internal static IReadOnlySet<string> ParseDevices(string help) => DeviceLine().Matches(help).Select(m => m.Groups[1].Value).ToHashSet(StringComparer.Ordinal);

    internal static IReadOnlySet<string> ParseProperties(string help) => PropertyLine().Matches(help).Select(m => m.Groups[1].Value).ToHashSet(StringComparer.Ordinal);

    internal static IReadOnlySet<string> ParseCpus(string help) =>
        help.Split((char[])[' ', '\n', '\t', '\r'], StringSplitOptions.RemoveEmptyEntries).ToHashSet(StringComparer.Ordinal);

    internal static string? Locate(string? configured)
    {
        if (!string.IsNullOrEmpty(configured) && configured.Contains('/', StringComparison.Ordinal))
            return File.Exists(configured) ? System.IO.Path.GetFullPath(configured) : null;
        var name = string.IsNullOrEmpty(configured) ? Program : configured;
        return (Environment.GetEnvironmentVariable("PATH") ?? "/usr/bin").Split(':')
            .Where(System.IO.Path.IsPathFullyQualified).Select(folder => System.IO.Path.Combine(folder, name)).FirstOrDefault(File.Exists);
    }

    private static async Task<string> RunAsync(string path, IReadOnlyList<string> arguments, CancellationToken ct)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(ct);
        limit.CancelAfter(Limit);
        var start = new ProcessStartInfo(path) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (var argument in arguments)
            start.ArgumentList.Add(argument);
        try
        {
            using var process = Process.Start(start);
            if (process is null)
                return "";
            try
            {
                var errors = process.StandardError.ReadToEndAsync(limit.Token);
                var output = await process.StandardOutput.ReadToEndAsync(limit.Token);
                await errors;
                await process.WaitForExitAsync(limit.Token);
                return output;
            }
            catch (OperationCanceledException) when (!ct.IsCancellationRequested)
            {
                process.Kill();
                return "";
            }
        }
        catch (Win32Exception)
        {
            return "";
        }
    }
}
