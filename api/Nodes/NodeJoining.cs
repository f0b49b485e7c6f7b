using System.Security.Claims;
using Api.Data;
using Api.Events;
using Api.Http;
using Api.Projects;
using Api.Sandboxes;
using Contracts;
using Microsoft.EntityFrameworkCore;
using Npgsql;

namespace Api.Nodes;

/// <summary>How a machine becomes a node: an operator makes a join token, the machine's worker redeems it for a node token of its own.
/// Guarantees: one token, one machine; the token's use, the node and its event are one transaction.
/// A worker that crashed before it stored its answer redeems again: its node's token is then another, and the lost one is worth nothing.</summary>
public sealed class NodeJoining(SandboxDb db, TimeProvider time)
{
    public const int MinTtlSeconds = 60, MaxTtlSeconds = 86_400, DefaultTtlSeconds = 3600, MaxTokens = 1000;
    private const int Attempts = 5;
    // Any number of our own: creates of join tokens wait for each other, so that their limit holds.
    private const long CreateLock = 0x5342_4a01;

    public async Task<IResult> CreateTokenAsync(JoinTokenCreate? create, CancellationToken ct)
    {
        if (create is null) return ApiProblem.Of(400, "invalid_request", "A JSON object is expected.");
        if (Problems(create) is { Count: > 0 } errors) return ApiProblem.Validation(errors);
        var now = time.GetUtcNow();
        await using var transaction = await db.BeginAsync(ct);
        await db.Database.ExecuteSqlAsync($"SELECT pg_advisory_xact_lock({CreateLock})", ct);
        await db.JoinTokens.Where(t => t.ExpiresAt <= now).ExecuteDeleteAsync(ct);
        // One that was used is kept for its machine alone, which may have lost its answer.
        if (await db.JoinTokens.CountAsync(t => t.UsedBy == null, ct) >= MaxTokens)
            return ApiProblem.Of(409, "too_many_join_tokens", $"There are {MaxTokens} join tokens that are not used and have not expired; wait until one is.");
        if (create.Replace is not true && await db.Nodes.AnyAsync(n => n.Name == create.Name, ct)) return NodeExists(create.Name!);
        var secret = Secret.Create(Secret.JoinTokenPrefix);
        var token = new JoinToken
        {
            Id = Guid.CreateVersion7(now),
            Name = create.Name!,
            TokenSha256 = Secret.Hash(secret),
            Replace = create.Replace is true,
            CreatedAt = now,
            ExpiresAt = now.AddSeconds(create.TtlSeconds ?? DefaultTtlSeconds),
        };
        db.JoinTokens.Add(token);
        await db.SaveChangesAsync(ct);
        await transaction.CommitAsync(ct);
        return Results.Json(new JoinTokenView(token.Name, secret, token.ExpiresAt), statusCode: 201);
    }

    /// <summary>For a caller that has shown the token itself (<see cref="JoinTokenHandler"/>).</summary>
    public async Task<IResult> JoinAsync(ClaimsPrincipal caller, NodeJoin? join, CancellationToken ct)
    {
        if (join?.Installation is not { } installation || installation == Guid.Empty)
            return ApiProblem.Validation("installation", "takes the id of the worker's state directory");
        var id = Guid.Parse(caller.FindFirstValue(Schemes.JoinTokenClaim)!);
        for (var attempt = 1; ; attempt++)
        {
            try
            {
                return await RedeemAsync(id, installation, ct);
            }
            // Another machine was faster, with another token for the same name.
            catch (DbUpdateException e) when (attempt < Attempts && (e is DbUpdateConcurrencyException || e.InnerException is PostgresException { SqlState: PostgresErrorCodes.UniqueViolation }))
            {
                db.ChangeTracker.Clear();
            }
        }
    }

    private async Task<IResult> RedeemAsync(Guid id, Guid installation, CancellationToken ct)
    {
        var now = time.GetUtcNow();
        // Machines with the same token wait here for each other: the second sees what the first has become.
        await using var transaction = await db.BeginAsync(ct);
        var found = await db.JoinTokens.FromSql($"SELECT *, xmin FROM join_tokens WHERE id = {id} FOR UPDATE").ToListAsync(ct);
        if (found is not [{ } token] || token.ExpiresAt <= now) return TokenInvalid();
        var node = await db.Nodes.SingleOrDefaultAsync(n => n.Name == token.Name, ct);
        var step = JoinDecision.Of(token.UsedBy, token.Replace, installation, node is null ? null : new(node.Installation, node.Phase));
        switch (step)
        {
            case JoinDecision.Step.TokenUsed:
                return ApiProblem.Of(409, "join_token_used", "Another machine has used that join token, or the node has been replaced since; make another token.");
            case JoinDecision.Step.NodeExists:
                return NodeExists(token.Name);
            case JoinDecision.Step.NodeInUse:
                return ApiProblem.Of(409, "node_in_use", $"Node {token.Name} reports; stop its worker, and {NodeWatch.Silence.TotalSeconds:0} s later it can be replaced.");
            case JoinDecision.Step.Create:
                db.Nodes.Add(node = new Node { Id = Guid.CreateVersion7(now), Name = token.Name, TokenSha256 = [], Phase = NodePhase.Joining });
                break;
            case JoinDecision.Step.TakeOver:
                // What the last machine was says nothing of this one. Its sandboxes stay in the plan: this one reports their loss.
                (node!.Phase, node.Facts, node.LastReportAt, node.WorkerVersion) = (NodePhase.Joining, null, null, null);
                if (await db.NodeInventories.SingleOrDefaultAsync(i => i.NodeId == node.Id, ct) is { } inventory) db.NodeInventories.Remove(inventory);
                break;
        }
        var secret = Secret.Create(Secret.NodeTokenPrefix);
        (node!.NextTokenSha256, node.NextTokenUntil, node.RotationWantedAt, node.Refusal) = (null, null, null, null);
        (node!.TokenSha256, node.Installation, token.UsedBy) = (Secret.Hash(secret), installation, installation);
        var (reason, message) = step switch
        {
            JoinDecision.Step.Create => ("NodeCreated", $"A machine has joined as node {node.Name}; it has not reported yet."),
            JoinDecision.Step.TakeOver => ("NodeReplaced", $"Another machine has become node {node.Name}; it has not reported yet."),
            _ => ("NodeTokenRenewed", $"Node {node.Name} has fetched another token."),
        };
        db.Events.Add(Event.Infrastructure(EventType.NodePhase, node.Id, node.Name, reason, message, now));
        await db.SaveChangesAsync(ct);
        await transaction.CommitAsync(ct);
        return Results.Created($"/v1/nodes/{node.Id}", new NodeJoined(node.Id, node.Name, secret));
    }

    private static Dictionary<string, string[]> Problems(JoinTokenCreate create)
    {
        var errors = new Dictionary<string, string[]>();
        if (create.Name is null || !SandboxValidation.Name().IsMatch(create.Name)) errors["name"] = ["takes 1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit"];
        if (create.TtlSeconds is < MinTtlSeconds or > MaxTtlSeconds) errors["ttlSeconds"] = [$"takes {MinTtlSeconds} to {MaxTtlSeconds}, not {create.TtlSeconds}"];
        return errors;
    }

    private static IResult NodeExists(string name) => ApiProblem.Of(409, "node_exists", $"There is a node named {name}; take another name, or make a token with replace.");

    public static IResult TokenInvalid() => ApiProblem.Of(401, "join_token_invalid", "That join token is not known here or has expired; make another.");
}
