using System.Net;
using System.Net.Http.Json;
using Api.Http;
using Contracts;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Api.Tests.Http;

public sealed class RateLimitTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    [Fact]
    public async Task Requests_BeyondTheBurst_Return429_AndOnlyForThatKey()
    {
        using var admin = service.Client();
        var (busy, calm) = (await admin.KeyAsync("busy", Role.Viewer), await admin.KeyAsync("calm", Role.Viewer));
        await using var replica = service.NewReplica(("RateLimits:PerSecond", "1"), ("RateLimits:Burst", "5"));
        using var client = service.ClientOf(busy.Secret, replica);
        var answers = await Task.WhenAll(Enumerable.Range(0, 200).Select(async _ =>
        {
            using var response = await client.GetAsync("/v1/session");
            if (response.StatusCode == HttpStatusCode.TooManyRequests)
            {
                Assert.Equal("rate_limited", await response.CodeAsync());
                Assert.True(response.Headers.RetryAfter?.Delta >= TimeSpan.FromSeconds(1));
            }
            return response.StatusCode;
        }));
        Assert.True(answers.Count(a => a == HttpStatusCode.OK) >= 5);
        Assert.Contains(HttpStatusCode.TooManyRequests, answers);
        using var other = service.ClientOf(calm.Secret, replica);
        using var served = await other.GetAsync("/v1/session");
        Assert.Equal(HttpStatusCode.OK, served.StatusCode);
    }

    [Fact]
    public async Task WrongSecrets_BeyondTheLimit_Return429_WhileWhoeverIsAtWorkGoesOn()
    {
        await using var replica = service.NewReplica(("RateLimits:FailuresPerMinute", "3"));
        using var good = service.Client(replica);
        (await good.GetAsync("/v1/session")).EnsureSuccessStatusCode().Dispose();
        using var bad = service.ClientOf("sbx_wrong", replica);
        async Task<string> TryAsync() { using var response = await bad.GetAsync("/v1/session"); return await response.AnswerAsync(); }
        Assert.Equal("401 unauthenticated", await TryAsync());
        await Testing.Eventually.Async(async () => await TryAsync() == "429 rate_limited", "the limit is reached");
        using (var signIn = await bad.PostAsJsonAsync("/v1/session", new { apiKey = "sbx_wrong" })) Assert.True((int)signIn.StatusCode is 401 or 429);
        using var still = await good.GetAsync("/v1/session");
        Assert.Equal(HttpStatusCode.OK, still.StatusCode);
    }

    [Fact]
    public void Failures_AreForgivenOverAMinute_AndCountedByAddress()
    {
        var time = new FakeTimeProvider();
        var attempts = new FailedAttempts(new RateLimits(1, 1, 4), time);
        var (from, other) = (IPAddress.Parse("192.0.2.1"), IPAddress.Parse("198.51.100.77"));
        for (var n = 0; n < 4; n++)
        {
            Assert.True(attempts.MayTry(from, "sbx_a"));
            attempts.Failed(from);
        }
        Assert.False(attempts.MayTry(from, "sbx_b"));
        Assert.False(attempts.MayTry(from.MapToIPv6(), "sbx_b"));
        Assert.True(attempts.MayTry(other, "sbx_b"));
        time.Advance(TimeSpan.FromSeconds(16));
        Assert.True(attempts.MayTry(from, "sbx_b"));
        attempts.Failed(from);
        Assert.False(attempts.MayTry(from, "sbx_b"));
        attempts.Succeeded("sbx_good");
        Assert.True(attempts.MayTry(from, "sbx_good"));
        time.Advance(TimeSpan.FromMinutes(1));
        for (var n = 0; n < 4; n++) attempts.Failed(IPAddress.Parse($"2001:db8:0:1::{n}"));
        Assert.False(attempts.MayTry(IPAddress.Parse("2001:db8:0:1::ffff"), "sbx_b"));
    }
}
