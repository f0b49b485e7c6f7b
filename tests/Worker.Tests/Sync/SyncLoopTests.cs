using System.Collections.Concurrent;
using Contracts;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.SignalR;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Worker.Fleet;
using Worker.Images;
using Worker.Vms.Simulated;
using Xunit;

namespace Worker.Tests.Sync;

public sealed class SyncLoopTests
{
    /// <summary>What an API saw: connections, in the order of the reports that came over them.</summary>
    public sealed class Seen
    {
        public ConcurrentQueue<string> Reports { get; } = new();
        public ConcurrentQueue<NodeInventory> Inventories { get; } = new();
        public required string Refusal { get; init; }
    }

    /// <summary>Refuses two reports after the first.</summary>
    public sealed class StandInHub(Seen seen) : Hub
    {
        public NodePlan Sync(NodeReport report)
        {
            seen.Reports.Enqueue(Context.ConnectionId);
            if (seen.Reports.Count is 2 or 3) throw new HubException(seen.Refusal);
            return new(report.AppliedPlanRevision, [], [], [], NodeProtocol.Version, NodeProtocol.Minor);
        }

        public void Inventory(NodeInventory inventory) => seen.Inventories.Enqueue(inventory);
    }

    [Theory]
    [InlineData("database_unavailable: it does not answer", 1)]
    [InlineData("node_token_revoked: it is", 3)]
    public async Task Report_WhenItIsRefused_TheConnectionGoesOn_OnlyIfTheApisDatabaseIsAway(string refusal, int connections)
    {
        var seen = new Seen { Refusal = refusal };
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        builder.Services.AddSingleton(seen).AddSignalR(o => o.MaximumReceiveMessageSize = null).AddJsonProtocol(o => o.PayloadSerializerOptions.TypeInfoResolverChain.Insert(0, NodeJson.Default));
        await using var api = builder.Build();
        api.MapHub<StandInHub>(NodeProtocol.HubPath);
        await api.StartAsync(TestContext.Current.CancellationToken);
        using var directory = new TemporaryDirectory();
        var options = new WorkerOptions { ApiUrl = api.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.Single(), StateDirectory = directory.FullPath, ImagesDirectory = directory.FullPath };
        Directory.CreateDirectory(FleetNode.DirectoryOf(options, "one"));
        await File.WriteAllTextAsync(FleetNode.TokenFileOf(FleetNode.DirectoryOf(options, "one")), NodeTokenText, TestContext.Current.CancellationToken);
        await using var pool = new SimulationPool(1, TimeProvider.System, NullLogger.Instance);
        await using (var node = new FleetNode("one", new FleetSurroundings(options, pool, new ImageScan(new ImageCatalogue(directory.FullPath), TimeProvider.System), TimeProvider.System, NullLoggerFactory.Instance)))
        {
            await node.StartAsync();
            await Eventually.TrueAsync(() => seen.Reports.Count >= 5, "it reports on", 60);
        }
        Assert.NotEmpty(seen.Inventories);
        Assert.Equal(connections, seen.Reports.Take(5).Distinct().Count());
    }

    private const string NodeTokenText = "sbn_0";
}
