using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.RegularExpressions;
using Contracts;
using Worker.Checks;

namespace Worker.Images;

public sealed record ImageFile(string Path, string Sha256, long Bytes);

public sealed record ImageManifest(
    string Name, string Architecture, string KernelVersion, bool HasAgent, string CommandLine, IReadOnlyDictionary<string, ImageFile> Files);

/// <summary>An image whose every file was found to be what its manifest says.</summary>
public sealed record VerifiedImage(ImageManifest Manifest, string Digest, string Kernel, string? Initrd)
{
    public ReportedImage ToReport() => new(
        Manifest.Name, Digest, Manifest.Architecture, Manifest.KernelVersion, Manifest.HasAgent, Manifest.Files.Values.Sum(f => f.Bytes));
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(ImageManifest))]
internal sealed partial class ImageJson : JsonSerializerContext;

// Guarantees: an image is offered and started only when the digest of each of its files is the manifest's.
// A file is hashed once and again when its size or time differs; starting a VM costs a few stat calls.
public sealed partial class ImageCatalogue(string directory)
{
    private const int MaxManifestBytes = 64 * 1024;
    private readonly Lock _lock = new();
    private readonly Dictionary<string, (long Bytes, DateTime Modified, string Sha256)> _hashes = new(StringComparer.Ordinal);

    [GeneratedRegex(@"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\z")]
    private static partial Regex NamePattern();

    /// <summary>All images, and what is wrong with those that cannot be offered.</summary>
    public (IReadOnlyList<VerifiedImage> Images, IReadOnlyList<Failure> Problems) Scan(DateTimeOffset now)
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
            if (Find(name, out var problem) is { } image)
                images.Add(image);
            else
                problems.Add(problem.Reason.ToFailure(now, problem.Detail));
        }
        if (images.Count == 0 && problems.Count == 0)
            problems.Add(NodeReasons.NoImage.ToFailure(now));
        return (images, problems);
    }

    /// <summary>The image of that name; null with the reason when there is none to start from.</summary>
    public VerifiedImage? Find(string name, out (Reason Reason, string Detail) problem)
    {
        lock (_lock)
        {
            problem = (NodeReasons.ImageMissing, $"It is {name}.");
            if (!NamePattern().IsMatch(name))
                return null;
            var folder = Path.Combine(directory, name);
            var manifestFile = new FileInfo(Path.Combine(folder, "image.json"));
            if (!manifestFile.Exists)
                return null;
            try
            {
                return Verify(name, folder, manifestFile, out problem);
            }
            catch (Exception error) when (error is IOException or UnauthorizedAccessException or JsonException)
            {
                problem = (NodeReasons.ImageCorrupt, $"It is {name}: {error.Message}");
                return null;
            }
        }
    }

    private VerifiedImage? Verify(string name, string folder, FileInfo manifestFile, out (Reason Reason, string Detail) problem)
    {
        problem = (NodeReasons.ImageCorrupt, $"It is {name}: image.json does not describe an arm64 image of this name with a kernel.");
        if (manifestFile.Length > MaxManifestBytes)
            return null;
        var bytes = File.ReadAllBytes(manifestFile.FullName);
        var manifest = JsonSerializer.Deserialize(bytes, ImageJson.Default.ImageManifest);
        if (manifest is null || manifest.Name != name || manifest.Architecture != "arm64" || manifest.CommandLine is null
            || manifest.KernelVersion is null || manifest.Files?.ContainsKey("kernel") != true || manifest.CommandLine.Any(char.IsControl))
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
            if (!found.Exists || found.Length != file.Bytes || !string.Equals(Hash(found), file.Sha256, StringComparison.OrdinalIgnoreCase))
            {
                problem = (NodeReasons.ImageCorrupt, $"It is {name}: the file {file.Path} is not the one that image.json names.");
                return null;
            }
        }
        var initrd = manifest.Files.TryGetValue("initrd", out var entry) ? Path.Combine(folder, entry.Path) : null;
        return new VerifiedImage(manifest, "sha256:" + Convert.ToHexStringLower(SHA256.HashData(bytes)), Path.Combine(folder, manifest.Files["kernel"].Path), initrd);
    }

    private string Hash(FileInfo file)
    {
        if (_hashes.TryGetValue(file.FullName, out var known) && known.Bytes == file.Length && known.Modified == file.LastWriteTimeUtc)
            return known.Sha256;
        using var stream = file.OpenRead();
        var hash = Convert.ToHexStringLower(SHA256.HashData(stream));
        _hashes[file.FullName] = (file.Length, file.LastWriteTimeUtc, hash);
        return hash;
    }
}
