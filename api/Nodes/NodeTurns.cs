using System.Threading.RateLimiting;
using Npgsql;

namespace Api.Nodes;

/// <summary>How many nodes' reports and inventories work on the database at once: as many as a third of the replica's connections. A fleet that comes back all together (the API was away) is then served one part after the
/// other, and whoever asks the API meanwhile still finds a connection (<see cref="Data.SandboxDb.OpenSource"/>). A turn is held by no crash: it ends with the process.</summary>
public sealed class NodeTurns(NpgsqlDataSource source) : IDisposable
{
    /// <summary>A node has one report under way, so there are no more that wait than nodes.</summary>
    private readonly ConcurrencyLimiter turns = new(new() { PermitLimit = Math.Max(1, new NpgsqlConnectionStringBuilder(source.ConnectionString).MaxPoolSize / 3), QueueLimit = int.MaxValue, QueueProcessingOrder = QueueProcessingOrder.OldestFirst });

    /// <summary>The turn, which ends when it is disposed.</summary>
    public ValueTask<RateLimitLease> TakeAsync(CancellationToken ct) => turns.AcquireAsync(1, ct);

    public void Dispose() => turns.Dispose();
}
