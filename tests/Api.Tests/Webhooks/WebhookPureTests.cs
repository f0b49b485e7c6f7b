using System.Net;
using System.Text;
using System.Text.Json;
using Api.Events;
using Api.Webhooks;
using Contracts;
using CsCheck;
using Xunit;

namespace Api.Tests.Webhooks;

/// <summary>What is decided without a network or a database.</summary>
public sealed class WebhookPureTests
{
    private static readonly WebhookSettings _public = new(new([], false), 30), _lab = new(new([IPNetwork.Parse("10.1.0.0/16"), IPNetwork.Parse("fd12::/32")], true), 30);

    [Theory]
    // Loopback, private, shared, link-local and metadata, and everything else that is special.
    [InlineData("127.0.0.1")]
    [InlineData("127.255.255.254")]
    [InlineData("0.0.0.0")]
    [InlineData("0.1.2.3")]
    [InlineData("10.0.0.1")]
    [InlineData("10.255.255.255")]
    [InlineData("172.16.0.1")]
    [InlineData("172.31.255.255")]
    [InlineData("192.168.1.1")]
    [InlineData("100.64.0.1")]
    [InlineData("100.127.255.255")]
    [InlineData("169.254.169.254")]
    [InlineData("169.254.0.1")]
    [InlineData("192.0.0.8")]
    [InlineData("192.0.2.1")]
    [InlineData("192.88.99.1")]
    [InlineData("198.18.0.1")]
    [InlineData("198.19.255.255")]
    [InlineData("198.51.100.1")]
    [InlineData("203.0.113.1")]
    [InlineData("224.0.0.1")]
    [InlineData("239.255.255.255")]
    [InlineData("240.0.0.1")]
    [InlineData("255.255.255.255")]
    [InlineData("::")]
    [InlineData("::1")]
    [InlineData("::127.0.0.1")]
    [InlineData("::10.0.0.1")]
    [InlineData("::ffff:127.0.0.1")]
    [InlineData("::ffff:10.0.0.1")]
    [InlineData("::ffff:169.254.169.254")]
    [InlineData("::ffff:0:127.0.0.1")]
    [InlineData("64:ff9b::127.0.0.1")]
    [InlineData("64:ff9b::169.254.169.254")]
    [InlineData("64:ff9b::10.0.0.1")]
    [InlineData("64:ff9b:1::1")]
    [InlineData("2002:7f00:1::")]
    [InlineData("2002:a00:1::1")]
    [InlineData("2002:808:808::1")]
    [InlineData("2001:0:4136:e378:8000:63bf:3fff:fdd2")]
    [InlineData("2001:db8::1")]
    [InlineData("3fff::1")]
    [InlineData("fc00::1")]
    [InlineData("fd00:ec2::254")]
    [InlineData("fe80::1")]
    [InlineData("fe80::1%2")]
    [InlineData("fec0::1")]
    [InlineData("ff02::1")]
    [InlineData("100::1")]
    [InlineData("5f00::1")]
    [InlineData("4000::1")]
    public void Allows_WhatIsNotPublic_IsRefused(string address) => Assert.False(AddressRules.Allows(IPAddress.Parse(address), []));

    [Theory]
    [InlineData("1.1.1.1")]
    [InlineData("8.8.8.8")]
    [InlineData("172.15.255.255")]
    [InlineData("172.32.0.1")]
    [InlineData("100.63.255.255")]
    [InlineData("100.128.0.1")]
    [InlineData("169.253.255.255")]
    [InlineData("192.167.255.255")]
    [InlineData("223.255.255.255")]
    [InlineData("::ffff:8.8.8.8")]
    [InlineData("64:ff9b::8.8.8.8")]
    [InlineData("2606:4700:4700::1111")]
    [InlineData("2a00:1450:4001::1")]
    public void Allows_WhatIsPublic_IsTaken(string address) => Assert.True(AddressRules.Allows(IPAddress.Parse(address), []));

    [Theory]
    [InlineData("10.1.2.3", true)]
    [InlineData("::ffff:10.1.2.3", true)]
    [InlineData("64:ff9b::10.1.2.3", true)]
    [InlineData("fd12::1", true)]
    [InlineData("10.2.0.1", false)]
    [InlineData("::ffff:10.2.0.1", false)]
    [InlineData("fd13::1", false)]
    [InlineData("127.0.0.1", false)]
    public void Allows_WhatAnOperatorAllows_AndNoMore(string address, bool allowed) => Assert.Equal(allowed, AddressRules.Allows(IPAddress.Parse(address), _lab.Rules.AllowedNetworks));

