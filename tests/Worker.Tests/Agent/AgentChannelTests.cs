using System.Text;
using Contracts;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Worker.Agent;
using Worker.Faults;
using Worker.Tests.Channels;
using Xunit;

namespace Worker.Tests.Agent;

public sealed class AgentChannelTests : IAsyncLifetime
{
    private const string Ready = """{"type":"ready","protocol":1,"agentVersion":"1","kernel":"k","bootId":"b","uptimeMilliseconds":5,"cpus":1,"memoryKib":1024}""" + "\n";
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(10);
    private readonly TemporaryDirectory _directory = new();
    private ScriptedPeer _server = null!;
    private AgentChannel _channel = null!;

    private static CancellationToken Ct => ScriptedPeer.Ct;
    private string SocketPath => _directory.Of("agent.sock");

    public ValueTask InitializeAsync()
    {
        _server = new ScriptedPeer(SocketPath);
        _channel = new AgentChannel(SocketPath, TimeProvider.System, NullLogger.Instance);
        return ValueTask.CompletedTask;
    }

    public async ValueTask DisposeAsync()
    {
        await _channel.DisposeAsync();
        _server.Dispose();
        _directory.Dispose();
    }

    private static string Stats(long uptime) => $"{{\"type\":\"stats\",\"uptimeMilliseconds\":{uptime},\"pgfault\":10,\"pgmajfault\":null}}\n";

    private async Task<PeerConnection> AcceptAsync(int seconds = 10)
    {
        var guest = await _server.AcceptAsync(seconds);
        Assert.Equal("""{"type":"hello","protocol":2}""", await guest.HearLineAsync());
        return guest;
    }

    /// <summary>A machine that is slow enough hears the greeting again before the end.</summary>
    private static async Task EndedAsync(PeerConnection guest)
    {
        while (await guest.HearLineAsync() is { } line)
            Assert.Equal("""{"type":"hello","protocol":2}""", line);
    }

    private async Task<AgentMessage> HeardAsync() => await _channel.Messages.ReadAsync(Ct).AsTask().WaitAsync(Limit, Ct);

    [Fact]
    public async Task Messages_WhenLinesAreSplitAnywhere_AreWhole()
    {
        using var guest = await AcceptAsync();
        foreach (var one in Encoding.UTF8.GetBytes(Ready))
            await guest.SayAsync([one]);
        Assert.Equal("k", Assert.IsType<AgentReady>(await HeardAsync()).Kernel);
    }

    [Fact]
    public async Task LatestStats_WhenManyCome_IsTheLastAndNoneIsQueued()
    {
        using var guest = await AcceptAsync();
        await guest.SayAsync(string.Concat(Enumerable.Range(1, 200).Select(n => Stats(n))) + Ready);
        Assert.IsType<AgentReady>(await HeardAsync());
        Assert.Equal(200, _channel.Latest!.Stats.UptimeMilliseconds);
        Assert.InRange(_channel.Latest.Age, TimeSpan.Zero, Limit);
    }

    [Theory]
    [InlineData("garbage")]
    [InlineData("null")]
    [InlineData("[]")]
    [InlineData("42")]
    [InlineData("{}")]
    [InlineData("{\"type\":\"unheardOf\"}")]
    [InlineData("{\"type\":7}")]
    [InlineData("{\"type\":\"stats\",\"uptimeMilliseconds\":\"soon\"}")]
    [InlineData("{\"type\":\"stats\",\"uptimeMilliseconds\":1e400}")]
    [InlineData("{\"type\":\"probe\",\"devices\":5}")]
    [InlineData("\"\u0000\u0001\"")]
    [InlineData("pe\":\"ready\"}")]
    public async Task Messages_WhenALineIsNonsense_ItIsCountedAndTheNextIsRead(string nonsense)
    {
        using var guest = await AcceptAsync();
        await guest.SayAsync(nonsense + "\n" + Ready);
        Assert.IsType<AgentReady>(await HeardAsync());
        Assert.Equal(1, _channel.NonsenseLines);
    }

    public static TheoryData<string> Lies => new(
        """{"type":"stats","uptimeMilliseconds":5,"pgfault":1,"pgmajfault":1,"workload":5}""",
        """{"type":"stats","uptimeMilliseconds":5,"pgfault":1,"pgmajfault":1,"workload":{"minorFaults":1e300,"majorFaults":1}}""",
        """{"type":"stats","uptimeMilliseconds":5,"pgfault":1,"pgmajfault":1,"smmuLog":{"events":[1,2],"reason":null}}""",
        """{"type":"stats","uptimeMilliseconds":5,"pgfault":1,"pgmajfault":1,"smmuLog":{"events":{"F_UUT":null},"reason":null}}""",
        """{"type":"stats","uptimeMilliseconds":5,"pgfault":1,"pgmajfault":1,"pageFaults":{"latency":{"counts":{"0":1}}}}""",
        """{"type":"stats","uptimeMilliseconds":5,"pgfault":1,"pgmajfault":1,"pageFaults":{"reason":7}}""");

