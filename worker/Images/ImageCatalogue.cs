using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.RegularExpressions;
using Contracts;
using Worker.Checks;

namespace Worker.Images;

public sealed record ImageFile(string Path, string Sha256, long Bytes);

/// <summary>What an image.json says. <c>Files</c>: either <c>kernel</c> and perhaps <c>initrd</c>, started with <c>CommandLine</c>,
/// or <c>disk</c> of <c>DiskFormat</c>, which firmware starts from.</summary>
public sealed record ImageManifest(
    string Name, string Architecture, string KernelVersion, bool HasAgent, string? CommandLine, IReadOnlyDictionary<string, ImageFile> Files, DiskFormat? DiskFormat = null)
{
    /// <summary>Whether it describes one image of that name.</summary>
    internal bool IsWhole(string name) => Name == name && Files is not null
        && ImageRules.IsWhole(Architecture, KernelVersion, CommandLine, DiskFormat, Files.ContainsKey("kernel"), Files.ContainsKey("initrd"), Files.ContainsKey("disk"));

    internal static bool IsWhole(PlannedImage image) => ImageRules.IsWhole(
        image.Architecture, image.KernelVersion, image.CommandLine, image.DiskFormat, Has(image, ImageFileRole.Kernel), Has(image, ImageFileRole.Initrd), Has(image, ImageFileRole.Disk));

    /// <summary>What a registered image's would be.</summary>
    internal static ImageManifest Of(string name, PlannedImage image) => new(
        name, image.Architecture, image.KernelVersion, image.HasAgent, image.CommandLine, image.Files.ToDictionary(f => f.Role.ToString().ToLowerInvariant(), f => new ImageFile(f.Sha256, f.Sha256, f.Bytes)), image.DiskFormat);

    private static bool Has(PlannedImage image, ImageFileRole role) => image.Files.Any(f => f.Role == role);
}

internal static class DiskFile
{
    /// <summary>As <see cref="DiskHeader.Problem"/>, of a file.</summary>
    public static string? Problem(DiskFormat format, string path)
    {
        Span<byte> header = stackalloc byte[DiskHeader.Bytes];
        using var file = File.OpenRead(path);
        return DiskHeader.Problem(format, header[..file.ReadAtLeast(header, DiskHeader.Bytes, throwOnEndOfStream: false)]);
    }
}

public sealed record ImageDisk(string Path, DiskFormat Format);

/// <summary>An image whose every file was found to be what its manifest says.</summary>
public abstract record VerifiedImage(ImageManifest Manifest, string Digest)
{
    public ReportedImage ToReport() => new(
        Manifest.Name, Digest, Manifest.Architecture, Manifest.KernelVersion, Manifest.HasAgent, Manifest.Files.Values.Sum(f => f.Bytes));
}

/// <summary>One whose kernel the VMM itself loads.</summary>
public sealed record KernelImage(ImageManifest Manifest, string Digest, string Kernel, string? Initrd, string CommandLine) : VerifiedImage(Manifest, Digest);

/// <summary>One that UEFI starts from its disk.</summary>
public sealed record DiskImage(ImageManifest Manifest, string Digest, ImageDisk Disk) : VerifiedImage(Manifest, Digest);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(ImageManifest))]
internal sealed partial class ImageJson : JsonSerializerContext;

// Guarantees: an image is offered and started only when the digest of each of its files is the manifest's.
// A file is hashed once and again when its size or time differs; starting a VM costs a few stat calls. A large one is hashed in the background: whoever lists
// images goes on without it meanwhile, whoever starts a guest from it waits. After a crash all are hashed again.
// A sandbox whose image is a registered one starts from the node's cache instead (ImageCache).
public sealed partial class ImageCatalogue(string directory, ImageCache? cache = null)
{
    private const int MaxManifestBytes = 64 * 1024;
    /// <summary>What SHA-256 takes about a second for.</summary>
    internal const long LargeBytes = 512L << 20;
    private readonly Lock _lock = new();
    private readonly Dictionary<string, (long Bytes, DateTime Modified, Task<string> Sha256)> _hashes = new(StringComparer.Ordinal);

    [GeneratedRegex(@"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\z")]
    private static partial Regex NamePattern();

    /// <summary>All images, and what is wrong with those that cannot be offered.</summary>
    public (IReadOnlyList<VerifiedImage> Images, IReadOnlyList<Failure> Problems) Scan(DateTimeOffset now, bool waits = false)
    {
        var images = new List<VerifiedImage>();
        var problems = new List<Failure>();
        if (!Directory.Exists(directory))
            return (images, [NodeReasons.ImagesDirectoryMissing.ToFailure(now)]);
        foreach (var path in Directory.EnumerateDirectories(directory).Order(StringComparer.Ordinal))
        {
            var name = Path.GetFileName(path);
            // A name with a dot in front is a build that has not ended.
            if (name.StartsWith('.'))
                continue;
            if (Find(name, waits, out var problem) is { } image)
                images.Add(image);
            else
                problems.Add(problem.Reason.ToFailure(now, problem.Detail));
        }
        if (images.Count == 0 && problems.Count == 0)
            problems.Add(NodeReasons.NoImage.ToFailure(now));
        return (images, problems);
    }

