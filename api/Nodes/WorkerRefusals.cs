using Api.Data;
using Api.Events;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Nodes;

/// <summary>Tells of workers that speak another version of the protocol: on their node, with what helps, and as an event.
/// Guarantees: told once for each version; a report that is taken ends it (<see cref="NodeSync"/>). On a crash the next report is refused and told again.</summary>
public sealed class WorkerRefusals(IServiceScopeFactory scopes)
{
    public const string TooOld = "WorkerTooOld", TooNew = "WorkerTooNew";

    /// <summary>Null: the worker's version fits.</summary>
    public static Failure? Of(NodeReport report, DateTimeOffset at)
    {
        var spoken = $"The worker ({report.WorkerVersion}) speaks version {report.Protocol}.{report.ProtocolMinor} of the protocol and this API {NodeProtocol.Version}.{NodeProtocol.Minor}: more than one minor version apart.";
        return ProtocolSkew.OfOther(report.Protocol, report.ProtocolMinor) switch
        {
            ProtocolSkew.Judgement.TooOld => new(TooOld, spoken, "Update the worker. What runs on the node goes on meanwhile.", at),
            ProtocolSkew.Judgement.TooNew => new(TooNew, spoken, "Update the API, or install the worker's version that belongs to it. What runs on the node goes on meanwhile.", at),
            _ => null,
        };
    }

    /// <summary>Only of the node's own machine: another one says nothing of it.</summary>
    public async Task TellAsync(Guid nodeId, Guid installation, Failure refusal, CancellationToken ct)
    {
        await using var scope = scopes.CreateAsyncScope();
        var db = scope.ServiceProvider.GetRequiredService<SandboxDb>();
        if (await db.Nodes.SingleOrDefaultAsync(n => n.Id == nodeId, ct) is not { } node || node.Refusal?.Message == refusal.Message
            || NodeMachine.Judge(node.Installation, installation) == NodeMachine.Judgement.Another) return;
        node.Refusal = refusal;
        db.Events.Add(Event.Infrastructure(EventType.NodeWorkerRefused, node.Id, node.Name, refusal.Reason, $"The worker of {node.Name} is refused: {refusal.Message} {refusal.Remedy}", refusal.At));
        try
        {
            await db.SaveChangesAsync(ct);
        }
        catch (DbUpdateConcurrencyException)
        {
            // It asks again in a moment.
        }
    }
}
