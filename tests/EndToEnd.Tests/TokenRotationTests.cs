using System.Net.Http.Json;
using Contracts;
using Testing;
using Xunit;

namespace EndToEnd.Tests;

/// <summary>A real worker takes another token while its guest runs, and is killed before it has kept that one as its only one.</summary>
public sealed class TokenRotationTests(RunningService service)
{
    /// <summary>Between the two there is but a new connection: it is killed as soon as the file is there, as often as it takes.</summary>
    private const int MostKills = 20;

    [Fact]
    public async Task Rotation_WhenTheWorkerIsKilledBetweenTakingAndKeeping_LeavesOneGoodToken_AndTheGuestRuns()
    {
        var node = (await service.Client.GetFromJsonAsync<Page<NodeView>>("/v1/nodes"))!.Items.Single();
        var id = (await service.CreateAsync("rotated")).Id;
        var running = await service.UntilAsync(id, v => v.Phase == Phase.Running, "it runs");
        var pids = service.ProcessesOf(id);
        var (fetched, first) = (service.NodeTokenFile + ".next", await File.ReadAllTextAsync(service.NodeTokenFile));
        var hit = false;
        for (var kills = 0; kills < MostKills && !hit; kills++)
        {
            (await service.Client.PostAsync($"/v1/nodes/{node.Id}/credentials/rotate", null)).EnsureSuccessStatusCode().Dispose();
            var before = await File.ReadAllTextAsync(service.NodeTokenFile);
            await Eventually.Async(async () => File.Exists(fetched) || await File.ReadAllTextAsync(service.NodeTokenFile) != before, "it has taken another", RunningService.Patience);
            await service.Worker.KillAsync();
            hit = File.Exists(fetched);
            service.StartWorker();
            await Eventually.Async(async () => (await NodeAsync(node.Id)) is { Phase: NodePhase.Ready, RotationWantedAt: null } && !File.Exists(fetched), "it reports by the other, which is its only one", RunningService.Patience);
        }
        Assert.True(hit, $"it was never killed in between, in {MostKills} times");
        Assert.NotEqual(first, await File.ReadAllTextAsync(service.NodeTokenFile));
        var reported = (await NodeAsync(node.Id)).LastReportAt;
        await Eventually.Async(async () => (await NodeAsync(node.Id)).LastReportAt > reported, "it goes on reporting", RunningService.Patience);

        // The token of before is nobody's any more.
        using var old = new HttpRequestMessage(HttpMethod.Post, service.BaseAddress + NodeProtocol.HubPath + "/negotiate?negotiateVersion=1");
        old.Headers.Authorization = new("Bearer", first.Trim());
        using var client = new HttpClient(new SocketsHttpHandler());
        using var refused = await client.SendAsync(old);
        Assert.Equal(System.Net.HttpStatusCode.Unauthorized, refused.StatusCode);
        Assert.Equal(pids, service.ProcessesOf(id));
        Assert.Equal((Phase.Running, running.Incarnation), ((await service.FindAsync(id))!.Phase, (await service.FindAsync(id))!.Incarnation));
        await service.DeleteAsync(id);
    }

    private async Task<NodeView> NodeAsync(Guid id) => (await service.Client.GetFromJsonAsync<NodeView>($"/v1/nodes/{id}"))!;
}
