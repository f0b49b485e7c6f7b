using Contracts;

namespace Api.Projects;

/// <summary>A tenant. Everything a user makes belongs to one. Null limits and classes without one are not limited.</summary>
public sealed class Project
{
    public Guid Id { get; init; }
    public required string Name { get; init; }
    /// <summary>How many sandboxes may exist at once, whatever their phase.</summary>
    public int MaxSandboxes { get; set; }
    public int? MaxVcpus { get; set; }
    public long? MaxMemoryMib { get; set; }
    public Dictionary<string, int> MaxDevices { get; set; } = [];
    /// <summary>The highest priority of its sandboxes.</summary>
    public int MaxPriority { get; set; }
    /// <summary>Of the images that it has registered.</summary>
    public int MaxImages { get; set; } = ProjectQuotas.DefaultImages;
    public long MaxImageBytes { get; set; } = ProjectQuotas.DefaultImageBytes;
    /// <summary>Whether it is the project of those who run the service: nodes, devices and other projects are theirs. There is one.</summary>
    public bool Operates { get; init; }
    public DateTimeOffset CreatedAt { get; init; }
    public uint Version { get; set; }

    public ProjectQuotas Quotas => new(MaxSandboxes, MaxVcpus, MaxMemoryMib, MaxDevices, MaxPriority, MaxImages, MaxImageBytes);

    public void Limit(ProjectQuotas quotas) =>
        (MaxSandboxes, MaxVcpus, MaxMemoryMib, MaxDevices, MaxPriority, MaxImages, MaxImageBytes) =
        (quotas.MaxSandboxes, quotas.MaxVcpus, quotas.MaxMemoryMib, quotas.MaxDevices?.ToDictionary() ?? [], quotas.MaxPriority, quotas.MaxImages, quotas.MaxImageBytes);
}
