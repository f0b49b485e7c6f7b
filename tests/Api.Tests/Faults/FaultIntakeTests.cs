using Api.Faults;
using Api.Sandboxes;
using Contracts;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Api.Tests.Faults;

public sealed class FaultIntakeTests
{
    private static readonly Guid _node = Guid.NewGuid();
    private readonly Guid[] _sandboxes = [.. Enumerable.Range(0, 1000).Select(_ => Guid.NewGuid())];
    private readonly FakeTimeProvider _time = new(new DateTimeOffset(2026, 11, 25, 12, 0, 0, TimeSpan.Zero));
    private readonly FaultIntake _intake;

    public FaultIntakeTests()
    {
        _intake = new FaultIntake(new FaultLive(), new FaultLatest(_time), new SandboxActivity(new ServiceCollection().BuildServiceProvider().GetRequiredService<IServiceScopeFactory>(), _time, NullLogger<SandboxActivity>.Instance), _time, NullLogger<FaultIntake>.Instance);
        _intake.Know(_node, _sandboxes.Select(id => new OwnedSandbox(id, 1, Origin.Emulated)));
    }

    private byte[] Round(int second) => FaultBytes.Of([.. _sandboxes.Select(id => new FaultSample(id, 1, _time.GetUtcNow().AddSeconds(second), [new("guest.minorFaults", second, null, false, Origin.Emulated)]))]);

    private int TakeAll()
    {
        var taken = 0;
        while (_intake.TryTake(out _)) taken++;
        return taken;
    }

    [Fact]
    public void Accept_WhenTheQueueIsFull_TurnsBackTheWholeBatchUntilThereIsRoom()
    {
        for (var second = 0; second < FaultIntake.QueueSamples / 1000; second++) Assert.True(_intake.TryAccept(_node, Round(second)));
        Assert.False(_intake.TryAccept(_node, Round(50)));
        Assert.True(_intake.TryTake(out _));
        Assert.False(_intake.TryAccept(_node, Round(50)));
        Assert.Equal((FaultIntake.QueueSamples, 2000, 0), ((int)_intake.Accepted, (int)_intake.TurnedBack, (int)_intake.Refused));
        Assert.Equal(FaultIntake.QueueSamples - 1, TakeAll());
        Assert.True(_intake.TryAccept(_node, Round(50)));
        Assert.Equal(1000, TakeAll());
    }

    [Fact]
    public void Accept_WhenWhatIsQueuedIsTooLarge_TurnsBackUntilThereIsRoom()
    {
        SourceReading[] readings = [.. Enumerable.Range(0, 120).Select(n => new SourceReading($"{n:D3}{new string('s', 61)}", null, new string('r', 64), false, Origin.Emulated))];
        byte[] Large(int second, int from) => FaultBytes.Of([.. _sandboxes.Skip(from).Take(50).Select(id => new FaultSample(id, 1, _time.GetUtcNow().AddSeconds(second), readings))]);
        var taken = 0;
        for (var second = 0; taken < FaultIntake.QueueSamples && second < 20; second++)
            for (var from = 0; from < 1000 && _intake.TryAccept(_node, Large(second, from)); from += 50)
                taken += 50;
        Assert.InRange(taken, 7_500, 9_500);
        Assert.False(_intake.TryAccept(_node, Large(30, 0)));
        Assert.Equal(taken, TakeAll());
        Assert.True(_intake.TryAccept(_node, Large(30, 0)));
    }

    [Fact]
    public void Accept_OfWhatIsRefusedOrKnown_TakesNoPlaceInTheQueue()
    {
        var (round, stranger) = (Round(0), Guid.NewGuid());
        for (var time = 0; time < 100; time++)
            Assert.True(_intake.TryAccept(time % 2 == 0 ? _node : stranger, round));
        Assert.Equal((1000, 50_000, 1000), ((int)_intake.Accepted, (int)_intake.Refused, TakeAll()));
    }

