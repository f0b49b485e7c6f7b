using System.Security.Cryptography;
using System.Text.Json;
using Contracts;

namespace Api.Images;

/// <summary>An image that somebody has registered. What it is never changes, so that a sandbox that names it by its id starts from the same bytes each time; only where it stands does.
/// Its phase is written by <see cref="ImageFiles"/> (a file has come) and <see cref="ImageDownloads"/> (a download begins, or has failed).</summary>
public sealed class RegisteredImage
{
    public Guid Id { get; init; }
    /// <summary>Null: shared by all.</summary>
    public Guid? ProjectId { get; init; }
    public required string Name { get; init; }
    public required string Architecture { get; init; }
    public required string KernelVersion { get; init; }
    public bool HasAgent { get; init; }
    public string? CommandLine { get; init; }
    public DiskFormat? DiskFormat { get; init; }
    public required List<RegisteredFile> Files { get; init; }
    /// <summary>Of all files.</summary>
    public long SizeBytes { get; init; }
    public ImagePhase Phase { get; set; }
    public Failure? Failure { get; set; }
    public DateTimeOffset CreatedAt { get; init; }
    public DateTimeOffset UpdatedAt { get; set; }
    public uint Version { get; set; }

    public PlannedImage ToPlan() => new(Id, Architecture, KernelVersion, HasAgent, CommandLine, DiskFormat, Files.ConvertAll(f => new PlannedImageFile(f.Role, f.Sha256, f.Bytes)));

    /// <param name="stored">The files that are here.</param>
    /// <param name="showsUrls">A url may hold a key, or name what is inside a network.</param>
    public ImageView ToView(IReadOnlySet<ImageFileRole> stored, bool showsUrls) => new(
        Name, Digest, Architecture, KernelVersion, HasAgent, SizeBytes, null, ProjectId is null ? ImageSource.Shared : ImageSource.Project, Id, Phase, Failure, CommandLine, DiskFormat,
        Files.ConvertAll(f => new ImageFileView(f.Role, f.Sha256, f.Bytes, showsUrls ? f.Url : null, stored.Contains(f.Role))), CreatedAt, UpdatedAt);

    private string Digest => "sha256:" + Convert.ToHexStringLower(SHA256.HashData(JsonSerializer.SerializeToUtf8Bytes(ToPlan() with { Id = default }, JsonSerializerOptions.Web)));
}

/// <summary>A file of an image as it was registered.</summary>
public sealed record RegisteredFile(ImageFileRole Role, string Sha256, long Bytes, string? Url);

/// <summary>That a file of an image is here.</summary>
public sealed class StoredImageFile
{
    public Guid ImageId { get; init; }
    public ImageFileRole Role { get; init; }
    public Guid ContentId { get; init; }
}

/// <summary>The bytes of files, in chunks of a table that <see cref="ContentStore"/> alone reads and writes. Of a digest one at most is complete, whichever images it belongs to.</summary>
public sealed class ImageContent
{
    public Guid Id { get; init; }
    public required string Sha256 { get; init; }
    public long Bytes { get; init; }
    /// <summary>Each byte is here, and together they have the digest.</summary>
    public bool Complete { get; set; }
    /// <summary>When the last chunk was written, or it was completed.</summary>
    public DateTimeOffset TouchedAt { get; set; }
}

/// <summary>That files of an image are to be downloaded; gone once that has ended. Apart from the image, whose version would change with each renewal of the claim.</summary>
public sealed class ImageDownload
{
    public Guid ImageId { get; init; }
    /// <summary>Of the one who downloads it; null: nobody does.</summary>
    public Guid? Claim { get; set; }
    /// <summary>Whoever claimed it has died if it is still there then.</summary>
    public DateTimeOffset ClaimedUntil { get; set; }
    /// <summary>How often it was claimed since an attempt last came to its end.</summary>
    public int Claims { get; set; }
    /// <summary>How often it has failed, since a file of it last came, in a way that may pass.</summary>
    public int Attempts { get; set; }
    /// <summary>Nobody claims it before.</summary>
    public DateTimeOffset DueAt { get; set; }
}
