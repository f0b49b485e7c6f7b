using System.Security.Claims;
using Api.Dashboard;
using Api.Faults;
using Api.Http;
using Contracts;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.SignalR;

namespace Api.Nodes;

/// <summary>Where workers dial in (Contracts/NodeProtocol.cs). A node is who its token says, never who its report says.</summary>
[Authorize(Schemes.Node)]
public sealed class NodeHub(NodeSync sync, NodeInventories inventories, FaultIntake faults, ConsoleRelay consoles, ILogger<NodeHub> log) : Hub
{
    private Guid NodeId => Guid.Parse(Context.User!.FindFirstValue(Schemes.NodeClaim)!);

    public override async Task OnConnectedAsync()
    {
        await Groups.AddToGroupAsync(Context.ConnectionId, NodePlans.Group(NodeId));
        await base.OnConnectedAsync();
    }

    public Task<NodePlan> Sync(NodeReport report)
    {
        if (NodeReports.Problem(report) is { } problem) throw new HubException($"invalid_report: {problem}");
        if (report.Protocol == NodeProtocol.Version) return sync.SyncAsync(NodeId, report, Context.ConnectionAborted);
        log.LogWarning("Node {NodeId} speaks protocol {Protocol}", NodeId, report.Protocol);
        throw new HubException($"protocol_mismatch: this API speaks version {NodeProtocol.Version}");
    }

    public async Task Inventory(NodeInventory inventory)
    {
        if (await inventories.StoreAsync(NodeId, inventory, Context.ConnectionAborted) is { } problem) throw new HubException($"invalid_inventory: {problem}");
    }

    public void Faults(FaultSample[] samples) => faults.Accept(NodeId, samples ?? []);

    public void ConsoleOutput(ConsoleChunk chunk)
    {
        if (chunk?.Data is null || chunk.Offset < 0) log.LogWarning("Node {NodeId} sent console output without bytes", NodeId);
        else if (faults.Owns(NodeId, chunk.SandboxId)) consoles.Output(chunk);
        else log.LogWarning("Node {NodeId} sent console output of sandbox {SandboxId}, which is not its own", NodeId, chunk.SandboxId);
    }
}