    /// <summary>The image of that name; null with the reason when there is none to start from.</summary>
    public VerifiedImage? Find(string name, out (Reason Reason, string Detail) problem) => Find(name, waits: true, out problem);

    /// <summary>What the sandbox starts from; null with the reason when there is nothing.</summary>
    public VerifiedImage? Find(SandboxSpec spec, out (Reason Reason, string Detail) problem)
    {
        if (spec.Registered is not { } registered)
            return Find(spec.Image, out problem);
        problem = (NodeReasons.ImageMissing, $"It is {spec.Image}, and its files are not on the node.");
        return cache?.Find(spec.Image, registered);
    }

    public bool? HasAgent(SandboxSpec spec) => spec.Registered?.HasAgent ?? HasAgent(spec.Image);

    /// <summary>Whether the image says that it has an agent, without a look at its files; null when it says nothing.</summary>
    public bool? HasAgent(string name)
    {
        try
        {
            return ManifestOf(name) is { } file ? Read(file, out _)?.HasAgent : null;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or JsonException)
        {
            return null;
        }
    }

    private VerifiedImage? Find(string name, bool waits, out (Reason Reason, string Detail) problem)
    {
        problem = (NodeReasons.ImageMissing, $"It is {name}.");
        if (ManifestOf(name) is not { } manifestFile)
            return null;
        try
        {
            return Verify(name, manifestFile, waits, out problem);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or JsonException)
        {
            problem = (NodeReasons.ImageCorrupt, $"It is {name}: {error.Message}");
            return null;
        }
    }

    private FileInfo? ManifestOf(string name) => NamePattern().IsMatch(name) && new FileInfo(Path.Combine(directory, name, "image.json")) is { Exists: true } file ? file : null;

    /// <summary>Null when there is too much of it, or nothing in it.</summary>
    private static ImageManifest? Read(FileInfo file, out byte[] bytes)
    {
        bytes = [];
        if (file.Length > MaxManifestBytes)
            return null;
        bytes = File.ReadAllBytes(file.FullName);
        return JsonSerializer.Deserialize(bytes, ImageJson.Default.ImageManifest);
    }

    private VerifiedImage? Verify(string name, FileInfo manifestFile, bool waits, out (Reason Reason, string Detail) problem)
    {
        problem = (NodeReasons.ImageCorrupt, $"It is {name}: image.json does not describe an arm64 image of this name with either a kernel or a disk.");
        var folder = manifestFile.DirectoryName!;
        var manifest = Read(manifestFile, out var bytes);
        if (manifest?.IsWhole(name) != true)
            return null;
        foreach (var file in manifest.Files.Values)
        {
            if (string.IsNullOrEmpty(file?.Path) || Path.GetFileName(file.Path) != file.Path || file.Path is "." or "..")
            {
                problem = (NodeReasons.ImageCorrupt, $"It is {name}: a file's path leaves the image's directory.");
                return null;
            }
            var found = new FileInfo(Path.Combine(folder, file.Path));
            if (found.Exists && (found.UnixFileMode & UnixFileMode.OtherRead) == 0)
            {
                problem = (NodeReasons.ImageUnreadable, $"It is {file.Path} of {name}.");
                return null;
            }
            var hash = found.Exists && found.Length == file.Bytes ? Hash(found) : null;
            if (hash is { IsCompleted: false } && !waits && found.Length >= LargeBytes)
            {
                problem = (NodeReasons.ImageBeingVerified, $"It is {file.Path} of {name}.");
                return null;
            }
            if (!string.Equals(hash?.GetAwaiter().GetResult(), file.Sha256, StringComparison.OrdinalIgnoreCase))
            {
                problem = (NodeReasons.ImageCorrupt, $"It is {name}: the file {file.Path} is not the one that image.json names.");
                return null;
            }
        }
        var digest = "sha256:" + Convert.ToHexStringLower(SHA256.HashData(bytes));
        if (manifest.DiskFormat is { } format)
        {
            var disk = Path.Combine(folder, manifest.Files["disk"].Path);
            if (DiskFile.Problem(format, disk) is not { } wrong)
                return new DiskImage(manifest, digest, new ImageDisk(disk, format));
            problem = (NodeReasons.ImageCorrupt, $"It is {name}: its disk {wrong}.");
            return null;
        }
        var initrd = manifest.Files.TryGetValue("initrd", out var entry) ? Path.Combine(folder, entry.Path) : null;
        return new KernelImage(manifest, digest, Path.Combine(folder, manifest.Files["kernel"].Path), initrd, manifest.CommandLine!);
    }

    private Task<string> Hash(FileInfo file)
    {
        lock (_lock)
        {
            if (!_hashes.TryGetValue(file.FullName, out var known) || known.Bytes != file.Length || known.Modified != file.LastWriteTimeUtc || known.Sha256.IsFaulted)
                _hashes[file.FullName] = known = (file.Length, file.LastWriteTimeUtc, Task.Run(() =>
                {
                    using var stream = file.OpenRead();
                    return Convert.ToHexStringLower(SHA256.HashData(stream));
                }));
            return known.Sha256;
        }
    }
}
