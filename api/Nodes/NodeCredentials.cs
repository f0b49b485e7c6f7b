using System.Security.Claims;
using System.Security.Cryptography;
using Api.Data;
using Api.Events;
using Api.Http;
using Api.Projects;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Nodes;

/// <summary>A node's token: how it is known, how its worker gets another one, and how it ends.
/// Guarantees: one token is the node's; another that its worker has fetched and not used yet becomes it with its first use, and then the old one is worth nothing, all in one statement.
/// A worker keeps both until the new one was taken, so one of the two is good wherever either side crashes: before the first use the old one, after it the new one.
/// What was fetched and not used is worth nothing after <see cref="Overlap"/>; the wish for another stays until it is fulfilled. Only hashes are stored.</summary>
public sealed class NodeCredentials(IServiceScopeFactory scopes, TimeProvider time)
{
    public static readonly TimeSpan Overlap = TimeSpan.FromMinutes(10);
    public const string Revoked = "node_token_revoked", Decommissioned = "node_decommissioned", Replaced = "node_token_replaced";
    private const int Attempts = 10;

    /// <summary>The node whose token it is.</summary>
    public async Task<Node?> FindAsync(byte[] hash, CancellationToken ct)
    {
        await using var scope = scopes.CreateAsyncScope();
        var db = scope.ServiceProvider.GetRequiredService<SandboxDb>();
        if (await db.Nodes.AsNoTracking().SingleOrDefaultAsync(n => n.TokenSha256 == hash, ct) is { } node)
            return CryptographicOperations.FixedTimeEquals(node.TokenSha256, hash) ? node : null;
        return await TakeUpAsync(db, hash, ct);
    }

    /// <summary>The first use of a fetched token.</summary>
    private async Task<Node?> TakeUpAsync(SandboxDb db, byte[] hash, CancellationToken ct)
    {
        for (var attempt = 1; ; attempt++)
        {
            var now = time.GetUtcNow();
            if (await db.Nodes.SingleOrDefaultAsync(n => (n.NextTokenSha256 == hash && n.NextTokenUntil > now) || n.TokenSha256 == hash, ct) is not { } node) return null;
            // By another connection just now.
            if (node.TokenSha256.AsSpan().SequenceEqual(hash)) return node;
            // So long somebody may wonder why a token of before is refused.
            var forgotten = now - TimeSpan.FromDays(30);
            await db.RetiredNodeTokens.Where(t => t.At < forgotten && t.Code == Replaced).ExecuteDeleteAsync(ct);
            db.RetiredNodeTokens.Add(Retire(node, Replaced, now));
            (node.TokenSha256, node.NextTokenSha256, node.NextTokenUntil, node.RotationWantedAt) = (hash, null, null, null);
            db.Events.Add(Event.Infrastructure(EventType.NodeCredentials, node.Id, node.Name, "TokenReplaced", $"{node.Name} uses another token; the one before is worth nothing any more.", now));
            try
            {
                await db.SaveChangesAsync(ct);
                return node;
            }
            catch (DbUpdateException) when (attempt < Attempts)
            {
                db.ChangeTracker.Clear();
            }
        }
    }

    /// <summary>The code of the refusal; null when it never was a node's token.</summary>
    public async Task<string?> RetiredAsync(byte[] hash, CancellationToken ct)
    {
        await using var scope = scopes.CreateAsyncScope();
        var db = scope.ServiceProvider.GetRequiredService<SandboxDb>();
        return await db.RetiredNodeTokens.Where(t => t.TokenSha256 == hash).Select(t => t.Code).SingleOrDefaultAsync(ct);
    }

    public static IResult Refused(string code) => code switch
    {
        Decommissioned => ApiProblem.Of(401, "node_decommissioned", "The node was taken out of service. Stop its worker; to use the machine again, make a join token."),
        Replaced => ApiProblem.Of(401, "node_token_replaced", "The node has another token by now."),
        _ => ApiProblem.Of(401, "node_token_revoked", "An operator has revoked the node's token; make a join token with replace."),
    };

