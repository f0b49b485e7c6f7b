using System.Net.Http.Json;
using Api.Tests.Events;
using Contracts;
using Microsoft.AspNetCore.Http.Connections;
using Microsoft.AspNetCore.SignalR;
using Microsoft.AspNetCore.SignalR.Client;
using Testing;
using Xunit;

namespace Api.Tests.Projects;

/// <summary>What is no single thing of a project but tells of them: events, streams, hubs, metrics.</summary>
public sealed class BoundaryTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(30);
    private readonly CancellationToken ct = TestContext.Current.CancellationToken;

    private async Task<HubConnection> HubAsync(string secret)
    {
        var hub = new HubConnectionBuilder().WithUrl(new Uri(service.Factory.Server.BaseAddress, DashboardHubContract.Path), o =>
        {
            o.HttpMessageHandlerFactory = _ => service.Factory.Server.CreateHandler();
            o.Transports = HttpTransportType.LongPolling;
            o.Headers["Authorization"] = $"Bearer {secret}";
        }).Build();
        await hub.StartAsync(ct);
        return hub;
    }

    /// <summary>What the hub says to who may not; empty: it did it.</summary>
    private async Task<string> RefusalAsync(HubConnection hub, string method, params object[] arguments)
    {
        try
        {
            await hub.InvokeCoreAsync(method, typeof(object), arguments, ct);
            return "";
        }
        catch (HubException e)
        {
            return e.Message;
        }
    }

    private async Task<string> FirstAsync<T>(HubConnection hub, string method, params object[] arguments)
    {
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(ct);
        deadline.CancelAfter(Deadline);
        try
        {
            await foreach (var item in hub.StreamAsyncCore<T>(method, arguments, deadline.Token)) return $"told {item}";
            return "ended";
        }
        catch (HubException e)
        {
            return e.Message;
        }
        catch (OperationCanceledException) when (!ct.IsCancellationRequested)
        {
            return "neither told nor refused";
        }
    }

    [Fact]
    public async Task Hub_TellsNothingOfAnothersSandbox_AndTakesNoKeysForIt()
    {
        await using var node = await service.NodeAsync();
        var tenant = await service.TenantAsync("hubs");
        using var operating = service.Client();
        using var foreign = service.ClientOf(tenant.Secret);
        foreach (var (owner, secret) in new[] { (operating, tenant.Secret), (foreign, service.AdminKey) })
        {
            var sandbox = (await owner.CreateAsync("watched")).Id;
            await using var hub = await HubAsync(secret);
            Assert.Contains("sandbox_not_found", await FirstAsync<FaultSample>(hub, "Faults", sandbox), StringComparison.Ordinal);
            Assert.Contains("sandbox_not_found", await FirstAsync<ConsoleFrame>(hub, "Console", sandbox, 0L), StringComparison.Ordinal);
            Assert.Contains("sandbox_not_found", await RefusalAsync(hub, "ConsoleAcquire", sandbox, true), StringComparison.Ordinal);
            Assert.Contains("not_the_writer", await RefusalAsync(hub, "ConsoleWrite", sandbox, "x"u8.ToArray()), StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Hub_WhenAViewerTypes_Refuses()
    {
        await using var node = await service.NodeAsync();
        using var admin = service.Client();
        var sandbox = (await admin.CreateAsync("typed")).Id;
        await using var hub = await HubAsync((await admin.KeyAsync("reads", Role.Viewer)).Secret);
        foreach (var (method, arguments) in new (string, object[])[] { ("ConsoleAcquire", [sandbox, true]), ("ConsoleRelease", [sandbox]), ("ConsoleWrite", [sandbox, "x"u8.ToArray()]) })
            Assert.Contains("forbidden", await RefusalAsync(hub, method, arguments), StringComparison.Ordinal);
        await using var watch = await HubAsync((await admin.KeyAsync("types", Role.Operator)).Secret);
        Assert.Equal("", await RefusalAsync(watch, "ConsoleAcquire", sandbox, true));
    }

    [Fact]
    public async Task Events_AreTheProjectsOwn_ByListAndStreamAndHub()
    {
        await using var node = await service.NodeAsync();
        var tenant = await service.TenantAsync("tells");
        using var operating = service.Client();
        using var foreign = service.ClientOf(tenant.Secret);
        var (theirs, own) = ((await operating.CreateAsync("theirs")).Id, (await foreign.CreateAsync("own")).Id);

        Assert.Empty((await foreign.GetFromJsonAsync<Page<EventView>>($"/v1/events?subject={theirs}", ct))!.Items);
        Assert.Empty((await operating.GetFromJsonAsync<Page<EventView>>($"/v1/events?subject={own}", ct))!.Items);
        Assert.All((await foreign.GetFromJsonAsync<Page<EventView>>("/v1/events", ct))!.Items, e => Assert.Equal(own, e.SubjectId));

        // The other's comes first, so whoever is told it has it before their own end.
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(ct);
        deadline.CancelAfter(Deadline);
        using var stream = await EventReader.OpenAsync(foreign, "?after=0", ct: deadline.Token);
        await using var hub = await HubAsync(tenant.Secret);
        (await operating.PostAsync($"/v1/sandboxes/{theirs}/stop", null, ct)).EnsureSuccessStatusCode().Dispose();
        (await foreign.DeleteAsync($"/v1/sandboxes/{own}", ct)).EnsureSuccessStatusCode().Dispose();
        EventView told;
        do Assert.Equal(own, (told = (await stream.NextAsync(deadline.Token))!).SubjectId);
        while (!IsEnd(told));
        await foreach (var row in hub.StreamAsync<EventView>("Events", 0L, deadline.Token))
        {
            Assert.Equal(own, row.SubjectId);
            if (IsEnd(row)) break;
        }
    }

    /// <summary>Of a sandbox that is being deleted, or that never had a node.</summary>
    private static bool IsEnd(EventView told) => told.Type == "sandbox.deleted" || told.Phase == Phase.Deleting;

    [Fact]
    public async Task Webhooks_AreTheProjectsOwn_WhateverIsDoneToThem()
    {
        var tenant = await service.TenantAsync("hooked");
        using var operating = service.Client();
        using var foreign = service.ClientOf(tenant.Secret);
        foreach (var (owner, other) in new[] { (operating, foreign), (foreign, operating) })
        {
            using var created = await owner.PostAsJsonAsync("/v1/webhooks", new { url = "https://hooks.example/own" }, ct);
            var webhook = (await created.Content.ReadFromJsonAsync<WebhookCreated>(ct))!.Webhook.Id;
            using var tested = await owner.PostAsync($"/v1/webhooks/{webhook}/test", null, ct);
            var delivery = (await tested.Content.ReadFromJsonAsync<WebhookDeliveryView>(ct))!.Number;
            foreach (var (method, path, body) in new (string, string, object?)[]
            {
                ("GET", "", null), ("PATCH", "", new { enabled = false }), ("DELETE", "", null), ("POST", "/rotate-secret", new { }), ("POST", "/test", null),
                ("POST", "/redeliver", new { since = TimeProvider.System.GetUtcNow() }), ("GET", "/deliveries", null), ("GET", $"/deliveries/{delivery}", null), ("POST", $"/deliveries/{delivery}/redeliver", null),
            })
            {
                using var request = new HttpRequestMessage(new HttpMethod(method), $"/v1/webhooks/{webhook}{path}") { Content = body is null ? null : JsonContent.Create(body) };
                using var refused = await other.SendAsync(request, ct);
                Assert.Equal((method, path, "404 webhook_not_found"), (method, path, await refused.AnswerAsync()));
            }
            Assert.DoesNotContain((await other.GetFromJsonAsync<Page<WebhookView>>("/v1/webhooks", ct))!.Items, w => w.Id == webhook);
            Assert.Null((await owner.GetFromJsonAsync<WebhookView>($"/v1/webhooks/{webhook}", ct))!.Disabled);
        }
    }

    [Fact]
    public async Task Metrics_CountTheProjectsOwnSandboxes()
    {
        await using var node = await service.NodeAsync();
        using var operating = service.Client();
        using var foreign = await service.TenantClientAsync("counts");
        await operating.CreateAsync("counted");
        var told = await foreign.GetStringAsync("/metrics", ct);
        Assert.Contains("sandbox_sandboxes{", told, StringComparison.Ordinal);
        Assert.DoesNotMatch(@"sandbox_sandboxes\{[^}]*\} [1-9]", told);
    }
}