    [Theory]
    [InlineData("https://example.com/hook?a=b", true)]
    [InlineData("https://example.com:8443/", true)]
    [InlineData("https://8.8.8.8/", true)]
    [InlineData("http://example.com/", false)]
    [InlineData("ftp://example.com/", false)]
    [InlineData("/hook", false)]
    [InlineData("https:///hook", false)]
    [InlineData("https://user:password@example.com/", false)]
    [InlineData("https://example.com/#part", false)]
    [InlineData("https://example.com:22/", false)]
    [InlineData("https://example.com:6/", false)]
    [InlineData("https://127.0.0.1/", false)]
    [InlineData("https://2130706433/", false)]
    [InlineData("https://0x7f.1/", false)]
    [InlineData("https://0177.0.0.1/", false)]
    [InlineData("https://[::1]/", false)]
    [InlineData("https://[::ffff:169.254.169.254]/", false)]
    [InlineData("https://[fe80::1%25eth0]/", false)]
    [InlineData("https://exa mple.com/", false)]
    [InlineData("https://example.com/\n", false)]
    public void Url_WhenItCannotBePostedTo_IsRefused(string url, bool fits)
    {
        Assert.Equal(fits, GuardedUrl.Problem(url, _public.Rules) is null);
        Assert.NotNull(GuardedUrl.Problem("https://example.com/" + new string('x', 2048), _public.Rules));
    }

    [Fact]
    public void Url_WhenTheServiceAllowsMore_IsTaken()
    {
        Assert.Null(GuardedUrl.Problem("http://10.1.0.9:8080/", _lab.Rules));
        Assert.NotNull(GuardedUrl.Problem("http://10.2.0.9:8080/", _lab.Rules));
    }

