using System.Collections.Concurrent;
using System.Security.Claims;
using Api.Data;
using Api.Http;
using Api.Reconciliation;
using Microsoft.AspNetCore.SignalR;
using Microsoft.EntityFrameworkCore;

namespace Api.Dashboard;

/// <summary>What outlives the check of the request that opened it, on this replica: the dashboard's connections and event streams.</summary>
public sealed class OpenConnections
{
    public sealed record Connection(Action Abort, Guid? Key, Guid? Session, DateTimeOffset OpenedAt);

    private readonly ConcurrentDictionary<string, Connection> open = new();

    public IReadOnlyCollection<Connection> All => [.. open.Values];

    public void Add(HubCallerContext connection, DateTimeOffset now) => Add(connection.ConnectionId, connection.User, connection.Abort, now);

    public void Add(string id, ClaimsPrincipal? user, Action abort, DateTimeOffset now) => open[id] = new(abort, user?.KeyId(), user?.SessionId(), now);

    public void Remove(string id) => open.TryRemove(id, out _);
}

/// <summary>Ends connections whose key, secret or session has ended.
/// Guarantees: within a period and a query, whichever replica ended it. Assumes nothing else: it asks the database, and costs nothing while nobody is connected.
/// On a crash the connections are gone with it.</summary>
public sealed class ConnectionWatch(IServiceScopeFactory scopes, OpenConnections connections, TimeProvider time, ILogger<ConnectionWatch> log) : Reconciler(time, TimeSpan.FromSeconds(1), log)
{
    private readonly TimeProvider clock = time;

    protected override async Task PassAsync(CancellationToken ct)
    {
        var open = connections.All;
        if (open.Count == 0) return;
        await using var scope = scopes.CreateAsyncScope();
        var db = scope.ServiceProvider.GetRequiredService<SandboxDb>();
        var now = clock.GetUtcNow();
        var keys = open.Select(c => c.Key).OfType<Guid>().Distinct().ToList();
        var sessions = open.Select(c => c.Session).OfType<Guid>().Distinct().ToList();
        var goodKeys = await db.ApiKeys.Where(k => keys.Contains(k.Id) && (k.ExpiresAt == null || k.ExpiresAt > now)).ToDictionaryAsync(k => k.Id, k => k.PreviousUntil, ct);
        var goodSessions = sessions.Count == 0 ? [] : await db.Sessions.Where(s => sessions.Contains(s.Id) && s.ExpiresAt > now).Select(s => s.Id).ToHashSetAsync(ct);
        foreach (var connection in open)
            if (connection.Key is { } key && !(goodKeys.TryGetValue(key, out var rotated) && StillGood(connection, rotated, now)) || connection.Session is { } session && !goodSessions.Contains(session))
                connection.Abort();
    }

    /// <summary>Not when it may have been opened with a secret that has been rotated away since. A session has its own end.</summary>
    private static bool StillGood(OpenConnections.Connection connection, DateTimeOffset? previousUntil, DateTimeOffset now) =>
        connection.Session is not null || !(previousUntil <= now && connection.OpenedAt < previousUntil);
}
