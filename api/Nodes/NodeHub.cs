using System.Security.Claims;
using Api.Dashboard;
using Api.Data;
using Api.Faults;
using Api.Guests;
using Api.Http;
using Contracts;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.SignalR;

namespace Api.Nodes;

/// <summary>Where workers dial in (Contracts/NodeProtocol.cs). A node is who its token says, never who its report says.
/// Guarantees: a connection is the node's own once a report of it was taken, and for <see cref="NodeWatch.Silence"/> after each: only a node that was silent for longer
/// can be replaced by another machine, and the old one's connection may be open still. Until then nothing it sends is stored or shown (what it tells of its hardware waits)
/// and it is sent nothing, so a second machine with the node's token reads no keystrokes. A connection whose token is not the node's any more ends with its next report.
/// While the database does not answer, nobody can be judged: a connection that was the node's own stays it, with the sessions in guests that are open over it, as long as it reports, up to <see cref="WithoutDatabase"/>;
/// the first report that the database answers decides. What would be stored waits in the worker meanwhile.</summary>
[Authorize(Schemes.Node)]
public sealed class NodeHub(NodeTurns turns, NodeSync sync, NodeInventories inventories, FaultIntake faults, TimeProvider time, ConsoleRelay consoles, GuestRelay guests, RefusedMachines refused, WorkerRefusals tooFarApart, NodeCredentials credentials, ILogger<NodeHub> log) : Hub
{
    /// <summary>So long after the last report that was taken, at most: another replica's database may answer, and have the node replaced.</summary>
    public static readonly TimeSpan WithoutDatabase = TimeSpan.FromMinutes(5);
    /// <summary>For a turn, and for the database then. A report that is under way counts as one for as long as both, and a cancelled statement, may take.</summary>
    private static readonly TimeSpan TurnLimit = TimeSpan.FromSeconds(10), WorkLimit = TimeSpan.FromSeconds(10), UnderWay = TimeSpan.FromSeconds(30);
    private const string Own = "own", Unanswered = "unanswered", Waiting = "inventory", Answered = "answered";

    private Guid NodeId => Guid.Parse(Context.User!.FindFirstValue(Schemes.NodeClaim)!);

    /// <summary>Of the token that the connection was opened with.</summary>
    private byte[] TokenSha256 => Convert.FromHexString(Context.User!.FindFirstValue(Schemes.NodeTokenClaim)!);

    private bool IsOwn => IsWithin(Own, NodeWatch.Silence) || IsWithin(Own, WithoutDatabase) && IsWithin(Unanswered, UnderWay);

    private bool IsWithin(string since, TimeSpan most) => Context.Items.TryGetValue(since, out var at) && time.GetElapsedTime((long)at!) < most;

    public async Task<NodePlan> Sync(NodeReport report)
    {
        if (report is not null && WorkerRefusals.Of(report, time.GetUtcNow()) is { } refusal)
        {
            await tooFarApart.TellAsync(NodeId, report.Installation, refusal, Context.ConnectionAborted);
            throw new HubException($"{refusal.Reason}: {refusal.Message} {refusal.Remedy}");
        }
        if (NodeReports.Problem(report) is { } problem) throw new HubException($"invalid_report: {problem}");
        if (await SyncInTurnAsync(report!) is not { } answer)
        {
            await DisownAsync();
            if (await credentials.RefusalAsync(NodeId, TokenSha256, Context.ConnectionAborted) is { } ended) throw new HubException(ended);
            await refused.TellAsync(NodeId, Context.ConnectionAborted);
            throw new HubException("node_is_another_machine: this token is of a node that is another machine; join with a token of your own, or have the node replaced");
        }
        Context.Items[Answered] = answer;
        await BecomeOwnAsync();
        return answer.Plan;
    }

    /// <summary>Another token for the node itself: see <see cref="NodeCredentials"/>.</summary>
    public async Task<string> RenewToken() =>
        await IsStillOwnAsync() ? await credentials.IssueAsync(NodeId, Context.ConnectionAborted) : throw new HubException("not_yet: report first");

    public async Task Inventory(NodeInventory inventory)
    {
        if (NodeInventories.Problem(inventory) is { } problem) throw new HubException($"invalid_inventory: {problem}");
        if (await IsStillOwnAsync()) await StoreAsync(inventory);
        // With the first report that is taken.
        else Context.Items[Waiting] = inventory;
    }

