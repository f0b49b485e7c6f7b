using System.Net;
using System.Net.Http.Json;
using Api.Events;
using Contracts;
using Microsoft.AspNetCore.Http;
using Testing;
using Xunit;

namespace Api.Tests.Webhooks;

/// <summary>From an event to a receiver, with real HTTP and the real clock.</summary>
public sealed class WebhookDeliveryTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;
    private static readonly TimeSpan _patience = TimeSpan.FromSeconds(30);

    [Fact]
    public async Task Sandbox_ThroughItsLife_IsToldSignedAndInOrder()
    {
        await using var bench = await WebhookBench.StartAsync(service);
        await using var receiver = await WebhookReceiver.StartAsync();
        await using var node = new StandInNode(bench.Replica, service.NodeToken, 1) { Installation = service.Installation };
        await node.StartAsync();
        var webhook = await bench.CreateAsync(receiver.Url, new { types = WebhookBench.Types("sandbox.*") });
        var id = (await bench.Client.CreateAsync("told", edu: 1)).Id;
        await Eventually.Async(async () => (await node.SyncAsync()).Sandboxes.Any(s => s.Id == id), "it is planned", _patience);
        await node.SayAsync(id, VmState.Running);
        await node.SayAsync(id, VmState.Failed, new Failure("VmmKilled", "The VMM was killed.", "Start it again.", TimeProvider.System.GetUtcNow()));
        await Eventually.Async(() => receiver.Received.Count >= 4, "everything is told", _patience);
        Assert.Equal([Phase.Pending, Phase.Scheduled, Phase.Running, Phase.Failed], receiver.Received.Select(r => r.Payload.Data.Phase!.Value));
        Assert.All(receiver.Received, r =>
        {
            Assert.True(r.IsSignedWith(webhook.Secret));
            Assert.InRange(TimeProvider.System.GetUtcNow().ToUnixTimeSeconds() - long.Parse(r.Timestamp, System.Globalization.CultureInfo.InvariantCulture), 0, 300);
            Assert.Equal((id, r.Payload.Type), (r.Payload.Data.SubjectId!.Value, r.Payload.Data.Type));
        });
        Assert.Equal(4, receiver.Received.Select(r => r.Id).Distinct().Count());
        var last = receiver.Received[3].Payload.Data;
        Assert.Equal(("VmmKilled", "The VMM was killed.", DesiredState.Running), (last.Sandbox!.Failure!.Reason, last.Sandbox.Failure.Message, last.Sandbox.Desired));
        await Eventually.Async(async () => (await bench.DeliveriesAsync(webhook.Webhook.Id, "&state=Succeeded")).Count == 4, "all are recorded", _patience);
        Assert.All(await bench.DeliveriesAsync(webhook.Webhook.Id), d => Assert.Equal((1, 200, (Failure?)null, (DateTimeOffset?)null), (d.Attempts, d.LastStatus, d.LastFailure, d.DueAt)));
        // The events themselves are the same as those of the API.
        var events = (await bench.Client.GetFromJsonAsync<Page<EventView>>($"/v1/events?subject={id}", Ct))!.Items;
        Assert.Equal(events.Select(e => (long?)e.Number), receiver.Received.Select(r => r.Payload.Data.Number));
        using var deleted = await bench.Client.DeleteAsync($"/v1/sandboxes/{id}", Ct);
        await node.SyncAsync();
        await node.SayAsync(id, VmState.Absent);
        await Eventually.Async(() => receiver.Received.Any(r => r.Payload.Type == EventType.SandboxDeleted), "its end is told", _patience);
    }

    [Fact]
    public async Task Filters_OfTypesAndLabels_LetOnlyThoseThrough_AlsoAtTheEnd()
    {
        await using var bench = await WebhookBench.StartAsync(service);
        await using var receiver = await WebhookReceiver.StartAsync();
        await using var node = new StandInNode(bench.Replica, service.NodeToken, 1) { Installation = service.Installation, QemuVersion = null };
        await node.StartAsync();
        await bench.CreateAsync(receiver.Url, new { types = WebhookBench.Types("sandbox.created", "sandbox.deleted"), labels = new Dictionary<string, string> { ["team"] = "red" } });
        foreach (var (name, team) in ((string, string)[])[("red", "red"), ("blue", "blue")])
        {
            using var created = await bench.Client.PostAsJsonAsync("/v1/sandboxes", new { name, image = "guest", labels = new { team, other = "x" } }, Ct);
            Assert.Equal(HttpStatusCode.Created, created.StatusCode);
            (await bench.Client.DeleteAsync(created.Headers.Location, Ct)).Dispose();
        }
        await Eventually.Async(() => receiver.Received.Count >= 2, "both are told", _patience);
        var project = await bench.ScalarAsync($"SELECT last_number FROM event_counters WHERE project_id = '{bench.Project}'");
        await Eventually.Async(async () => await bench.ScalarAsync($"SELECT cursor FROM webhook_endpoints WHERE project_id = '{bench.Project}'") == project, "all events were looked at", _patience);
        Assert.Equal([("red", EventType.SandboxCreated), ("red", EventType.SandboxDeleted)], receiver.Received.Select(r => (r.Payload.Data.SubjectName!, r.Payload.Type)));
    }

    [Theory]
    [InlineData(302, "Redirected")]
    [InlineData(307, "Redirected")]
    [InlineData(404, "StatusRefused")]
    public async Task Deliver_WhenNotAnsweredWith2xx_IsTriedAgain_AndNoRedirectIsFollowed(int status, string reason)
    {
        await using var bench = await WebhookBench.StartAsync(service);
        await using var receiver = await WebhookReceiver.StartAsync();
        await using var elsewhere = await WebhookReceiver.StartAsync();
        receiver.Answer = async (http, _) =>
        {
            http.Response.StatusCode = status;
            http.Response.Headers.Location = elsewhere.Url;
            await http.Response.WriteAsync("no\0t\u0007 here\n" + new string('x', 5000));
        };
        var id = (await bench.CreateAsync(receiver.Url)).Webhook.Id;
        await bench.HappenAsync(Guid.NewGuid());
        var tried = await bench.UntilAsync(id, d => d.Attempts == 1, "it was tried");
        Assert.Equal((DeliveryState.Pending, status, reason), (tried.State, tried.LastStatus, tried.LastFailure!.Reason));
        Assert.StartsWith("no t  here\nxxx", tried.ResponseExcerpt, StringComparison.Ordinal);
        Assert.Equal(1024, tried.ResponseExcerpt!.Length);
        Assert.NotNull(tried.DueAt);
        Assert.Empty(elsewhere.Received);
        Assert.NotNull((await bench.ViewAsync(id)).FailingSince);
    }

    [Fact]
    public async Task Deliver_WhenAnsweredWith410_DisablesIt_AndTellsTheOthers()
    {
        await using var bench = await WebhookBench.StartAsync(service);
        await using var gone = await WebhookReceiver.StartAsync();
        await using var other = await WebhookReceiver.StartAsync();
        gone.AnswerWith(410);
        var id = (await bench.CreateAsync(gone.Url)).Webhook.Id;
        await bench.CreateAsync(other.Url, new { types = WebhookBench.Types("webhook.*") });
        await bench.HappenAsync(Guid.NewGuid());
        await Eventually.Async(() => other.Received.Count == 1, "the other is told", _patience);
        var told = other.Received[0].Payload;
        Assert.Equal((EventType.WebhookDisabled, id, "EndpointGone"), (told.Type, told.Data.SubjectId!.Value, told.Data.Reason));
        Assert.DoesNotContain("/hook", told.Data.Message, StringComparison.Ordinal);
        var view = await bench.ViewAsync(id);
        Assert.Equal((false, "EndpointGone"), (view.Enabled, view.Disabled!.Reason));
        using (var refused = await bench.Client.PostAsync($"/v1/webhooks/{id}/test", null, Ct)) Assert.Equal("webhook_disabled", await refused.CodeAsync());

        // What happens meanwhile is not lost, and neither is what was answered with 410: it is delivered once the endpoint is enabled.
        var refusedEvent = gone.Received.Single().Payload.Data.Number!.Value;
        await bench.HappenAsync(Guid.NewGuid(), Guid.NewGuid());
        gone.AnswerWith(200);
        await bench.PatchAsync(id, new { enabled = true });
        await Eventually.Async(() => gone.Received.Count == 5, "the one that was refused, the event of its own end and both others follow", _patience);
        Assert.Equal(2, gone.Received.Count(r => r.Payload.Data.Number == refusedEvent));
        Assert.Equal((true, null), ((await bench.ViewAsync(id)).Enabled, (await bench.ViewAsync(id)).Disabled));
    }

    [Fact]
    public async Task Rotate_WithOverlap_SignsWithBothSecrets_ThenWithTheNewOne()
    {
        await using var bench = await WebhookBench.StartAsync(service, fakeTime: true);
        await using var receiver = await WebhookReceiver.StartAsync();
        var own = "whsec_" + Convert.ToBase64String(new byte[24]);
        var created = await bench.CreateAsync(receiver.Url, new { secret = own });
        Assert.Equal(own, created.Secret);
        var rotated = await bench.PostAsync<WebhookSecretView>($"/v1/webhooks/{created.Webhook.Id}/rotate-secret", new { overlapSeconds = 60 }, HttpStatusCode.OK);
        Assert.NotEqual(own, rotated.Secret);
        await bench.HappenAsync(Guid.NewGuid());
        // Not only received: an attempt that is not recorded would time out when the clock is turned, and be made again.
        await Eventually.Async(async () => (await bench.DeliveriesAsync(created.Webhook.Id, "&state=Succeeded")).Count == 1, "it is told", _patience);
        bench.Time.Advance(TimeSpan.FromSeconds(61));
        await bench.LookedAsync();
        await bench.HappenAsync(Guid.NewGuid());
        await Eventually.Async(() => receiver.Received.Count == 2, "the second is told", _patience);
        Assert.Equal([(true, true, 2), (false, true, 1)], receiver.Received.Select(r => (r.IsSignedWith(own), r.IsSignedWith(rotated.Secret), r.Signature.Split(' ').Length)));
        Assert.Equal(0, await bench.ScalarAsync($"SELECT count(*) FROM webhook_endpoints w WHERE w::text LIKE '%{rotated.Secret[6..20]}%'"));
    }

    [Fact]
    public async Task Redeliver_OneOrAllSince_SendsThemAgainWithTheSameId_InOrder()
    {
        await using var bench = await WebhookBench.StartAsync(service);
        await using var receiver = await WebhookReceiver.StartAsync();
        var id = (await bench.CreateAsync(receiver.Url, new { types = WebhookBench.Types("node.*") })).Webhook.Id;
        var subject = Guid.NewGuid();
        await bench.HappenAsync(subject, subject);
        var since = TimeProvider.System.GetUtcNow().AddMinutes(-1);
        await Eventually.Async(async () => await bench.ScalarAsync($"SELECT cursor FROM webhook_endpoints WHERE id = '{id}'") == 2, "both were looked at and not wanted", _patience);
        await bench.PatchAsync(id, new { types = Array.Empty<string>() });
        await bench.HappenAsync(subject);
        await Eventually.Async(async () => (await bench.DeliveriesAsync(id, "&state=Succeeded")).Count == 1, "the third is delivered", _patience);

        var one = await bench.PostAsync<WebhookDeliveryView>($"/v1/webhooks/{id}/deliveries/1/redeliver");
        Assert.Equal((DeliveryState.Pending, 0), (one.State, one.Attempts));
        await Eventually.Async(() => receiver.Received.Count == 2, "it came again", _patience);
        Assert.Single(receiver.Received.Select(r => r.Id).Distinct());
        await Eventually.Async(async () => (await bench.DeliveriesAsync(id, "&state=Succeeded")).Count == 1, "that is recorded", _patience);

        // Those that it did not want then it gets for the first time.
        Assert.Equal(3, (await bench.PostAsync<WebhookRedelivered>($"/v1/webhooks/{id}/redeliver", new { since })).Count);
        await Eventually.Async(async () => (await bench.DeliveriesAsync(id, "&state=Succeeded")).Count == 3, "all are delivered", _patience);
        Assert.Equal([1, 2, 3], receiver.Received.Skip(2).Select(r => r.Payload.Data.Number!.Value));
        Assert.Equal(0, (await bench.PostAsync<WebhookRedelivered>($"/v1/webhooks/{id}/redeliver", new { since = TimeProvider.System.GetUtcNow().AddHours(1) })).Count);
        // Nor what it had once and does not want any more.
        await bench.PatchAsync(id, new { labels = new Dictionary<string, string> { ["team"] = "red" } });
        Assert.Equal(0, (await bench.PostAsync<WebhookRedelivered>($"/v1/webhooks/{id}/redeliver", new { since })).Count);
    }

    [Fact]
    public async Task Test_SendsATestAtOnce()
    {
        await using var bench = await WebhookBench.StartAsync(service);
        await using var receiver = await WebhookReceiver.StartAsync();
        var created = await bench.CreateAsync(receiver.Url, new { types = WebhookBench.Types("node.joined") });
        var asked = await bench.PostAsync<WebhookDeliveryView>($"/v1/webhooks/{created.Webhook.Id}/test");
        await bench.UntilAsync(created.Webhook.Id, d => d.State == DeliveryState.Succeeded, "it is delivered");
        var got = Assert.Single(receiver.Received);
        Assert.Equal((asked.WebhookId, "webhook.test", (long?)null), (got.Id, got.Payload.Type, got.Payload.Data.Number));
        Assert.True(got.IsSignedWith(created.Secret));
    }

    [Fact]
    public async Task Order_WithTwoReplicas_IsKeptForEachSubject_AndNothingIsMissing()
    {
        await using var bench = await WebhookBench.StartAsync(service);
        await using var second = WebhookBench.NewReplica(service);
        using var other = service.Client(second);
        await using var receiver = await WebhookReceiver.StartAsync();
        await bench.CreateAsync(receiver.Url);
        var subjects = Enumerable.Range(0, 20).Select(_ => Guid.NewGuid()).ToArray();
        for (var round = 0; round < 10; round++) await bench.HappenAsync(subjects);
        await Eventually.Async(() => receiver.Received.Count >= 200, "all have come", TimeSpan.FromSeconds(60));
        Assert.Equal(200, receiver.Received.Select(r => r.Id).Distinct().Count());
        Assert.All(receiver.Received.GroupBy(r => r.Payload.Data.SubjectId), subject =>
            Assert.Equal(subject.Select(r => r.Payload.Data.Number).Distinct().Order(), subject.Select(r => r.Payload.Data.Number).Distinct()));
    }
}
