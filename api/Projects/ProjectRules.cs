using Api.Sandboxes;
using Contracts;

namespace Api.Projects;

/// <summary>The limits of what makes and changes projects and keys. Pure: the field's name to what it takes, empty when all is well.</summary>
public static class ProjectRules
{
    public const int DefaultMaxSandboxes = 100, MaxCount = 1_000_000, MaxUnits = 1_000_000_000, MaxClasses = 64;
    public const long MaxImageBytes = 1L << 50;
    public const int MaxKeyName = 63, MaxKeys = 1000, MaxOverlapSeconds = 604_800, MaxProjects = 100_000;

    public static Dictionary<string, string[]> Check(ProjectCreate create, out ProjectQuotas quotas)
    {
        var asked = create.Quotas;
        quotas = new(asked?.MaxSandboxes ?? DefaultMaxSandboxes, asked?.MaxVcpus, asked?.MaxMemoryMib,
            asked?.MaxDevices?.Where(d => d.Value is not null).ToDictionary(d => d.Key, d => d.Value!.Value) ?? [], asked?.MaxPriority ?? 0,
            asked?.MaxImages ?? ProjectQuotas.DefaultImages, asked?.MaxImageBytes ?? ProjectQuotas.DefaultImageBytes);
        var errors = Check(quotas);
        if (create.Name is null || !SandboxValidation.Name().IsMatch(create.Name)) errors["name"] = ["takes 1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit"];
        return errors;
    }

    public static Dictionary<string, string[]> Check(ProjectQuotas quotas)
    {
        var errors = new Dictionary<string, string[]>();
        if (quotas.MaxSandboxes is < 0 or > MaxCount) errors["quotas.maxSandboxes"] = [$"takes 0 to {MaxCount}"];
        if (quotas.MaxVcpus is < 0 or > MaxUnits) errors["quotas.maxVcpus"] = [$"takes 0 to {MaxUnits}, or null for no limit"];
        if (quotas.MaxMemoryMib is < 0 or > MaxUnits) errors["quotas.maxMemoryMib"] = [$"takes 0 to {MaxUnits}, or null for no limit"];
        if (quotas.MaxPriority is < 0 or > SandboxValidation.MaxPriority) errors["quotas.maxPriority"] = [$"takes 0 to {SandboxValidation.MaxPriority}"];
        if (quotas.MaxImages is < 0 or > MaxCount) errors["quotas.maxImages"] = [$"takes 0 to {MaxCount}"];
        if (quotas.MaxImageBytes is < 0 or > MaxImageBytes) errors["quotas.maxImageBytes"] = [$"takes 0 to {MaxImageBytes}"];
        if (quotas.MaxDevices is { Count: > MaxClasses }) errors["quotas.maxDevices"] = [$"takes at most {MaxClasses} classes"];
        else
            foreach (var (name, most) in quotas.MaxDevices ?? new Dictionary<string, int>())
                if (!SandboxValidation.Name().IsMatch(name)) errors["quotas.maxDevices"] = ["takes names of device classes"];
                else if (most is < 0 or > MaxCount) errors[$"quotas.maxDevices.{name}"] = [$"takes 0 to {MaxCount}"];
        return errors;
    }

    public static Dictionary<string, string[]> Check(KeyCreate create, DateTimeOffset now)
    {
        var errors = new Dictionary<string, string[]>();
        if (create.Name is not { Length: > 0 and <= MaxKeyName } name || name.Any(char.IsControl) || string.IsNullOrWhiteSpace(name))
            errors["name"] = [$"takes 1 to {MaxKeyName} characters, none of them control characters"];
        if (create.Role is null) errors["role"] = [$"takes {string.Join(", ", Enum.GetNames<Role>())}"];
        if (create.ExpiresAt <= now) errors["expiresAt"] = ["takes a time to come, or null for never"];
        return errors;
    }
}
