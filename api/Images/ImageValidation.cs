using Api.Sandboxes;
using Api.Webhooks;
using Contracts;

namespace Api.Images;

/// <summary>The limits of a registration. Pure: the field's name to what it takes, empty when all is well.</summary>
public static class ImageValidation
{
    public const int MaxKernelVersion = 100, MaxCommandLine = 2048;

    public static Dictionary<string, string[]> Check(ImageCreate create, ImageSettings settings)
    {
        var errors = new Dictionary<string, string[]>();
        if (create.Name is null || !SandboxValidation.Name().IsMatch(create.Name)) errors["name"] = ["takes 1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit"];
        if ((create.Architecture ?? ImageRules.Architecture) != ImageRules.Architecture) errors["architecture"] = [$"takes {ImageRules.Architecture}"];
        if (create.KernelVersion is not { Length: > 0 and <= MaxKernelVersion } kernel || kernel.Any(char.IsControl)) errors["kernelVersion"] = [$"takes 1 to {MaxKernelVersion} characters, none of them control characters"];
        if (create.CommandLine is { Length: > MaxCommandLine } || create.CommandLine?.Any(char.IsControl) is true) errors["commandLine"] = [$"takes at most {MaxCommandLine} characters, none of them control characters"];
        if (create.DiskFormat is { } format && !Enum.IsDefined(format)) errors["diskFormat"] = ["takes raw or qcow2"];
        CheckFiles(create, settings, errors);
        if (errors.Count == 0 && FilesOf(create) is var files && !IsWhole(create, files))
            errors["files"] = ["takes kernel and perhaps initrd, with a commandLine and without diskFormat; or disk, with a diskFormat and without commandLine"];
        return errors;
    }

    /// <summary>Of a valid request.</summary>
    public static List<RegisteredFile> FilesOf(ImageCreate create) =>
        [.. create.Files!.Select(f => new RegisteredFile(Role(f.Key)!.Value, f.Value!.Sha256!.ToLowerInvariant(), f.Value.Bytes!.Value, f.Value.Url)).OrderBy(f => f.Role)];

    public static ImageFileRole? Role(string? text) => NamedEnum.TryParse<ImageFileRole>(text, out var role) ? role : null;

    private static bool IsWhole(ImageCreate create, List<RegisteredFile> files) => ImageRules.IsWhole(
        create.Architecture ?? ImageRules.Architecture, create.KernelVersion, create.CommandLine, create.DiskFormat, Has(files, ImageFileRole.Kernel), Has(files, ImageFileRole.Initrd), Has(files, ImageFileRole.Disk));

    private static bool Has(List<RegisteredFile> files, ImageFileRole role) => files.Exists(f => f.Role == role);

    private static void CheckFiles(ImageCreate create, ImageSettings settings, Dictionary<string, string[]> errors)
    {
        if (create.Files is not { Count: > 0 and <= 3 } files)
        {
            errors["files"] = ["takes files by role: kernel and perhaps initrd, or disk"];
            return;
        }
        var roles = new HashSet<ImageFileRole>();
        foreach (var (name, file) in files)
        {
            if (Role(name) is not { } role || !roles.Add(role))
            {
                errors["files"] = ["takes kernel, initrd and disk as roles, each once"];
                continue;
            }
            var field = $"files.{role.ToString().ToLowerInvariant()}";
            if (file is null)
            {
                errors[field] = ["takes an object"];
                continue;
            }
            if (!ImageRules.IsSha256(file.Sha256?.ToLowerInvariant())) errors[$"{field}.sha256"] = ["takes 64 hexadecimal digits"];
            if (file.Bytes is not { } bytes || bytes < 1 || bytes > settings.MaxFileBytes) errors[$"{field}.bytes"] = [$"takes 1 to {settings.MaxFileBytes}"];
            if (file.Url is not null && GuardedUrl.Problem(file.Url, settings.Downloads) is { } problem) errors[$"{field}.url"] = [problem];
        }
    }
}
