using System.Net.Http.Json;
using Api.Sandboxes;
using Contracts;
using Microsoft.Extensions.DependencyInjection;
using Xunit;

namespace Api.Tests;

public sealed class ListingTests(ServiceFixture service) : IClassFixture<ServiceFixture>, IAsyncLifetime
{
    private StandInNode? _node;

    public async ValueTask InitializeAsync() => _node = await service.NodeAsync();
    public ValueTask DisposeAsync() => _node!.DisposeAsync();

    private static async Task<SandboxView> CreateAsync(HttpClient client, string name, object labels, int edu = 0)
    {
        using var response = await client.PostAsJsonAsync("/v1/sandboxes", new { name, image = "guest", node = "nowhere", labels, accelerators = edu == 0 ? [] : new[] { new { @class = "edu", count = edu } } });
        Assert.Equal("201", await response.AnswerAsync());
        return (await response.Content.ReadFromJsonAsync<SandboxView>())!;
    }

    private static async Task<string> NamesAsync(HttpClient client, string query) =>
        string.Join(' ', (await client.GetFromJsonAsync<Page<SandboxView>>($"/v1/sandboxes?{query}"))!.Items.Select(s => s.Name));

    [Fact]
    public async Task List_ByFilters_GivesWhatFitsAllOfThem()
    {
        using var client = service.ClientOf((await service.TenantAsync("filters")).Secret);
        await CreateAsync(client, "web1", new { app = "web", tier = "front" }, edu: 1);
        var web2 = await CreateAsync(client, "web2", new { app = "web", tier = "back" });
        await CreateAsync(client, "db1", new { app = "db", tier = "back" });
        (await client.PostAsync($"/v1/sandboxes/{web2.Id}/stop", null)).EnsureSuccessStatusCode().Dispose();
        foreach (var (query, names) in new[]
        {
            ("label=app=web", "web1 web2"), ("label=app=web&label=tier=back", "web2"), ("label=app=none", ""), ("phase=Stopped", "web2"), ("phase=Pending,Stopped", "web1 web2 db1"),
            ("phase=stopped&phase=Running", "web2"), ("class=edu", "web1"), ("namePrefix=web", "web1 web2"), ("namePrefix=web&phase=Pending", "web1"), ($"node={Guid.NewGuid()}", ""), ("label=app=", ""),
        })
            Assert.Equal((query, names), (query, await NamesAsync(client, query)));
        foreach (var query in (string[])["label=app", "label==web", "phase=Sleeping", "phase=Pending,", "phase=1", "namePrefix=", "namePrefix=A", "namePrefix=a%25", "class=..", string.Join('&', Enumerable.Repeat("label=a=b", SandboxListing.MaxLabels + 1))])
        {
            using var refused = await client.GetAsync($"/v1/sandboxes?{query}");
            Assert.Equal((query, "422 validation_failed"), (query, await refused.AnswerAsync()));
        }
    }

    [Fact]
    public async Task List_WhileOthersWriteAndRemove_GivesEachOnce()
    {
        using var client = service.ClientOf((await service.TenantAsync("stable")).Secret);
        var there = new List<SandboxView>();
        for (var n = 0; n < 9; n++) there.Add(await CreateAsync(client, $"s{n}", new { }));
        var seen = new List<Guid>();
        var round = 0;
        for (var next = ""; next is not null; round++)
        {
            var page = (await client.GetFromJsonAsync<Page<SandboxView>>($"/v1/sandboxes?limit=2{next}"))!;
            seen.AddRange(page.Items.Select(s => s.Id));
            next = page.Next is { } cursor ? $"&after={cursor}" : null;
            // The one that the cursor names is removed, and others are made: the next page goes on all the same.
            if (next is not null && round < 3)
            {
                (await client.DeleteAsync($"/v1/sandboxes/{page.Items[^1].Id}")).EnsureSuccessStatusCode().Dispose();
                await CreateAsync(client, $"new{round}", new { });
            }
        }
        Assert.Equal(seen.Count, seen.Distinct().Count());
        Assert.Equal(there.Select(s => s.Id), seen.Take(9));
    }

