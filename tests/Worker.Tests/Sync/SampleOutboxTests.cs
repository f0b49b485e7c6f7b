using Contracts;
using Microsoft.Extensions.Logging.Abstractions;
using Worker.Sync;
using Xunit;

namespace Worker.Tests.Sync;

public sealed class SampleOutboxTests
{
    private readonly SampleOutbox _outbox = new(TimeProvider.System, NullLogger<SampleOutbox>.Instance);

    private async Task<byte[]> FirstAsync() => await _outbox.FirstAsync(TestContext.Current.CancellationToken);

    [Fact]
    public async Task First_StaysUntilItWasTakenIn_AndTheNextFollows()
    {
        _outbox.Add([1]);
        _outbox.Add([2]);
        var first = await FirstAsync();
        Assert.Same(first, await FirstAsync());
        _outbox.Remove(first);
        _outbox.Remove(first);
        Assert.Equal([2], await FirstAsync());
    }

    [Fact]
    public async Task First_WhenNothingWaits_ComesWithTheNext()
    {
        var waiting = FirstAsync();
        Assert.False(waiting.IsCompleted);
        _outbox.Add([3]);
        Assert.Equal([3], await waiting);
    }

    [Fact]
    public async Task Add_WhenTooManyWait_LosesTheOldest()
    {
        for (var second = 0; second <= SampleOutbox.MaxBatches; second++)
            _outbox.Add([(byte)second]);
        Assert.Equal([1], await FirstAsync());
    }

    [Fact]
    public void Add_WhenBatchesAreLost_CountsTheirSamples()
    {
        FaultSample Sample() => new(Guid.NewGuid(), 1, DateTimeOffset.UnixEpoch, []);
        for (var second = 0; second < SampleOutbox.MaxBatches; second++)
            _outbox.Add(FaultSamplesEncoding.Batches([Sample(), Sample(), Sample()]).Single());
        Assert.Equal(0, _outbox.SamplesLost);
        _outbox.Add([1]);
        _outbox.Add([2]);
        Assert.Equal(6, _outbox.SamplesLost);
    }

    [Theory]
    [InlineData(true, 0)]
    [InlineData(false, 3)]
    public async Task Add_WhenTheBatchUnderWayLeaves_ItIsLostOnlyIfItIsNotTakenIn(bool isTaken, int lost)
    {
        FaultSample Sample() => new(Guid.NewGuid(), 1, DateTimeOffset.UnixEpoch, []);
        for (var second = 0; second < SampleOutbox.MaxBatches; second++)
            _outbox.Add(FaultSamplesEncoding.Batches([Sample(), Sample(), Sample()]).Single());
        var underWay = await FirstAsync();
        _outbox.Add([1]);
        Assert.Equal(0, _outbox.SamplesLost);
        if (isTaken)
            _outbox.Remove(underWay);
        await FirstAsync();
        Assert.Equal(lost, _outbox.SamplesLost);
    }

    [Fact]
    public async Task Add_WhenTooManyBytesWait_LosesTheOldestButNotTheLast()
    {
        _outbox.Add([1]);
        _outbox.Add(new byte[SampleOutbox.MaxBytes]);
        Assert.Equal(SampleOutbox.MaxBytes, (await FirstAsync()).Length);
        var first = await FirstAsync();
        _outbox.Add([2]);
        // Sent meanwhile and answered now: it has left already.
        _outbox.Remove(first);
        Assert.Equal([2], await FirstAsync());
    }
}
