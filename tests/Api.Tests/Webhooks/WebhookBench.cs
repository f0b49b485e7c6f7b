using System.Net;
using System.Net.Http.Json;
using Api.Data;
using Api.Webhooks;
using Api.Events;
using Contracts;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Mvc.Testing;
using Microsoft.AspNetCore.TestHost;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;
using Testing;
using Xunit;

namespace Api.Tests.Webhooks;

/// <summary>A replica that may post to loopback, with a project of its own and a clock of the test's or the real one.</summary>
public sealed class WebhookBench : IAsyncDisposable
{
    private readonly ServiceFixture _service;

    private WebhookBench(ServiceFixture service, WebApplicationFactory<SandboxDb> replica, HttpClient client, Guid project, FakeTimeProvider? time) =>
        (_service, Replica, Client, Project, Time) = (service, replica, client, project, time!);

    public WebApplicationFactory<SandboxDb> Replica { get; }
    public HttpClient Client { get; }
    public Guid Project { get; }
    public FakeTimeProvider Time { get; }
    private DateTimeOffset Now => Time?.GetUtcNow() ?? TimeProvider.System.GetUtcNow();
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    public static async Task<WebhookBench> StartAsync(ServiceFixture service, bool fakeTime = false, Action<IWebHostBuilder>? configure = null)
    {
        var time = fakeTime ? new FakeTimeProvider(TimeProvider.System.GetUtcNow()) : null;
        var replica = NewReplica(service, b =>
        {
            if (time is not null) b.ConfigureTestServices(s => s.AddSingleton<TimeProvider>(time));
            configure?.Invoke(b);
        });
        var name = $"p{Guid.NewGuid():N}"[..20];
        var client = await service.TenantClientAsync(name, replica);
        return new(service, replica, client, await service.ProjectAsync(name), time);
    }

    public static WebApplicationFactory<SandboxDb> NewReplica(ServiceFixture service, Action<IWebHostBuilder>? configure = null) => service.NewReplica().WithWebHostBuilder(b =>
    {
        b.UseSetting("Webhooks:AllowHttp", "true").UseSetting("Webhooks:AllowedNetworks", "127.0.0.0/8");
        configure?.Invoke(b);
    });

    /// <summary>The dispatch has looked at the present time. A clock that jumps while it looks would else be seen a period later, which a clock that stands never reaches.</summary>
    public async Task LookedAsync()
    {
        var dispatch = (WebhookDispatch)Replica.Services.GetService(typeof(WebhookDispatch))!;
        await Eventually.Async(() => { dispatch.Wake(); return dispatch.LastPassAt == Time.GetUtcNow(); }, "the dispatch has looked", TimeSpan.FromSeconds(30));
    }

    /// <summary>Those that a replica has claimed and not answered for: due when their lease ends, which no retry of a test's first minute is. To turn the clock then would end their time.</summary>
    public static bool IsHeld(WebhookDeliveryView delivery, DateTimeOffset now) => delivery.DueAt > now + TimeSpan.FromSeconds(30);

    public static string[] Types(params string[] types) => types;

    public async Task<WebhookCreated> CreateAsync(string url, object? more = null)
    {
        var body = more is null ? [] : more.GetType().GetProperties().ToDictionary(p => p.Name, p => p.GetValue(more));
        body["url"] = url;
        using var response = await Client.PostAsJsonAsync("/v1/webhooks", body, Ct);
        Assert.True(response.StatusCode == HttpStatusCode.Created, await response.Content.ReadAsStringAsync(Ct));
        return (await response.Content.ReadFromJsonAsync<WebhookCreated>(Ct))!;
    }

    public async Task<WebhookView> ViewAsync(Guid id) => (await Client.GetFromJsonAsync<WebhookView>($"/v1/webhooks/{id}", Ct))!;

    public async Task<IReadOnlyList<WebhookDeliveryView>> DeliveriesAsync(Guid id, string query = "") =>
        (await Client.GetFromJsonAsync<Page<WebhookDeliveryView>>($"/v1/webhooks/{id}/deliveries?limit=1000{query}", Ct))!.Items;

    /// <summary>Its only delivery, once it is as wanted.</summary>
    public Task<WebhookDeliveryView> UntilAsync(Guid id, Func<WebhookDeliveryView, bool> condition, string what) =>
        Eventually.GetAsync(async () => await DeliveriesAsync(id) is [var only] && condition(only) ? only : null, what, TimeSpan.FromSeconds(30));

    public async Task<T> PostAsync<T>(string path, object? body = null, HttpStatusCode expected = HttpStatusCode.Accepted)
    {
        using var response = await Client.PostAsJsonAsync(path, body ?? new { }, Ct);
        Assert.True(response.StatusCode == expected, await response.Content.ReadAsStringAsync(Ct));
        return (await response.Content.ReadFromJsonAsync<T>(Ct))!;
    }

    public async Task PatchAsync(Guid id, object patch)
    {
        using var response = await Client.PatchAsJsonAsync($"/v1/webhooks/{id}", patch, Ct);
        Assert.True(response.StatusCode == HttpStatusCode.OK, await response.Content.ReadAsStringAsync(Ct));
    }

    /// <summary>Something happens to each of these subjects, in this order.</summary>
    public async Task HappenAsync(params Guid[] subjects)
    {
        await using var db = Migrations.Database.Open(_service.ConnectionString);
        foreach (var subject in subjects) db.Events.Add(Event.Of(Project, EventType.SandboxPhase, subject, "s", "Running", "It is Running.", Now));
        await db.SaveChangesAsync(Ct);
    }

    public Task<long> ScalarAsync(string sql) => _service.ScalarAsync(sql);

    public async ValueTask DisposeAsync()
    {
        Client.Dispose();
        await Replica.DisposeAsync();
    }
}
