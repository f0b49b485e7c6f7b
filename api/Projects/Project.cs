namespace Api.Projects;

/// <summary>A tenant. Everything a user makes belongs to one.</summary>
public sealed class Project
{
    public Guid Id { get; init; }
    public required string Name { get; init; }
    /// <summary>How many sandboxes may exist at once, whatever their phase.</summary>
    public int MaxSandboxes { get; set; }
    /// <summary>Whether it is the project of those who run the service: nodes, devices and other projects are theirs. There is one.</summary>
    public bool Operates { get; init; }
}

/// <summary>A bearer key. Only its SHA-256 is stored: the secret has 256 bits of entropy, so a slow hash would add nothing.</summary>
public sealed class ApiKey
{
    public Guid Id { get; init; }
    public Guid ProjectId { get; init; }
    public required string Name { get; init; }
    public required byte[] SecretSha256 { get; init; }
    public DateTimeOffset CreatedAt { get; init; }
}
