using System.Net.Http.Json;
using Api.Nodes;
using Contracts;
using Microsoft.AspNetCore.SignalR.Client;
using Testing;
using Xunit;

namespace Api.Tests;

/// <summary>A node that says the same again and again is answered from what is known, and never late.</summary>
public sealed class AnsweredReportsTests(ServiceFixture service) : IClassFixture<ServiceFixture>, IAsyncLifetime
{
    private StandInNode? _node;

    private StandInNode Node => _node!;

    public async ValueTask InitializeAsync() => _node = await service.NodeAsync();

    public async ValueTask DisposeAsync() => await Node.DisposeAsync();

    /// <summary>Until a report changes nothing: the last one was then answered from what was known, or could have been.</summary>
    private async Task SettleAsync()
    {
        for (var time = 0; time < 3; time++) await Node.SyncAsync();
    }

    private Task<long> TamperAsync() => service.ScalarAsync("WITH t AS (UPDATE nodes SET worker_version = 'tampered' RETURNING 1) SELECT count(*) FROM t");

    private Task<long> TamperedAsync() => service.ScalarAsync("SELECT count(*) FROM nodes WHERE worker_version = 'tampered'");

    private async Task<Guid> RunningAsync(HttpClient client, string name)
    {
        var id = (await client.CreateAsync(name, edu: 1)).Id;
        await Eventually.Async(async () => (await Node.SyncAsync()).Sandboxes.Any(s => s.Id == id), "it is planned");
        await Node.SayAsync(id, VmState.Running);
        return id;
    }

    private async Task EndAsync(HttpClient client, Guid id)
    {
        (await client.DeleteAsync($"/v1/sandboxes/{id}")).EnsureSuccessStatusCode().Dispose();
        Assert.Equal(DesiredState.Deleted, (await Node.SyncAsync()).Sandboxes.Single(s => s.Id == id).Desired);
        await Node.SayAsync(id, VmState.Absent);
        Node.Sandboxes.Remove(id);
        await Node.SyncAsync();
    }

    [Fact]
    public async Task Sync_WhenNothingIsNew_IsNotAppliedAgainButCounts()
    {
        using var client = service.Client();
        var id = await RunningAsync(client, "again");
        await SettleAsync();
        await TamperAsync();
        var before = (await client.GetFromJsonAsync<Page<NodeView>>("/v1/nodes"))!.Items.Single().LastReportAt;
        await Node.SyncAsync();
        // Applied, the report would have put it right.
        Assert.Equal(1, await TamperedAsync());
        Assert.True((await client.GetFromJsonAsync<Page<NodeView>>("/v1/nodes"))!.Items.Single().LastReportAt > before);
        Assert.Equal(id, Node.Plan.Sandboxes.Single().Id);
        Node.Held["edu-1"] = Guid.NewGuid();
        await Node.SyncAsync();
        Assert.Equal(0, await TamperedAsync());
        Node.Held["edu-1"] = null;
        await EndAsync(client, id);
    }

    [Fact]
    public async Task Sync_WhenARowWasChanged_IsAppliedAndAnsweredAnew()
    {
        using var client = service.Client();
        var id = await RunningAsync(client, "changed");
        await SettleAsync();
        (await client.PostAsync($"/v1/sandboxes/{id}/stop", null)).EnsureSuccessStatusCode().Dispose();
        Assert.Equal(DesiredState.Stopped, (await Node.SyncAsync()).Sandboxes.Single(s => s.Id == id).Desired);
        await SettleAsync();
        // By another replica, or by hand: whoever changes a row.
        await service.ScalarAsync($"WITH t AS (UPDATE sandboxes SET incarnation = incarnation + 1 WHERE id = '{id}' RETURNING 1) SELECT count(*) FROM t");
        Assert.Equal(2, (await Node.SyncAsync()).Sandboxes.Single(s => s.Id == id).Incarnation);
        await SettleAsync();
        await service.ScalarAsync("WITH t AS (UPDATE devices SET lift_quarantine_of = 7 WHERE address = 'edu-1' RETURNING 1) SELECT count(*) FROM t");
        await TamperAsync();
        await Node.SyncAsync();
        Assert.Equal(0, await TamperedAsync());
        await EndAsync(client, id);
    }

    [Fact]
    public async Task Sync_WhenTheNodeWasTakenForSilent_MakesItReadyAgain()
    {
        using var client = service.Client();
        await SettleAsync();
        await service.ScalarAsync("WITH t AS (UPDATE nodes SET phase = 'Unreachable' RETURNING 1) SELECT count(*) FROM t");
        await Node.SyncAsync();
        Assert.Equal(NodePhase.Ready, (await client.GetFromJsonAsync<Page<NodeView>>("/v1/nodes"))!.Items.Single().Phase);
    }

    [Fact]
    public async Task Sync_WhenAConsoleIsWatchedNow_SaysSo()
    {
        using var client = service.Client();
        var id = await RunningAsync(client, "watched");
        await SettleAsync();
        Assert.Empty(Node.Plan.WatchedConsoles);
        await using var page = new HubConnectionBuilder().WithUrl(new Uri(service.Factory.Server.BaseAddress, DashboardHubContract.Path), o =>
        {
            o.HttpMessageHandlerFactory = _ => service.Factory.Server.CreateHandler();
            o.Transports = Microsoft.AspNetCore.Http.Connections.HttpTransportType.LongPolling;
            o.AccessTokenProvider = () => Task.FromResult<string?>(service.AdminKey);
        }).Build();
        await page.StartAsync();
        await using var frames = page.StreamAsync<ConsoleFrame>("Console", id, 0L).GetAsyncEnumerator();
        Assert.True(await frames.MoveNextAsync());
        Assert.Equal([id], (await Node.SyncAsync()).WatchedConsoles);
        await EndAsync(client, id);
    }

    [Fact]
    public void Digest_IsOfEverythingButTheTime()
    {
        var report = Node.Report();
        Assert.Equal(AnsweredReports.Digest(report), AnsweredReports.Digest(report with { At = report.At.AddSeconds(1) }));
        foreach (var other in (NodeReport[])[report with { AppliedPlanRevision = 9 }, report with { Images = [] }, report with { Facts = report.Facts with { Kernel = "7" } }, report with { Devices = [report.Devices[0]] }])
            Assert.NotEqual(AnsweredReports.Digest(report), AnsweredReports.Digest(other));
    }
}
