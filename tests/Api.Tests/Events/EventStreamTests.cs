using System.Net;
using Api.Events;
using Microsoft.AspNetCore.Mvc.Testing;
using Microsoft.AspNetCore.TestHost;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;
using Testing;
using Xunit;

namespace Api.Tests.Events;

/// <summary>Server-Sent Events: what a reader gets, where it goes on, and how it ends.</summary>
public sealed class EventStreamTests(ServiceFixture service) : IClassFixture<ServiceFixture>, IAsyncLifetime
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;
    private StandInNode? _node;

    public async ValueTask InitializeAsync() => _node = await service.NodeAsync();

    public async ValueTask DisposeAsync() => await _node!.DisposeAsync();

    private static async Task<long> NextAsync(EventReader reader) => (await reader.NextAsync(Ct))!.Number;

    [Fact]
    public async Task Stream_OnAnotherReplica_GivesEachEventOnce_AndGoesOnWhereItWasCutOff()
    {
        using var writer = await service.TenantClientAsync("resumes");
        await using var replica = service.NewReplica();
        using var other = replica.CreateClient();
        other.DefaultRequestHeaders.Authorization = writer.DefaultRequestHeaders.Authorization;
        var seen = new List<long>();
        string? last;
        using (var reader = await EventReader.OpenAsync(other, ct: Ct))
        {
            // Cut off before the first event, it would know already where to go on.
            await reader.HeartbeatAsync(Ct);
            Assert.Equal("0", reader.LastId);
            await writer.CreateAsync("a");
            seen.Add(await NextAsync(reader));
            seen.Add(await NextAsync(reader));
            last = reader.LastId;
        }
        await Task.WhenAll(Enumerable.Range(0, 20).Select(i => writer.CreateAsync($"while-away-{i}")));
        using var again = await EventReader.OpenAsync(other, "?after=0", last, Ct);
        while (seen.Count < 42) seen.Add(await NextAsync(again));
        Assert.Equal(Enumerable.Range(1, 42).Select(n => (long)n), seen);
    }

    [Fact]
    public async Task Stream_WithFilters_GivesOnlyThose_AndItsIdMovesOnAllTheSame()
    {
        var time = new FakeTimeProvider(TimeProvider.System.GetUtcNow());
        await using var replica = service.NewReplica().WithWebHostBuilder(b => b.ConfigureTestServices(s => s.AddSingleton<TimeProvider>(time)));
        using var client = await service.TenantClientAsync("filters");
        using var other = replica.CreateClient();
        other.DefaultRequestHeaders.Authorization = client.DefaultRequestHeaders.Authorization;
        var wanted = (await client.CreateAsync("wanted")).Id;
        using var reader = await EventReader.OpenAsync(other, $"?after=0&sandbox={wanted}&type=sandbox.created", ct: Ct);
        var first = await reader.NextAsync(Ct);
        Assert.Equal((wanted, EventType.SandboxCreated), (first!.SubjectId!.Value, first.Type));
        await client.CreateAsync("another");
        var project = await service.ProjectAsync("filters");
        await Eventually.Async(async () => await service.ScalarAsync($"SELECT last_number FROM event_counters WHERE project_id = '{project}'") >= 4, "more has happened");
        var expected = await service.ScalarAsync($"SELECT last_number FROM event_counters WHERE project_id = '{project}'");
        await Eventually.Async(async () =>
        {
            time.Advance(EventStream.Heartbeat);
            await reader.HeartbeatAsync(Ct);
            return reader.LastId == $"{expected}";
        }, "a heartbeat has the last number");
    }

    [Fact]
    public async Task Stream_WhenTheServiceStops_Ends()
    {
        var replica = service.NewReplica();
        using var client = service.Client(replica);
        using var reader = await EventReader.OpenAsync(client, ct: Ct);
        await reader.HeartbeatAsync(Ct);
        var end = reader.NextAsync(Ct);
        replica.Services.GetRequiredService<Microsoft.Extensions.Hosting.IHostApplicationLifetime>().StopApplication();
        Assert.Null(await end.WaitAsync(TimeSpan.FromSeconds(30), Ct));
        await replica.DisposeAsync();
    }

    [Fact]
    public async Task Stream_WhenTheKeyIsRemoved_Ends()
    {
        var time = new FakeTimeProvider(TimeProvider.System.GetUtcNow());
        await using var replica = service.NewReplica().WithWebHostBuilder(b => b.ConfigureTestServices(s => s.AddSingleton<TimeProvider>(time)));
        using var tenant = await service.TenantClientAsync("revoked");
        using var other = replica.CreateClient();
        other.DefaultRequestHeaders.Authorization = tenant.DefaultRequestHeaders.Authorization;
        using var reader = await EventReader.OpenAsync(other, ct: Ct);
        await reader.HeartbeatAsync(Ct);
        var project = await service.ProjectAsync("revoked");
        Assert.Equal(1, await service.ScalarAsync($"WITH gone AS (DELETE FROM api_keys WHERE project_id = '{project}' RETURNING 1) SELECT count(*) FROM gone"));
        var end = reader.NextAsync(Ct);
        await Eventually.Async(() =>
        {
            time.Advance(TimeSpan.FromSeconds(1));
            return end.IsCompleted;
        }, "it ends");
        Assert.Null(await end);
    }

    [Fact]
    public async Task Stream_WhenAKeyHasTooMany_IsRefused_UntilOneIsClosed()
    {
        using var client = await service.TenantClientAsync("many");
        var open = new List<EventReader>();
        for (var n = 0; n < EventStreams.MostOfAKey; n++) open.Add(await EventReader.OpenAsync(client, ct: Ct));
        using (var refused = await client.GetAsync("/v1/events/stream", Ct))
            Assert.Equal((HttpStatusCode.TooManyRequests, "too_many_streams"), (refused.StatusCode, await refused.CodeAsync()));
        open[0].Dispose();
        open[0] = await Eventually.GetAsync(async () => await EventReader.OpenAsync(client, ct: Ct), "one more is taken");
        open.ForEach(r => r.Dispose());
    }

    [Theory]
    [InlineData("?after=-1", null)]
    [InlineData("?type=sandbox", null)]
    [InlineData("", "x1")]
    [InlineData("", "-1")]
    public async Task Stream_WithABadParameter_Returns422(string query, string? lastId)
    {
        using var client = service.Client();
        using var request = new HttpRequestMessage(HttpMethod.Get, $"/v1/events/stream{query}");
        if (lastId is not null) request.Headers.Add("Last-Event-ID", lastId);
        using var response = await client.SendAsync(request, Ct);
        Assert.Equal((HttpStatusCode)422, response.StatusCode);
    }

    [Fact]
    public async Task Stream_AfterWhatIsNotKept_Returns410_AndHeadAnswersAtOnce()
    {
        using var client = service.Client();
        using var expired = await client.GetAsync("/v1/events/stream?after=99999999", Ct);
        Assert.Equal((HttpStatusCode.Gone, "events_expired"), (expired.StatusCode, await expired.CodeAsync()));
        using var head = await client.SendAsync(new HttpRequestMessage(HttpMethod.Head, "/v1/events/stream"), Ct);
        Assert.Equal((HttpStatusCode.OK, "text/event-stream"), (head.StatusCode, head.Content.Headers.ContentType!.MediaType));
    }
}