    /// <summary>Null: the token is the node's still.</summary>
    public async Task<string?> RefusalAsync(Guid nodeId, byte[] hash, CancellationToken ct)
    {
        await using var scope = scopes.CreateAsyncScope();
        var db = scope.ServiceProvider.GetRequiredService<SandboxDb>();
        if (await db.Nodes.AnyAsync(n => n.Id == nodeId && n.TokenSha256 == hash, ct)) return null;
        var code = await db.RetiredNodeTokens.Where(t => t.TokenSha256 == hash).Select(t => t.Code).SingleOrDefaultAsync(ct) ?? Replaced;
        return $"{code}: the token that this connection was opened with is the node's no more";
    }

    /// <summary>Another token for a worker that has asked for it over its own connection; what it fetched before and did not use is worth nothing.</summary>
    public async Task<string> IssueAsync(Guid nodeId, CancellationToken ct)
    {
        var secret = Secret.Create(Secret.NodeTokenPrefix);
        await using var scope = scopes.CreateAsyncScope();
        var db = scope.ServiceProvider.GetRequiredService<SandboxDb>();
        var (hash, until) = (Secret.Hash(secret), (DateTimeOffset?)time.GetUtcNow() + Overlap);
        await db.Nodes.Where(n => n.Id == nodeId).ExecuteUpdateAsync(n => n.SetProperty(x => x.NextTokenSha256, hash).SetProperty(x => x.NextTokenUntil, until), ct);
        return secret;
    }

    public static RetiredNodeToken Retire(Node node, string code, DateTimeOffset now) => new() { TokenSha256 = node.TokenSha256, NodeId = node.Id, NodeName = node.Name, Code = code, At = now };
}

/// <summary>What operators do with a node's token. Guarantees: the change and its event are one transaction. On a crash: what is stored holds.</summary>
public sealed class NodeRotations(SandboxDb db, NodePlans plans, TimeProvider time)
{
    /// <summary>Its worker fetches another token as soon as it reports; until it uses that one, the old one is good.</summary>
    public Task<IResult> RotateAsync(Guid id, ClaimsPrincipal user, CancellationToken ct) => ChangeAsync(id, (node, now) =>
    {
        if (node.RotationWantedAt is not null) return null;
        node.RotationWantedAt = now;
        // So that the next report is answered in full.
        node.PlanRevision++;
        return Told(node, "RotationWanted", $"{user.Identity!.Name} wants {node.Name} to take another token.", now);
    }, ct);

    /// <summary>At once: the machine is let in again by a new join token only. Those of before are worth nothing any more: the machine may still have the one that it has used, and others were made for what is not trusted now.</summary>
    public Task<IResult> RevokeAsync(Guid id, ClaimsPrincipal user, CancellationToken ct) => NodeChange.ApplyAsync(db, id, async node =>
    {
        var now = time.GetUtcNow();
        // With the node in one transaction: a machine that redeems one meanwhile has both of them decided anew.
        db.JoinTokens.RemoveRange(await db.JoinTokens.Where(t => t.Name == node.Name).ToListAsync(ct));
        db.RetiredNodeTokens.Add(NodeCredentials.Retire(node, NodeCredentials.Revoked, now));
        if (node.NextTokenSha256 is { } next) db.RetiredNodeTokens.Add(new() { TokenSha256 = next, NodeId = node.Id, NodeName = node.Name, Code = NodeCredentials.Revoked, At = now });
        // The hash of nothing that anybody has.
        (node.TokenSha256, node.NextTokenSha256, node.NextTokenUntil, node.RotationWantedAt) = (RandomNumberGenerator.GetBytes(32), null, null, null);
        node.PlanRevision++;
        return (null, Told(node, "TokenRevoked", $"{user.Identity!.Name} has revoked the token of {node.Name}: it is let in again by a new join token only.", now));
    }, () => plans.ChangedAsync(id, ct), ct);

    private static Event Told(Node node, string reason, string message, DateTimeOffset now) => Event.Infrastructure(EventType.NodeCredentials, node.Id, node.Name, reason, message, now);

    private Task<IResult> ChangeAsync(Guid id, Func<Node, DateTimeOffset, Event?> change, CancellationToken ct) =>
        NodeChange.ApplyAsync(db, id, node => Task.FromResult(((IResult?)null, change(node, time.GetUtcNow()))), () => plans.ChangedAsync(id, ct), ct);
}