    [Fact]
    public void Accept_WhenItIsClosed_TurnsBackAndWhatIsQueuedStays()
    {
        Assert.True(_intake.TryAccept(_node, Round(0)));
        _intake.Close();
        Assert.False(_intake.TryAccept(_node, Round(1)));
        Assert.Equal(1000, TakeAll());
    }

    [Fact]
    public void Accept_OfABatchOfSeveral_ToldAgain_StoresEachOnce()
    {
        var batch = FaultBytes.Of([.. Enumerable.Range(0, 100).Select(second => new FaultSample(_sandboxes[0], 1, _time.GetUtcNow().AddSeconds(second), [new("guest.minorFaults", second, null, false, Origin.Emulated)]))]);
        Assert.True(_intake.TryAccept(_node, batch));
        Assert.True(_intake.TryAccept(_node, batch));
        Assert.Equal((100, 0, 100), ((int)_intake.Accepted, (int)_intake.Refused, TakeAll()));
    }

    [Fact]
    public void Accept_OfAFlood_TakesWhatASandboxCanHave_AndRefusesTheRest()
    {
        byte[] Batch(int from) => FaultBytes.Of([.. Enumerable.Range(from, 1000).Select(n => new FaultSample(_sandboxes[0], 1, _time.GetUtcNow().AddMilliseconds(n), [new("guest.minorFaults", n, null, false, Origin.Emulated)]))]);
        Assert.True(_intake.TryAccept(_node, Batch(0)));
        Assert.Equal((FaultLatest.Burst, 1000 - FaultLatest.Burst), ((int)_intake.Accepted, (int)_intake.Refused));
        Assert.True(_intake.TryAccept(_node, Round(7200)));
        Assert.Equal(FaultLatest.Burst + 999, (int)_intake.Accepted);
        _time.Advance(TimeSpan.FromSeconds(10));
        Assert.True(_intake.TryAccept(_node, Batch(10_000)));
        Assert.Equal(FaultLatest.Burst + 999 + (10 * FaultLatest.MostPerSecond), (int)_intake.Accepted);
    }

    [Theory]
    [InlineData(2, Origin.Emulated, "a")]
    [InlineData(1, Origin.Hardware, "a")]
    [InlineData(1, Origin.Emulated, "guest.minorFaults")]
    public void Accept_OfAStartThatWasNot_OrNearerToHardwareThanItsMachine_OrASourceTwice_Refuses(int incarnation, Origin origin, string other)
    {
        var sample = new FaultSample(_sandboxes[0], incarnation, _time.GetUtcNow(), [new("guest.minorFaults", 1, null, false, Origin.Emulated), new(other, 1, null, false, origin)]);
        Assert.True(_intake.TryAccept(_node, FaultBytes.Of([sample])));
        Assert.Equal((0, 1), ((int)_intake.Accepted, (int)_intake.Refused));
    }

    [Fact]
    public void Latest_IsTheNewestWhileItIsFresh_WhateverComesLate()
    {
        var latest = new FaultLatest(_time);
        EncodedSample At(int second, int incarnation = 1) => new(_node, incarnation, _time.GetUtcNow().AddSeconds(second), FaultSamplesEncoding.EncodeReadings([new("guest.minorFaults", second + 100, null, false, Origin.Emulated)]));
        Assert.Equal((SampleTaken.Taken, SampleTaken.Known, SampleTaken.Taken), (latest.TrySet(At(5)), latest.TrySet(At(5)), latest.TrySet(At(3))));
        Assert.Equal(105, latest.Of(_node)!.Readings[0].Value);
        Assert.Equal(SampleTaken.Taken, latest.TrySet(At(5, incarnation: 2)));
        var last = At(5, incarnation: 2);
        _time.Advance(FaultLatest.Fresh);
        Assert.Null(latest.Of(_node));
        latest.Forget();
        Assert.Equal(SampleTaken.Known, latest.TrySet(last));
        // After a clock that was set back.
        Assert.Equal(SampleTaken.Taken, latest.TrySet(At(-60, incarnation: 2)));
        Assert.Equal(40, latest.Of(_node)!.Readings[0].Value);
    }
}