    /// <summary>The example of the specification.</summary>
    [Fact]
    public void Sign_TheExampleOfStandardWebhooks_IsItsSignature() => Assert.Equal("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", WebhookSecret.Sign(
        [WebhookSecret.Key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")!], "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", Encoding.UTF8.GetBytes("{\"test\": 2432232314}")));

    [Theory]
    [InlineData(23, false)]
    [InlineData(24, true)]
    [InlineData(32, true)]
    [InlineData(64, true)]
    [InlineData(65, false)]
    public void Key_TakesTwentyFourToSixtyFourBytes(int bytes, bool fits)
    {
        var text = Convert.ToBase64String(Enumerable.Range(0, bytes).Select(b => (byte)b).ToArray());
        Assert.Equal(fits, WebhookSecret.Key("whsec_" + text)?.Length == bytes);
        Assert.Null(WebhookSecret.Key(text));
        Assert.Null(WebhookSecret.Key("whsec_" + text[..^1] + "*"));
    }

    [Fact]
    public void Create_Secrets_AreOfTheFormAndDiffer()
    {
        var secrets = Enumerable.Range(0, 100).Select(_ => WebhookSecret.Create()).ToList();
        Assert.All(secrets, s => Assert.Equal(32, WebhookSecret.Key(s)!.Length));
        Assert.Equal(100, secrets.Distinct().Count());
    }

    [Fact]
    public void After_EachAttempt_IsTheScheduleWithJitter()
    {
        double[] seconds = [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400];
        for (var attempts = 1; attempts <= seconds.Length; attempts++)
        {
            Assert.Equal(seconds[attempts - 1], RetrySchedule.After(attempts, 0, null)!.Value.TotalSeconds);
            Assert.Equal(seconds[attempts - 1] * 1.1, RetrySchedule.After(attempts, 1, null)!.Value.TotalSeconds, 3);
        }
        Assert.Null(RetrySchedule.After(10, 0.5, TimeSpan.FromSeconds(9)));
        Assert.Equal(60, RetrySchedule.After(1, 0, TimeSpan.FromSeconds(60))!.Value.TotalSeconds);
        Assert.Equal(300, RetrySchedule.After(2, 0, TimeSpan.FromSeconds(60))!.Value.TotalSeconds);
        Assert.Equal(TimeSpan.FromHours(24), RetrySchedule.After(1, 0, TimeSpan.FromDays(400)));
    }

    [Theory]
    [InlineData(200, null, 1, DeliveryState.Succeeded, null, false, null)]
    [InlineData(204, null, 9, DeliveryState.Succeeded, null, false, null)]
    [InlineData(301, null, 1, DeliveryState.Pending, null, false, null)]
    [InlineData(400, null, 1, DeliveryState.Pending, null, false, null)]
    [InlineData(410, null, 1, DeliveryState.Pending, null, false, "EndpointGone")]
    [InlineData(410, null, 10, DeliveryState.Failed, null, false, "EndpointGone")]
    [InlineData(429, null, 1, DeliveryState.Pending, 5, true, null)]
    [InlineData(429, 90, 1, DeliveryState.Pending, 90, true, null)]
    [InlineData(429, 90_000, 1, DeliveryState.Pending, 3600, true, null)]
    [InlineData(500, null, 1, DeliveryState.Pending, null, false, null)]
    [InlineData(502, null, 1, DeliveryState.Pending, 5, true, null)]
    [InlineData(503, null, 1, DeliveryState.Pending, null, false, null)]
    [InlineData(503, 30, 1, DeliveryState.Pending, 30, false, null)]
    [InlineData(504, null, 1, DeliveryState.Pending, 5, true, null)]
    [InlineData(500, null, 10, DeliveryState.Failed, null, false, null)]
    [InlineData(null, null, 1, DeliveryState.Pending, null, true, null)]
    public void Judge_EachAnswer(int? status, int? retryAfterSeconds, int attempts, DeliveryState state, int? pauseSeconds, bool slow, string? disable)
    {
        var reason = status is null ? WebhookReasons.Timeout : status is >= 200 and < 300 ? null : WebhookReasons.StatusRefused;
        var next = DeliveryJudgement.Of(new Attempt(status, reason, retryAfterSeconds is { } s ? TimeSpan.FromSeconds(s) : null, null), attempts, 0);
        Assert.Equal((state, pauseSeconds, slow, disable), (next.State, (int?)next.Pause?.TotalSeconds, next.Slow, next.Disable));
        Assert.Equal(state == DeliveryState.Pending, next.After is not null);
    }

    [Fact]
    public void FailsTooLong_AfterFiveDays()
    {
        var since = DateTimeOffset.UnixEpoch;
        Assert.False(DeliveryJudgement.FailsTooLong(null, since));
        Assert.False(DeliveryJudgement.FailsTooLong(since, since.AddDays(5).AddTicks(-1)));
        Assert.True(DeliveryJudgement.FailsTooLong(since, since.AddDays(5)));
    }

    /// <summary>However many endpoints are slow, those that are not have as much room as if there were none.</summary>
    [Fact]
    public void Rooms_OfFastEndpoints_DoNotDependOnSlowOnes()
    {
        var lane = from held in Gen.Int[0, 64] from slow in Gen.Bool from most in Gen.Int[0, 64] select new SendingRooms.Lane(Guid.NewGuid(), slow, held, most);
        lane.List[0, 100].Sample(lanes =>
        {
            var (rooms, others, most) = SendingRooms.Of(lanes);
            var (alone, othersAlone, mostAlone) = SendingRooms.Of(lanes.Where(l => !l.IsSlow));
            var slow = lanes.Where(l => l.IsSlow).ToList();
            return alone.All(r => rooms[r.Key] == r.Value) && others == othersAlone && most - slow.Sum(l => rooms[l.Endpoint]) == mostAlone
                && slow.Sum(l => rooms[l.Endpoint]) <= Math.Max(0, SendingRooms.SlowPlaces - slow.Sum(l => l.Held)) && rooms.Values.All(r => r >= 0);
        });
    }

    [Fact]
    public void Break_GrowsToFiveMinutes() => Assert.Equal([15, 30, 60, 120, 240, 300, 300], ((int[])[0, 1, 2, 3, 4, 5, 50]).Select(n => EndpointLane.BreakAfter(n).TotalSeconds));

    [Fact]
    public void Payload_OfTheLongestTexts_IsBelowTwentyKilobytes()
    {
        foreach (var filler in (string[])["x", "é", "漢", "😀", "\u0001", "\"", "\ud800"])
        {
            var text = string.Concat(Enumerable.Repeat(filler, 20_000));
            var body = PayloadText.Of(new Event
            {
                ProjectId = Guid.NewGuid(),
                Number = long.MaxValue,
                At = DateTimeOffset.MaxValue,
                Type = EventType.SandboxCondition,
                SubjectId = Guid.NewGuid(),
                SubjectName = text,
                Reason = text,
                Message = text,
                Phase = Phase.Scheduled,
                Sandbox = new(DesiredState.Running, int.MaxValue, Guid.NewGuid(), Origin.Simulated, new(text, text, text, DateTimeOffset.MaxValue), new(VerdictClass.GuestSvaPrefaultOnly, text, Origin.Simulated)),
            });
            Assert.InRange(body.Length, 1000, PayloadText.MaxBytes);
            Assert.Equal(PayloadText.MaxText, JsonSerializer.Deserialize<WebhookPayload>(body, JsonSerializerOptions.Web)!.Data.Message.Length, 1.0);
        }
    }

    [Fact]
    public void Reasons_EachHasASentenceAndARemedy() => Assert.All(WebhookReasons.All, code =>
    {
        var failure = WebhookReasons.Failure(code, DateTimeOffset.UnixEpoch, 500);
        Assert.False(string.IsNullOrWhiteSpace(failure.Message) || string.IsNullOrWhiteSpace(failure.Remedy));
    });
}
