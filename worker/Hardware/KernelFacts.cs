using System.Globalization;
using System.IO.Compression;
using System.Text;
using System.Text.RegularExpressions;

namespace Worker.Hardware;

/// <summary>The running kernel: its release and the options it was built with. <c>Options</c> is null when no configuration can be read;
/// an option that the configuration does not name is off.</summary>
public sealed record KernelFacts(string Release, IReadOnlyDictionary<string, string>? Options)
{
    public Version? Version { get; } = KernelScan.VersionOf(Release);

    /// <summary>Built in or as a module; null when it cannot be known.</summary>
    public bool? IsOn(string option) => Options is null ? null : Options.TryGetValue(option, out var value) && value is "y" or "m";
}

public static partial class KernelScan
{
    private const int MaxConfigBytes = 4 << 20;

    [GeneratedRegex(@"^(\d{1,4})\.(\d{1,4})")]
    private static partial Regex ReleaseNumbers { get; }

    public static KernelFacts Read(HostTree tree)
    {
        var release = Release(tree);
        return new KernelFacts(release, Parse(Config(tree, release)));
    }

    /// <summary>A kernel without SYSCTL has only the longer text: "Linux version 7.3.4 (builder) ...".</summary>
    public static string Release(HostTree tree) => tree.Text("proc/sys/kernel/osrelease") ?? tree.Text("proc/version")?.Split(' ').ElementAtOrDefault(2) ?? "unknown";

    internal static Version? VersionOf(string release) => ReleaseNumbers.Match(release) is { Success: true } match
        ? new Version(int.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture), int.Parse(match.Groups[2].Value, CultureInfo.InvariantCulture))
        : null;

    internal static IReadOnlyDictionary<string, string>? Parse(string? config)
    {
        if (config is null)
            return null;
        var options = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var line in config.Split('\n'))
            if (line.StartsWith("CONFIG_", StringComparison.Ordinal) && line.IndexOf('=', StringComparison.Ordinal) is > 7 and var at)
                options[line[7..at]] = line[(at + 1)..];
        return options.Count == 0 ? null : options;
    }

    private static string? Config(HostTree tree, string release)
    {
        if (tree.Bytes("proc/config.gz", MaxConfigBytes) is { } packed)
            return Unpack(packed);
        // A release is a name of the kernel's own making, but a tree may be hostile.
        return release.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '-' or '_' or '+' or '~') && !release.StartsWith('.')
            ? tree.Text($"boot/config-{release}", MaxConfigBytes)
            : null;
    }

    private static string? Unpack(byte[] packed)
    {
        try
        {
            using var gzip = new GZipStream(new MemoryStream(packed), CompressionMode.Decompress);
            var text = new byte[MaxConfigBytes];
            return Encoding.ASCII.GetString(text, 0, gzip.ReadAtLeast(text, text.Length, throwOnEndOfStream: false));
        }
        catch (InvalidDataException)
        {
            return null;
        }
    }
}