    [Theory]
    [MemberData(nameof(Lies))]
    public async Task Latest_WhenAPartIsOfAnotherShape_TheLineIsNonsenseAndTheNextIsRead(string lie)
    {
        using var guest = await AcceptAsync();
        await guest.SayAsync(lie + "\n" + Ready);
        Assert.IsType<AgentReady>(await HeardAsync());
        Assert.Equal((1, null), (_channel.NonsenseLines, _channel.Latest));
    }

    [Fact]
    public async Task Latest_WhenThousandsOfTypesAreTold_NoneOfThemIsShown()
    {
        using var guest = await AcceptAsync();
        var types = string.Join(',', Enumerable.Range(0, 10_000).Select(n => $"\"T{n}\":1"));
        await guest.SayAsync($"{{\"type\":\"stats\",\"uptimeMilliseconds\":5,\"pgfault\":9,\"pgmajfault\":1,\"smmuLog\":{{\"events\":{{{types}}},\"reason\":null}}}}\n{Ready}");
        Assert.IsType<AgentReady>(await HeardAsync());
        var readings = new GuestFaults(_channel, null, Viommu.Smmuv3, Origin.Emulated, Origin.Emulated).Read(DateTimeOffset.UnixEpoch).ToList();
        Assert.Equal(9, readings.Count);
        Assert.Equal((null, "NotReportedByAgent"), readings.Where(r => r.Source == FaultSource.GuestSmmuEvents).Select(r => (r.Value, r.NullReason)).Single());
        Assert.Equal(8, readings.Single(r => r.Source == FaultSource.GuestMinor).Value);
    }

    [Fact]
    public async Task Latest_WhateverTheClocksSay_AgesByTheTimeThatPasses()
    {
        var time = new FakeTimeProvider(new DateTimeOffset(2026, 5, 5, 12, 0, 0, TimeSpan.Zero));
        using var server = new ScriptedPeer(_directory.Of("clock.sock"));
        await using var channel = new AgentChannel(_directory.Of("clock.sock"), time, NullLogger.Instance);
        var faults = new GuestFaults(channel, null, Viommu.Smmuv3, Origin.Emulated, Origin.Emulated);
        SourceReading Minor(DateTimeOffset now) => faults.Read(now).Single(r => r.Source == FaultSource.GuestMajor);
        using var guest = await server.AcceptAsync();
        foreach (var uptime in (long[])[5000, 1, long.MaxValue, long.MinValue])
        {
            await guest.SayAsync(Stats(uptime).Replace("null", "3", StringComparison.Ordinal));
            await Eventually.TrueAsync(() => channel.Latest?.Stats.UptimeMilliseconds == uptime, "it is read");
            // The guest's clock says what it likes, and somebody may set the host's.
            foreach (var jump in (TimeSpan[])[TimeSpan.Zero, TimeSpan.FromDays(-400), TimeSpan.FromDays(400)])
                Assert.Equal(3, Minor(time.GetUtcNow() + jump).Value);
        }
        time.Advance(TimeSpan.FromSeconds(6));
        Assert.Equal("AgentSilent", Minor(time.GetUtcNow() - TimeSpan.FromDays(400)).NullReason);
    }

    [Fact]
    public async Task Messages_WhenJsonIsDeeperThanAnyoneNeeds_ItIsCounted()
    {
        using var guest = await AcceptAsync();
        await guest.SayAsync(new string('[', 100_000) + "\n" + Ready);
        Assert.IsType<AgentReady>(await HeardAsync());
        Assert.Equal(1, _channel.NonsenseLines);
    }

    [Fact]
    public async Task Connection_WhenTheGuestHangsUp_IsMadeAgainWithHello()
    {
        (await AcceptAsync()).Dispose();
        using var again = await AcceptAsync();
        await again.SayAsync(Ready);
        Assert.IsType<AgentReady>(await HeardAsync());
    }

    [Fact]
    public async Task Hello_WhenFirmwareSwallowedIt_IsSaidAgainUntilItIsAnswered()
    {
        using var guest = await AcceptAsync();
        Assert.Equal("""{"type":"hello","protocol":2}""", await guest.HearLineAsync());
        await guest.SayAsync(Ready);
        Assert.IsType<AgentReady>(await HeardAsync());
        await _channel.SendAsync(new AgentPowerOff(), Ct);
        Assert.Equal("""{"type":"powerOff"}""", await guest.HearLineAsync());
    }

    [Fact]
    public async Task Hello_WhenTheAgentWasStartedAgain_IsSaidAgainOnTheSameConnection()
    {
        var time = new FakeTimeProvider();
        using var server = new ScriptedPeer(_directory.Of("again.sock"));
        await using var channel = new AgentChannel(_directory.Of("again.sock"), time, NullLogger.Instance);
        using var guest = await server.AcceptAsync();
        await guest.HearLineAsync();
        for (var second = 1; second <= 9; second++)
        {
            await guest.SayAsync(Stats(second));
            await Eventually.TrueAsync(() => channel.Latest?.Stats.UptimeMilliseconds == second, "it is heard");
            time.Advance(TimeSpan.FromSeconds(1));
        }
        // Who talks is not greeted again; who has fallen silent is.
        Assert.False(guest.IsSpokenTo);
        await Eventually.TrueAsync(() =>
        {
            time.Advance(TimeSpan.FromSeconds(1));
            return guest.IsSpokenTo;
        }, "it is greeted");
        Assert.Equal("""{"type":"hello","protocol":2}""", await guest.HearLineAsync());
    }