    [Fact]
    public async Task DeleteMany_TakesWhatCarriesAllLabels_OfItsProjectOnly_PageByPage()
    {
        using var client = service.ClientOf((await service.TenantAsync("bulk")).Secret);
        using var other = service.ClientOf((await service.TenantAsync("bulkother")).Secret);
        foreach (var owner in (HttpClient[])[client, other])
        {
            for (var n = 0; n < 5; n++) await CreateAsync(owner, $"gone{n}", new { batch = "7", kind = "job" });
            await CreateAsync(owner, "stays", new { batch = "7" });
        }
        foreach (var query in (string[])["", "?limit=5", "?label=batch", "?label=batch=7&limit=101", "?label=batch=7&limit=0", "?phase=Pending"])
        {
            using var refused = await client.DeleteAsync($"/v1/sandboxes{query}");
            Assert.Equal((query, "422 validation_failed"), (query, await refused.AnswerAsync()));
        }
        var counts = new List<int>();
        for (var next = ""; next is not null;)
        {
            using var response = await client.DeleteAsync($"/v1/sandboxes?label=batch=7&label=kind=job&limit=2{next}");
            var deleted = (await response.Content.ReadFromJsonAsync<SandboxesDeleted>())!;
            counts.Add(deleted.Deleted);
            next = deleted.Next is { } cursor ? $"&after={cursor}" : null;
        }
        Assert.Equal([2, 2, 1], counts);
        Assert.Equal("stays", await NamesAsync(client, ""));
        Assert.Equal("gone0 gone1 gone2 gone3 gone4 stays", await NamesAsync(other, ""));
    }

    [Fact]
    public async Task Waiting_IsWokenByItsOwnSandboxOnly_AndLeavesNothing()
    {
        using var client = service.ClientOf((await service.TenantAsync("waits")).Secret);
        var signal = service.Factory.Services.GetRequiredService<SandboxSignal>();
        var (mine, others) = (await CreateAsync(client, "mine", new { }), await CreateAsync(client, "others", new { }));
        foreach (var id in (Guid[])[mine.Id, others.Id]) Assert.Equal(Phase.Pending, (await client.FindAsync(id, "?waitFor=Pending"))!.Phase);
        await Testing.Eventually.Async(async () => (await Task.WhenAll(client.FindAsync(mine.Id), client.FindAsync(others.Id))).All(s => s!.Conditions.Count > 0), "both were refused by the scheduler");
        using (var first = signal.Watch(mine.Id))
        using (var second = signal.Watch(others.Id))
        {
            // Notices of what was before come in the order of their transactions: after this one's, all are here.
            await Testing.Eventually.Async(async () =>
            {
                var next = first.Next;
                await service.ExecuteAsync($"SELECT pg_notify('{SandboxSignal.Channel}', '{mine.Id}')");
                return await Task.WhenAny(next, Task.Delay(TimeSpan.FromSeconds(1), TestContext.Current.CancellationToken)) == next;
            }, "the signal listens");
            var (mineNext, othersNext) = (first.Next, second.Next);
            (await client.PostAsync($"/v1/sandboxes/{mine.Id}/stop", null)).EnsureSuccessStatusCode().Dispose();
            await mineNext.WaitAsync(TestContext.Current.CancellationToken);
            Assert.False(othersNext.IsCompleted);
            var gone = first.Next;
            (await client.DeleteAsync($"/v1/sandboxes/{mine.Id}")).EnsureSuccessStatusCode().Dispose();
            await gone.WaitAsync(TestContext.Current.CancellationToken);
            Assert.False(othersNext.IsCompleted);
        }
        using var cancel = new CancellationTokenSource();
        var waiting = client.GetAsync($"/v1/sandboxes/{others.Id}?waitFor=Running&timeoutSeconds=60", cancel.Token);
        await Testing.Eventually.Async(() => signal.Watched == 1, "it waits");
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting);
        await Testing.Eventually.Async(() => signal.Watched == 0, "nobody waits any more");
    }
}
