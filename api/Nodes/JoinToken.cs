namespace Api.Nodes;

/// <summary>Lets one machine become the node <c>Name</c>. Only its SHA-256 is stored; used up by the first installation that shows it.</summary>
public sealed class JoinToken
{
    public Guid Id { get; init; }
    public required string Name { get; init; }
    public required byte[] TokenSha256 { get; init; }
    /// <summary>Whether a node of that name may be taken over.</summary>
    public bool Replace { get; init; }
    public DateTimeOffset CreatedAt { get; init; }
    public DateTimeOffset ExpiresAt { get; init; }
    /// <summary>The installation that has redeemed it; it alone may do so again until it expires.</summary>
    public Guid? UsedBy { get; set; }
    public uint Version { get; set; }
}
