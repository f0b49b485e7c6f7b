using Api.Events;
using Api.Webhooks;
using Contracts;
using Testing;
using Xunit;

namespace Api.Tests.Webhooks;

/// <summary>When things are tried again, by a clock that the test turns.</summary>
public sealed class WebhookScheduleTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    private static readonly TimeSpan _patience = TimeSpan.FromSeconds(30);

    /// <summary>Turns the clock to just before that time, where nothing may happen, and then to it.</summary>
    private static async Task TurnToAsync(WebhookBench bench, Guid id, DateTimeOffset due)
    {
        var had = await bench.DeliveriesAsync(id);
        bench.Time.SetUtcNow(due.AddMilliseconds(-3));
        await bench.LookedAsync();
        // A claim would show as another due time, before the receiver could tell.
        Assert.Equal(had.Select(d => (d.Number, d.State, d.Attempts, d.DueAt)), (await bench.DeliveriesAsync(id)).Select(d => (d.Number, d.State, d.Attempts, d.DueAt)));
        bench.Time.SetUtcNow(due.AddMilliseconds(2));
        await bench.LookedAsync();
    }

    [Fact]
    public async Task Retry_UntilGivenUp_FollowsTheSchedule_AndThenTheNextOfTheSubjectGoesOn()
    {
        await using var bench = await WebhookBench.StartAsync(service, fakeTime: true);
        await using var receiver = await WebhookReceiver.StartAsync();
        receiver.AnswerWith(500);
        var id = (await bench.CreateAsync(receiver.Url)).Webhook.Id;
        var subject = Guid.NewGuid();
        await bench.HappenAsync(subject, subject);
        double[] steps = [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400];
        for (var attempt = 1; attempt <= 10; attempt++)
        {
            var deliveries = await Eventually.GetAsync(async () => await bench.DeliveriesAsync(id) is [var next, var failing] && failing.Attempts == attempt ? [next, failing] : (WebhookDeliveryView[]?)null, $"attempt {attempt} is recorded", _patience);
            var failed = deliveries[1];
            if (attempt == 10)
            {
                Assert.Equal((DeliveryState.Failed, (DateTimeOffset?)null), (failed.State, failed.DueAt));
                break;
            }
            Assert.Equal((attempt, DeliveryState.Waiting), (receiver.Received.Count, deliveries[0].State));
            Assert.InRange((failed.DueAt!.Value - failed.LastAttemptAt!.Value).TotalSeconds, steps[attempt - 1] - 0.01, (steps[attempt - 1] * 1.1) + 0.01);
            await TurnToAsync(bench, id, failed.DueAt.Value);
        }
        Assert.Single(receiver.Received.Take(10).Select(r => r.Id).Distinct());
        await Eventually.Async(async () => (await bench.DeliveriesAsync(id))[0].Attempts == 1, "the next is attempted", _patience);
        Assert.Equal([1, 2], receiver.Received.Select(r => r.Payload.Data.Number).Distinct().Select(n => (int)n!));
    }

    [Fact]
    public async Task Retry_OfOneSubject_HoldsItsLaterEvents_AndNoOtherSubject()
    {
        await using var bench = await WebhookBench.StartAsync(service, fakeTime: true);
        await using var receiver = await WebhookReceiver.StartAsync();
        var (bad, good) = (Guid.NewGuid(), Guid.NewGuid());
        var mended = false;
        receiver.Answer = (http, got) => { http.Response.StatusCode = got.Payload.Data.SubjectId == bad && !mended ? 500 : 204; return Task.CompletedTask; };
        var id = (await bench.CreateAsync(receiver.Url)).Webhook.Id;
        await bench.HappenAsync(bad, good, bad, good);
        await Eventually.Async(async () => (await bench.DeliveriesAsync(id, "&state=Succeeded")).Count == 2 && (await bench.DeliveriesAsync(id)).Any(d => d.Attempts == 1 && d.State == DeliveryState.Pending), "the others are told", _patience);
        Assert.Equal([1, 2, 4], receiver.Received.Select(r => r.Payload.Data.Number!.Value).Order());
        mended = true;
        bench.Time.Advance(TimeSpan.FromSeconds(6));
        await bench.LookedAsync();
        await Eventually.Async(async () => (await bench.DeliveriesAsync(id, "&state=Succeeded")).Count == 4, "the rest follows", _patience);
        Assert.Equal([1, 1, 3], receiver.Received.Where(r => r.Payload.Data.SubjectId == bad).Select(r => r.Payload.Data.Number!.Value));
    }

    [Fact]
    public async Task RetryAfter_OfAnOverloadedEndpoint_HoldsEverythingOfIt()
    {
        await using var bench = await WebhookBench.StartAsync(service, fakeTime: true);
        await using var receiver = await WebhookReceiver.StartAsync();
        receiver.Answer = (http, _) => { http.Response.StatusCode = 429; http.Response.Headers.RetryAfter = "120"; return Task.CompletedTask; };
        var id = (await bench.CreateAsync(receiver.Url)).Webhook.Id;
        await bench.HappenAsync(Guid.NewGuid());
        var refused = await bench.UntilAsync(id, d => d.Attempts == 1, "it was refused");
        var until = (await bench.ViewAsync(id)).PausedUntil!.Value;
        Assert.Equal((120, 120), ((int)(until - refused.LastAttemptAt!.Value).TotalSeconds, (int)(refused.DueAt!.Value - refused.LastAttemptAt.Value).TotalSeconds));
        receiver.AnswerWith(200);
        await bench.HappenAsync(Guid.NewGuid());
        await Eventually.Async(async () => (await bench.DeliveriesAsync(id)).Count == 2, "another is due", _patience);
        await TurnToAsync(bench, id, until);
        await Eventually.Async(async () => (await bench.DeliveriesAsync(id, "&state=Succeeded")).Count == 2, "both are told", _patience);
    }

    [Fact]
    public async Task Breaker_WhenEverythingFails_StopsAttempts_UntilOneSucceeds()
    {
        await using var bench = await WebhookBench.StartAsync(service, fakeTime: true);
        await using var receiver = await WebhookReceiver.StartAsync();
        receiver.AnswerWith(500);
        var id = (await bench.CreateAsync(receiver.Url)).Webhook.Id;
        await bench.HappenAsync([.. Enumerable.Range(0, 40).Select(_ => Guid.NewGuid())]);
        // Five failures open it; what was claimed and not sent is given back.
        await Eventually.Async(async () => await bench.DeliveriesAsync(id) is var all && all.Sum(d => d.Attempts) >= 5 && !all.Any(d => WebhookBench.IsHeld(d, bench.Time.GetUtcNow())), "the breaker opens", _patience);
        await bench.LookedAsync();
        var tried = receiver.Received.Count;
        Assert.InRange(tried, 5, 5 + EndpointLane.MostAtOnce);
        bench.Time.Advance(TimeSpan.FromSeconds(10));
        await bench.LookedAsync();
        Assert.Equal(tried, receiver.Received.Count);
        receiver.AnswerWith(200);
        await Eventually.Async(async () =>
        {
            // A clock that runs on while one is attempted would time it out.
            if ((await bench.DeliveriesAsync(id)).Any(d => WebhookBench.IsHeld(d, bench.Time.GetUtcNow()))) return false;
            bench.Time.Advance(TimeSpan.FromSeconds(1));
            await bench.LookedAsync();
            return (await bench.DeliveriesAsync(id, "&state=Succeeded")).Count == 40;
        }, "all are told once it answers", TimeSpan.FromSeconds(60));
        Assert.All(await bench.DeliveriesAsync(id), d => Assert.InRange(d.Attempts, 1, 2));
    }

    [Fact]
    public async Task Fail_ForFiveDays_DisablesTheEndpoint_WithAnEvent()
    {
        await using var bench = await WebhookBench.StartAsync(service, fakeTime: true);
        await using var receiver = await WebhookReceiver.StartAsync();
        receiver.AnswerWith(500);
        var id = (await bench.CreateAsync(receiver.Url, new { types = WebhookBench.Types("sandbox.*") })).Webhook.Id;
        var began = bench.Time.GetUtcNow();
        var subject = Guid.NewGuid();
        await bench.HappenAsync(subject, subject);
        WebhookView view;
        for (var attempts = 1; (view = await bench.ViewAsync(id)).Enabled; attempts++)
        {
            Assert.InRange(attempts, 1, 20);
            // When one is given up the next of its subject follows at once: that may be seen already.
            attempts = (await Eventually.GetAsync(async () => (await bench.DeliveriesAsync(id)).Sum(d => d.Attempts) is var sum && sum >= attempts ? (int[])[sum] : null, $"attempt {attempts} is recorded", _patience))[0];
            if (!(await bench.ViewAsync(id)).Enabled) continue;
            Assert.True(bench.Time.GetUtcNow() - began < TimeSpan.FromDays(5), "it is disabled after five days");
            bench.Time.SetUtcNow((await Eventually.GetAsync(async () => await bench.DeliveriesAsync(id, "&state=Pending") is [var next, ..] ? next : null, "one is pending", _patience)).DueAt!.Value.AddMilliseconds(2));
            await bench.LookedAsync();
        }
        Assert.Equal("FailingTooLong", view.Disabled!.Reason);
        Assert.InRange((bench.Time.GetUtcNow() - began).TotalDays, 5, 6.2);
        Assert.Equal(1, await bench.ScalarAsync($"SELECT count(*) FROM events WHERE project_id = '{bench.Project}' AND type = '{EventType.WebhookDisabled}' AND subject_id = '{id}'"));

        receiver.AnswerWith(200);
        await bench.PatchAsync(id, new { enabled = true });
        await Eventually.Async(async () => (await bench.DeliveriesAsync(id, "&state=Succeeded")).Count == 1, "it goes on where it ended", _patience);
        Assert.Null((await bench.ViewAsync(id)).FailingSince);
    }
}