    /// <summary>False: not now. The connection is not the node's own (yet), or what came before has not been stored.</summary>
    public async Task<bool> Faults(byte[] batch) => await IsStillOwnAsync() && IsWithin(Own, NodeWatch.Silence) && faults.TryAccept(NodeId, batch ?? []);

    public async Task ConsoleOutput(ConsoleChunk chunk)
    {
        if (!await IsStillOwnAsync()) return;
        if (chunk?.Data is null || chunk.Offset < 0) log.LogWarning("Node {NodeId} sent console output without bytes", NodeId);
        else if (faults.Owns(NodeId, chunk.SandboxId)) consoles.Output(chunk);
        else log.LogWarning("Node {NodeId} sent console output of sandbox {SandboxId}, which is not its own", NodeId, chunk.SandboxId);
    }

    public async Task OfSession(NodeOfSession told)
    {
        if (!await IsStillOwnAsync()) return;
        if (told?.Step is null) log.LogWarning("Node {NodeId} sent a step of no session", NodeId);
        else if (!guests.Told(NodeId, told)) log.LogWarning("Node {NodeId} told of session {Session}, which is not its own", NodeId, told.Session);
    }

    public override Task OnDisconnectedAsync(Exception? exception)
    {
        guests.Disconnected(NodeId, Context.ConnectionId);
        return base.OnDisconnectedAsync(exception);
    }

    private async Task<bool> IsStillOwnAsync()
    {
        if (!IsOwn && Context.Items.ContainsKey(Own)) await DisownAsync();
        return IsOwn;
    }

    private async Task DisownAsync()
    {
        Context.Items.Remove(Own);
        Context.Items.Remove(Unanswered);
        guests.Disconnected(NodeId, Context.ConnectionId);
        Context.Items.Remove(Answered);
        await Groups.RemoveFromGroupAsync(Context.ConnectionId, NodePlans.Group(NodeId));
    }

    // A nudge that is lost between the report and the group costs one period.
    private async Task BecomeOwnAsync()
    {
        if (!IsOwn)
        {
            await Groups.AddToGroupAsync(Context.ConnectionId, NodePlans.Group(NodeId));
            guests.Connected(NodeId, Context.ConnectionId);
        }
        Context.Items[Own] = time.GetTimestamp();
        Context.Items.Remove(Unanswered);
        if (Context.Items.Remove(Waiting, out var told)) await StoreAsync((NodeInventory)told!);
    }

    private async Task<AnsweredReport?> SyncInTurnAsync(NodeReport report)
    {
        // The connection is as good as it was while its report is under way, and judged by the answer.
        if (IsOwn) Context.Items[Unanswered] = time.GetTimestamp();
        return await InTurnAsync(ct => sync.SyncAsync(NodeId, TokenSha256, report, Context.Items.TryGetValue(Answered, out var last) ? (AnsweredReport?)last : null, ct));
    }

    /// <summary>While the database does not answer it waits for the next report that is taken, like what came too early.</summary>
    private async Task StoreAsync(NodeInventory told)
    {
        try
        {
            await InTurnAsync(async ct =>
            {
                await inventories.StoreAsync(NodeId, told, ct);
                return true;
            });
        }
        catch (Exception e) when (DatabaseAbsence.Is(e) || e is HubException)
        {
            Context.Items[Waiting] = told;
        }
    }

    /// <summary>Bounded: the calls of a connection wait for each other, those of sessions in guests among them.</summary>
    private async Task<T> InTurnAsync<T>(Func<CancellationToken, Task<T>> work)
    {
        using var turnLimit = CancellationTokenSource.CreateLinkedTokenSource(Context.ConnectionAborted);
        using var workLimit = CancellationTokenSource.CreateLinkedTokenSource(Context.ConnectionAborted);
        turnLimit.CancelAfter(TurnLimit);
        try
        {
            using var turn = await turns.TakeAsync(turnLimit.Token);
            workLimit.CancelAfter(WorkLimit);
            return await work(workLimit.Token);
        }
        catch (OperationCanceledException) when (!Context.ConnectionAborted.IsCancellationRequested)
        {
            throw new HubException($"{NodeProtocol.DatabaseUnavailable}: the database did not answer in time; try again in a second");
        }
    }
}