    [Fact]
    public async Task Connection_WhenALineNeverEnds_IsCutOff()
    {
        using var guest = await AcceptAsync();
        try
        {
            for (var i = 0; i < 64; i++)
                await guest.SayAsync(new string('x', 16 * 1024));
        }
        catch (IOException)
        {
            // Cut off before all was said.
        }
        await EndedAsync(guest);
        Assert.False(_server.IsKnockedAt(TimeSpan.FromMilliseconds(500)));
    }

    [Fact]
    public async Task Messages_WhenALineIsAsLongAsAllowed_IsRead()
    {
        using var guest = await AcceptAsync();
        var ready = Ready.Replace("\"k\"", "\"" + new string('k', AgentProtocol.MaxLineBytes - Ready.Length) + "\"", StringComparison.Ordinal);
        await guest.SayAsync(ready);
        Assert.IsType<AgentReady>(await HeardAsync());
    }

    [Fact]
    public async Task Connection_WhenNobodyTakesTheMessages_IsCutOffAndNoneIsLostBefore()
    {
        using var guest = await AcceptAsync();
        await guest.SayAsync(string.Concat(Enumerable.Repeat(Ready, 65)));
        await EndedAsync(guest);
        for (var i = 0; i < 64; i++)
            Assert.IsType<AgentReady>(await HeardAsync());
        Assert.False(_channel.Messages.TryRead(out _));
    }

    [Fact]
    public async Task Connection_WhenTheGuestFloodsForFiveSeconds_IsCutOffForFive()
    {
        var time = new FakeTimeProvider();
        using var server = new ScriptedPeer(_directory.Of("flood.sock"));
        await using var channel = new AgentChannel(_directory.Of("flood.sock"), time, NullLogger.Instance);
        using var guest = await server.AcceptAsync();
        await guest.HearLineAsync();
        for (var second = 1; second <= 5; second++)
        {
            var last = second * 100L;
            await guest.SayAsync(string.Concat(Enumerable.Range(0, 60).Select(n => Stats(last - 59 + n))));
            if (second < 5)
            {
                await Eventually.TrueAsync(() => channel.Latest?.Stats.UptimeMilliseconds == last, "the second's lines are read");
                time.Advance(TimeSpan.FromSeconds(1));
            }
        }
        await EndedAsync(guest);
        time.Advance(TimeSpan.FromSeconds(4.5));
        Assert.False(server.IsKnockedAt(TimeSpan.FromMilliseconds(200)));
        await Eventually.TrueAsync(() =>
        {
            time.Advance(TimeSpan.FromSeconds(0.5));
            return server.IsKnockedAt(TimeSpan.FromMilliseconds(50));
        }, "it is connected again");
    }

    [Fact]
    public async Task Send_WhenConnected_ArrivesAsOneLine()
    {
        using var guest = await AcceptAsync();
        await guest.SayAsync(Ready);
        await HeardAsync();
        await _channel.SendAsync(new AgentConfigure("#!/bin/sh\necho\n", ["key"]), Ct);
        Assert.Equal("""{"type":"configure","userData":"#!/bin/sh\necho\n","sshKeys":["key"]}""", await guest.HearLineAsync());
    }

    [Fact]
    public async Task Send_WhenNotConnected_IsAnIoException()
    {
        await using var alone = new AgentChannel(_directory.Of("none.sock"), TimeProvider.System, NullLogger.Instance);
        await Assert.ThrowsAsync<IOException>(() => alone.SendAsync(new AgentPowerOff(), Ct));
    }

    [Fact]
    public async Task Send_WhenTheGuestDoesNotRead_EndsWithItsTokenAndIsBounded()
    {
        using var guest = await AcceptAsync();
        await guest.SayAsync(Ready);
        await HeardAsync();
        using var impatient = new CancellationTokenSource(TimeSpan.FromMilliseconds(300));
        var large = new AgentConfigure(new string('x', 1 << 20), []);
        var sends = Enumerable.Range(0, 40).Select(_ => _channel.SendAsync(large, impatient.Token)).ToList();
        foreach (var send in sends)
            Assert.True(await Record.ExceptionAsync(() => send) is OperationCanceledException or IOException);
        Assert.Contains(sends, s => s.Exception?.InnerException is IOException);
    }

    [Fact]
    public async Task Dispose_WhenTheGuestTalks_EndsTheMessages()
    {
        using var guest = await AcceptAsync();
        await guest.SayAsync(Ready);
        await HeardAsync();
        await _channel.DisposeAsync();
        await _channel.Messages.Completion.WaitAsync(Limit, Ct);
        await EndedAsync(guest);
    }
}
