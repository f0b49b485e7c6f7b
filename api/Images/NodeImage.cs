namespace Api.Images;

/// <summary>An image as one node has it on its disk.</summary>
public sealed class NodeImage
{
    public Guid NodeId { get; init; }
    public required string Name { get; init; }
    public required string Digest { get; set; }
    public required string Architecture { get; set; }
    public required string Kernel { get; set; }
    public bool HasAgent { get; set; }
    public long SizeBytes { get; set; }
}
