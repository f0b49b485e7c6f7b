namespace Api.Replicas;

/// <summary>One run of the API's program on this database. Its own process is the only one that writes the row (<see cref="ReplicaPresence"/>).</summary>
public sealed class Replica
{
    /// <summary>Another one after each start: what an earlier process held is not this one's.</summary>
    public Guid Id { get; init; }
    /// <summary>Where the others reach it; null: nowhere (<see cref="ReplicaSettings"/>).</summary>
    public string? Url { get; init; }
    /// <summary>By the database's clock, which all of them share.</summary>
    public DateTimeOffset SeenAt { get; init; }
}
