using System.Net;
using System.Net.Http.Json;
using Contracts;
using Xunit;

namespace Api.Tests;

public sealed class NodeListTests(ServiceFixture service) : IClassFixture<ServiceFixture>, IAsyncLifetime
{
    private StandInNode? _node;

    public async ValueTask InitializeAsync() => _node = await service.NodeAsync();

    /// <summary>They join and do not report.</summary>
    private async Task JoinAsync(HttpClient client)
    {
        foreach (var name in (string[])["sim-0002", "sim-0001", "a", "z-9"])
        {
            using var made = await client.PostAsJsonAsync("/v1/nodes/join-tokens", new { name });
            using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/nodes/join") { Content = JsonContent.Create(new NodeJoin(Guid.NewGuid())) };
            request.Headers.Authorization = new("Bearer", (await made.EnsureSuccessStatusCode().Content.ReadFromJsonAsync<JoinTokenView>())!.Token);
            using var stranger = service.Factory.CreateClient();
            (await stranger.SendAsync(request)).EnsureSuccessStatusCode().Dispose();
        }
    }

    public async ValueTask DisposeAsync() => await _node!.DisposeAsync();

    private static async Task<Page<NodeView>> ListAsync(HttpClient client, string query) => (await client.GetFromJsonAsync<Page<NodeView>>($"/v1/nodes?{query}"))!;

    [Fact]
    public async Task List_OfNodes_IsInPagesByNameAndFiltered()
    {
        using var client = service.Client();
        await JoinAsync(client);
        var all = await ListAsync(client, "");
        Assert.Equal(["a", "sim-0001", "sim-0002", "standin", "z-9"], all.Items.Select(n => n.Name));
        Assert.Null(all.Next);
        var seen = new List<NodeView>();
        for (string? next = ""; next is not null;)
        {
            var page = await ListAsync(client, $"limit=2{(next == "" ? "" : "&after=" + next)}");
            Assert.InRange(page.Items.Count, 1, 2);
            seen.AddRange(page.Items);
            next = page.Next;
        }
        Assert.Equal(all.Items.Select(n => n.Id), seen.Select(n => n.Id));
        Assert.Equal("standin", (await ListAsync(client, "phase=Ready")).Items.Single().Name);
        Assert.Equal((4, 2), ((await ListAsync(client, "phase=joining")).Items.Count, (await ListAsync(client, "limit=2&after=sim-0002")).Items.Count));
        Assert.Equal("z-9", (await ListAsync(client, "name=z-9")).Items.Single().Name);
        Assert.Empty((await ListAsync(client, "name=z")).Items);
        Assert.Equal(2, (await ListAsync(client, "name=standin")).Items.Single().DeviceCount);
    }

    [Theory]
    [InlineData("limit=0", "limit")]
    [InlineData("limit=1001", "limit")]
    [InlineData("phase=Gone", "phase")]
    [InlineData("phase=1", "phase")]
    [InlineData("sort=name", "sort")]
    public async Task List_WithAWrongParameter_Returns422(string query, string parameter)
    {
        using var client = service.Client();
        using var response = await client.GetAsync($"/v1/nodes?{query}");
        Assert.Equal(HttpStatusCode.UnprocessableEntity, response.StatusCode);
        Assert.Contains($"\"{parameter}\"", await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
    }
}
