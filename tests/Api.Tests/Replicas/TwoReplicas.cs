using System.Net.WebSockets;
using Contracts;
using Microsoft.AspNetCore.SignalR;
using Testing;
using Xunit;

namespace Api.Tests.Replicas;

/// <summary>Two replicas as processes, for a whole class of tests.</summary>
public sealed class TwoReplicas : IAsyncLifetime
{
    public ServiceFixture Service { get; } = new();
    public ReplicaProcess First { get; private set; } = null!;
    public ReplicaProcess Second { get; private set; } = null!;
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        await Service.InitializeAsync();
        var both = await Task.WhenAll(StartAsync(), StartAsync());
        (First, Second) = (both[0], both[1]);
    }

    public Task<ReplicaProcess> StartAsync(params (string Name, string? Value)[] settings) =>
        ReplicaProcess.StartAsync(Service.ConnectionString + ";Maximum Pool Size=10", null, [("Guests__MaxFileMib", "1"), .. settings]);

    /// <summary>The node, connected to that replica, with one guest that runs.</summary>
    public async Task<(StandInNode Node, Guid Id)> RunningAsync(ReplicaProcess at, string name)
    {
        var node = new StandInNode(new Uri(at.Url), Service.NodeToken, 2) { Installation = Service.Installation };
        await node.StartAsync();
        using var client = at.Client(Service.AdminKey);
        var id = (await client.CreateAsync(name)).Id;
        await Eventually.Async(async () => (await node.SyncAsync()).Sandboxes.Any(s => s.Id == id), "it is placed", ReplicaProcess.Patience);
        await node.SayAsync(id, VmState.Running);
        _ = ReportAsync(node);
        return (node, id);
    }

    /// <summary>Or a slow machine's test would be its node's silence.</summary>
    public static async Task ReportAsync(StandInNode node)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromSeconds(1));
        try
        {
            while (await timer.WaitForNextTickAsync(Ct)) await node.SyncAsync();
        }
        catch (Exception e) when (e is InvalidOperationException or OperationCanceledException or IOException or HubException or WebSocketException)
        {
            // Its connection has ended, and with it the test's use of it.
        }
    }

    public async ValueTask DisposeAsync()
    {
        await Task.WhenAll(First.DisposeAsync().AsTask(), Second.DisposeAsync().AsTask());
        await Service.DisposeAsync();
    }
}
