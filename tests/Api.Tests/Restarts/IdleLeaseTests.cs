using System.Net.Http.Json;
using Api.Sandboxes;
using Api.Tests.NodeLife;
using Contracts;
using Microsoft.AspNetCore.Http.Connections;
using Microsoft.AspNetCore.SignalR.Client;
using Microsoft.Extensions.Time.Testing;
using Testing;
using Xunit;
using static Api.Tests.NodeLife.NodeCalls;

namespace Api.Tests.Restarts;

/// <summary>A lease that ends when nobody uses its sandbox.</summary>
public sealed class IdleLeaseTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    [Fact]
    public async Task IdleLease_IsWarnedOf_IsPutOffByUse_NotByReading_AndStops()
    {
        var time = new FakeTimeProvider(TimeProvider.System.GetUtcNow());
        await using var replica = service.Replica(time);
        var (node, _, _) = await service.JoinAsync("idles", replica);
        await using var _1 = node;
        using var client = service.Client(replica);
        var made = await client.AskAsync(new { name = "idle", image = "guest", node = "idles", lease = new { idleTimeoutSeconds = 600, onExpiry = "stop" } });
        Assert.Equal(new LeaseView(null, LeaseEnd.Stop, 600, null), made.Lease);
        var id = made.Id;
        async Task<int> WarnedAsync()
        {
            await replica.PassAsync<LeaseExpiry>(time);
            return (await client.EventsAsync(id, "sandbox.leaseExpiring")).Count;
        }
        async Task<SandboxView> ViewAsync() => (await client.FindAsync(id))!;
        // While it does not run nothing is counted.
        await node.PlannedAsync(id);
        await node.PassTimeAsync(time, 700);
        Assert.Equal((0, Phase.Scheduled), (await WarnedAsync(), (await ViewAsync()).Phase));

        await node.SayAsync(id, VmState.Running);
        Assert.InRange(((await ViewAsync()).Lease!.IdleEndsAt!.Value - time.GetUtcNow()).TotalSeconds, 599, 600);
        await node.PassTimeAsync(time, 290);
        Assert.Equal(0, await WarnedAsync());
        await node.PassTimeAsync(time, 15);
        Assert.Equal((1, 1), (await WarnedAsync(), await WarnedAsync()));

        // Somebody types: it begins anew, and is warned of anew.
        await TypeAsync(replica, id);
        await Eventually.Async(async () => (await ViewAsync()).LastActivityAt >= time.GetUtcNow().AddSeconds(-1), "the use is stored");
        await node.PassTimeAsync(time, 320);
        Assert.Equal((2, DesiredState.Running), (await WarnedAsync(), (await ViewAsync()).Desired));

        // Its script works: what it counts grows from one look to the next.
        async Task WorkAsync(long faults) => Assert.True(await node.TellAsync(new FaultSample(id, 1, time.GetUtcNow(), [new SourceReading(FaultSource.WorkloadMinor, faults, null, false, Origin.Emulated)])));
        await WorkAsync(10);
        await node.PassTimeAsync(time, 40);
        await WorkAsync(11);
        await Eventually.Async(async () => (await ViewAsync()).LastActivityAt >= time.GetUtcNow().AddSeconds(-1), "the work is stored");
        await node.PassTimeAsync(time, 40);
        // It counts no more, so that it is idle from here on.
        var last = (await ViewAsync()).LastActivityAt;
        await WorkAsync(11);
        await node.PassTimeAsync(time, 500);
        Assert.Equal((3, DesiredState.Running, last), (await WarnedAsync(), (await ViewAsync()).Desired, (await ViewAsync()).LastActivityAt));
        await node.PassTimeAsync(time, 70);
        await replica.PassAsync<LeaseExpiry>(time);
        var ended = await ViewAsync();
        Assert.Equal((DesiredState.Stopped, 600), (ended.Desired, ended.Lease!.IdleTimeoutSeconds));
        Assert.Contains(await client.EventsAsync(id, "sandbox.phaseChanged"), e => e.Reason == "LeaseExpired");
    }

    private async Task TypeAsync(Microsoft.AspNetCore.Mvc.Testing.WebApplicationFactory<Api.Data.SandboxDb> replica, Guid id)
    {
        await using var page = new HubConnectionBuilder().WithUrl(new Uri(replica.Server.BaseAddress, DashboardHubContract.Path), o =>
        {
            o.HttpMessageHandlerFactory = _ => replica.Server.CreateHandler();
            o.Transports = HttpTransportType.LongPolling;
            o.AccessTokenProvider = () => Task.FromResult<string?>(service.AdminKey);
        }).Build();
        await page.StartAsync(Ct);
        await using var frames = page.StreamAsync<ConsoleFrame>("Console", id, 0L, Ct).GetAsyncEnumerator(Ct);
        Assert.True(await frames.MoveNextAsync());
        Assert.True((await page.InvokeAsync<ConsoleWriter>("ConsoleAcquire", id, false, Ct)).Acquired);
        await page.InvokeAsync("ConsoleWrite", id, "x"u8.ToArray(), Ct);
    }

    [Fact]
    public async Task Lease_TakesATimeOrAnIdleTime_AndNeitherIsRefused()
    {
        using var client = service.Client();
        Assert.Equal("422 validation_failed", await client.TryAsync("PUT", $"/v1/sandboxes/{Guid.NewGuid()}/lease", new { }));
        Assert.Equal("422 validation_failed", await client.TryAsync("PUT", $"/v1/sandboxes/{Guid.NewGuid()}/lease", new { idleTimeoutSeconds = 59 }));
        Assert.Equal("404 sandbox_not_found", await client.TryAsync("PUT", $"/v1/sandboxes/{Guid.NewGuid()}/lease", new { idleTimeoutSeconds = 60 }));
    }
}
