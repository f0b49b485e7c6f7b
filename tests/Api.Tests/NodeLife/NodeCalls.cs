using System.Net;
using System.Net.Http.Json;
using Api.Data;
using Api.Reconciliation;
using Contracts;
using Microsoft.AspNetCore.Mvc.Testing;
using Microsoft.AspNetCore.TestHost;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;
using Testing;
using Xunit;

namespace Api.Tests.NodeLife;

/// <summary>What tests of nodes ask of the service again and again.</summary>
internal static class NodeCalls
{
    public static CancellationToken Ct => TestContext.Current.CancellationToken;

    public static WebApplicationFactory<SandboxDb> Replica(this ServiceFixture service, FakeTimeProvider time) =>
        service.NewReplica().WithWebHostBuilder(b => b.ConfigureTestServices(s => s.AddSingleton<TimeProvider>(time)));

    /// <summary>A machine that joins by a token of its own and reports.</summary>
    public static async Task<(StandInNode Node, Guid Id, string Token)> JoinAsync(this ServiceFixture service, string name, WebApplicationFactory<SandboxDb> replica, int edu = 2, Guid? installation = null, bool replace = false)
    {
        using var admin = service.Client(replica);
        using var made = await admin.PostAsJsonAsync("/v1/nodes/join-tokens", new { name, replace }, Ct);
        Assert.Equal(HttpStatusCode.Created, made.StatusCode);
        using var machine = service.ClientOf((await made.Content.ReadFromJsonAsync<JoinTokenView>(Ct))!.Token, replica);
        var own = installation ?? Guid.NewGuid();
        using var joined = await machine.PostAsJsonAsync("/v1/nodes/join", new { installation = own }, Ct);
        Assert.Equal(HttpStatusCode.Created, joined.StatusCode);
        var node = (await joined.Content.ReadFromJsonAsync<NodeJoined>(Ct))!;
        var standIn = new StandInNode(replica, node.Token, edu, overWebSocket: true) { Installation = own };
        await standIn.StartAsync();
        return (standIn, node.NodeId, node.Token);
    }

    public static async Task<NodeView> NodeAsync(this HttpClient client, Guid id) => (await client.GetFromJsonAsync<NodeView>($"/v1/nodes/{id}", Ct))!;

    public static async Task<NodeView> DoAsync(this HttpClient client, string method, string path, object? body = null)
    {
        using var request = new HttpRequestMessage(new HttpMethod(method), path) { Content = body is null ? null : JsonContent.Create(body) };
        using var response = await client.SendAsync(request, Ct);
        Assert.True(response.StatusCode == HttpStatusCode.OK, await response.Content.ReadAsStringAsync(Ct));
        return (await response.Content.ReadFromJsonAsync<NodeView>(Ct))!;
    }

    public static async Task<string> TryAsync(this HttpClient client, string method, string path, object? body = null)
    {
        using var request = new HttpRequestMessage(new HttpMethod(method), path) { Content = body is null ? null : JsonContent.Create(body) };
        using var response = await client.SendAsync(request, Ct);
        return await response.AnswerAsync();
    }

    public static async Task<SandboxView> AskAsync(this HttpClient client, object body)
    {
        using var response = await client.PostAsJsonAsync("/v1/sandboxes", body, Ct);
        Assert.True(response.StatusCode == HttpStatusCode.Created, await response.Content.ReadAsStringAsync(Ct));
        return (await response.Content.ReadFromJsonAsync<SandboxView>(Ct))!;
    }

    public static async Task<IReadOnlyList<EventView>> EventsAsync(this HttpClient client, Guid subject, string type) =>
        (await client.GetFromJsonAsync<Page<EventView>>($"/v1/events?subject={subject}&type={type}&limit=1000", Ct))!.Items;

    /// <summary>A whole pass that began after now; <paramref name="time"/>: the replica's clock, which goes on by two milliseconds.</summary>
    public static async Task PassAsync<T>(this WebApplicationFactory<SandboxDb> replica, FakeTimeProvider? time = null) where T : Reconciler
    {
        var reconciler = replica.Services.GetRequiredService<T>();
        for (var pass = 0; pass < 2; pass++)
        {
            time?.Advance(TimeSpan.FromMilliseconds(1));
            var from = (time ?? TimeProvider.System).GetUtcNow();
            await Eventually.Async(() => { reconciler.Wake(); return reconciler.LastPassAt >= from; }, $"{typeof(T).Name} has passed", TimeSpan.FromSeconds(60));
        }
    }

    /// <summary>So long passes, in steps within which the node's silence is none.</summary>
    public static async Task PassTimeAsync(this StandInNode node, FakeTimeProvider time, int seconds)
    {
        for (var left = seconds; left > 0; left -= 8)
        {
            time.Advance(TimeSpan.FromSeconds(Math.Min(8, left)));
            await node.SyncAsync();
        }
    }

    /// <summary>The sandbox, once the node has it in its plan.</summary>
    public static async Task PlannedAsync(this StandInNode node, Guid sandbox, int incarnation = 1) =>
        await Eventually.Async(async () => (await node.SyncAsync()).Sandboxes.Any(s => s.Id == sandbox && s.Incarnation == incarnation && s.Desired == DesiredState.Running), "it is in the node's plan", TimeSpan.FromSeconds(60));

    public static Failure Broke => new("VmmExited", "It broke.", "Mend it.", TimeProvider.System.GetUtcNow());
}
