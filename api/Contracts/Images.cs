using System.Text.Json.Serialization;

namespace Contracts;

/// <summary>How a disk's bytes are to be read. <c>Raw</c>: as they are; <c>Qcow2</c>: QEMU's format, which must be whole in itself (no backing file, no data in another file, no encryption).</summary>
[JsonConverter(typeof(NamedEnum<DiskFormat>))]
public enum DiskFormat { Raw, Qcow2 }

/// <summary>What a file of an image is. <c>Kernel</c>, which the VMM itself loads, perhaps with an <c>Initrd</c>; or a <c>Disk</c>, which UEFI starts from.</summary>
[JsonConverter(typeof(NamedEnum<ImageFileRole>))]
public enum ImageFileRole { Kernel, Initrd, Disk }

/// <summary>Where a registered image is. <c>Waiting</c>: for files that are to be uploaded, or for its download to begin, or to be tried again (then <c>Failure</c> says why, and when); <c>Downloading</c>; <c>Ready</c>: each of its files is here, with the
/// digest that it was registered with; <c>Failed</c>: a download has failed for good.</summary>
[JsonConverter(typeof(NamedEnum<ImagePhase>))]
public enum ImagePhase { Waiting, Downloading, Ready, Failed }

/// <summary>Where an image comes from. <c>Project</c>: registered by the caller's project; <c>Shared</c>: registered for all projects; <c>Node</c>: a folder on nodes.
/// A sandbox's image is the first of these that has the name.</summary>
[JsonConverter(typeof(NamedEnum<ImageSource>))]
public enum ImageSource { Project, Shared, Node }

/// <summary>What makes an image whole; the same for one that is registered and one that is a folder on a node. Pure.</summary>
public static class ImageRules
{
    public const string Architecture = "arm64";

    /// <summary>Whether it describes one image, and one that a guest can be started from in one way only: a disk of a known format, without a command line that nobody would read,
    /// or a kernel with a command line, which may be empty.</summary>
    public static bool IsWhole(string? architecture, string? kernelVersion, string? commandLine, DiskFormat? diskFormat, bool hasKernel, bool hasInitrd, bool hasDisk) =>
        architecture == Architecture && kernelVersion is not null && (hasDisk
            ? diskFormat is not null && !hasKernel && !hasInitrd && string.IsNullOrEmpty(commandLine)
            : diskFormat is null && hasKernel && commandLine is not null && !commandLine.Any(char.IsControl));

    /// <summary>64 hexadecimal digits in lower case: safe as a file's name.</summary>
    public static bool IsSha256(string? text) => text is { Length: 64 } && text.All(c => c is >= '0' and <= '9' or >= 'a' and <= 'f');
}

/// <summary>Body of <c>POST /v1/images</c>. Unknown fields are refused.</summary>
/// <param name="Name">1 to 63 of <c>a-z 0-9 -</c>, starting and ending with a letter or digit; unique in the project, or among the shared images.</param>
/// <param name="Shared">Whether all projects may use it; only admins of the project that runs the service may say true. Default false.</param>
/// <param name="Architecture">arm64, which is the default.</param>
/// <param name="KernelVersion">For people: which kernel it has; 1 to 100 characters.</param>
/// <param name="HasAgent">Whether a guest of it says when it is ready (docs/images.md). Default false.</param>
/// <param name="CommandLine">Of the kernel; at most 2048 characters. Required with a kernel, refused with a disk.</param>
/// <param name="DiskFormat">raw or qcow2. Required with a disk, refused with a kernel.</param>
/// <param name="Files">By role: kernel and perhaps initrd, or disk.</param>
public sealed record ImageCreate(
    string? Name, bool? Shared, string? Architecture, string? KernelVersion, bool? HasAgent, string? CommandLine, DiskFormat? DiskFormat, IReadOnlyDictionary<string, ImageFileRequest?>? Files);

/// <param name="Sha256">Of its bytes: 64 hexadecimal digits.</param>
/// <param name="Bytes">Its size: 1 to what the service takes (8 GiB, unless whoever runs it says otherwise).</param>
/// <param name="Url">From where the service downloads it: https, at most 2048 characters, without user and password; null: it is uploaded with <c>PUT /v1/images/{id}/files/{role}</c>.</param>
public sealed record ImageFileRequest(string? Sha256, long? Bytes, string? Url = null);

/// <summary>A file of a registered image. <c>Stored</c>: whether its bytes are here and are what its digest says.</summary>
public sealed record ImageFileView(ImageFileRole Role, string Sha256, long Bytes, string? Url, bool Stored);

/// <summary>A guest image: a registered one, or one that nodes have in a folder (<c>Source</c>). <c>Digest</c>: sha256 of its manifest; <c>HasAgent</c>: whether a guest of it says when it is ready.
/// <c>Nodes</c>: those that have the folder; null for those who do not run the service, and of a registered image, which each node fetches when it needs it.
/// Of a registered image only, else null: <c>Id</c>, <c>Phase</c>, <c>Failure</c> (why a download failed, or was tried again), <c>CommandLine</c> and <c>DiskFormat</c> as it was registered, <c>Files</c>, and the times.</summary>
public sealed record ImageView(
    string Name, string Digest, string Architecture, string Kernel, bool HasAgent, long SizeBytes, IReadOnlyList<string>? Nodes, ImageSource Source = ImageSource.Node, Guid? Id = null,
    ImagePhase? Phase = null, Failure? Failure = null, string? CommandLine = null, DiskFormat? DiskFormat = null, IReadOnlyList<ImageFileView>? Files = null,
    DateTimeOffset? CreatedAt = null, DateTimeOffset? UpdatedAt = null);

/// <summary>A registered image as a plan names it: what its <c>image.json</c> would say. A node fetches what it has not of its files with <c>GET /v1/nodes/images/files/{sha256}</c>.
/// <c>Sha256</c> is 64 hexadecimal digits in lower case.</summary>
public sealed record PlannedImage(
    Guid Id, string Architecture, string KernelVersion, bool HasAgent, string? CommandLine, DiskFormat? DiskFormat, IReadOnlyList<PlannedImageFile> Files);

public sealed record PlannedImageFile(ImageFileRole Role, string Sha256, long Bytes);
