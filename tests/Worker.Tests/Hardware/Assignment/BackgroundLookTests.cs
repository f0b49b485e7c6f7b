using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Worker.Hardware.Assignment;
using Xunit;

namespace Worker.Tests.Hardware.Assignment;

public sealed class BackgroundLookTests : IDisposable
{
    private static readonly TimeSpan Age = TimeSpan.FromSeconds(10), Soon = TimeSpan.FromMilliseconds(50), Patience = TimeSpan.FromMinutes(1);
    private readonly FakeTimeProvider _time = new();
    private readonly ManualResetEventSlim _goesOn = new(true);
    private readonly BackgroundLook _look;
    private int _looks, _now, _most;
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    public BackgroundLookTests() => _look = new BackgroundLook(_time, NullLogger.Instance);

    public void Dispose()
    {
        _goesOn.Set();
        _goesOn.Dispose();
    }

    private void Look()
    {
        Interlocked.Increment(ref _looks);
        var now = Interlocked.Increment(ref _now);
        _most = Math.Max(_most, now);
        _goesOn.Wait(Patience);
        Interlocked.Decrement(ref _now);
    }

    [Fact]
    public void IfOlderThan_LooksOnceForThatLong()
    {
        for (var call = 0; call < 3; call++)
            _look.IfOlderThan(Age, Patience, Look);
        Assert.Equal(1, _looks);
        _time.Advance(Age);
        _look.IfOlderThan(Age, Patience, Look);
        Assert.Equal(2, _looks);
    }

    [Fact]
    public async Task Looks_WhenOneHangs_AreNeverTwoAtOnceAndGoOnAfterIt()
    {
        _goesOn.Reset();
        _look.IfOlderThan(Age, Soon, Look);
        var told = _look.Problem;
        Assert.Equal(AssignmentReasons.ScanHangs.Code, told?.Reason);
        for (var call = 0; call < 5; call++)
        {
            _time.Advance(Age);
            // With a limit that no test would wait for: a look that is known to hang is not waited for.
            _look.IfOlderThan(Age, TimeSpan.FromHours(1), Look);
            Assert.False(await _look.AnewAsync(Soon, Look, Ct));
        }
        Assert.Equal((1, told), (_looks, _look.Problem));
        var next = _look.AnewAsync(Patience, Look, Ct);
        _goesOn.Set();
        Assert.True(await next);
        Assert.Equal((2, 1, null), (_looks, _most, _look.Problem));
    }

    [Fact]
    public async Task AnewAsync_WhenALookFails_SaysSoToWhoeverAsked()
    {
        await Assert.ThrowsAsync<InvalidOperationException>(() => _look.AnewAsync(Patience, () => throw new InvalidOperationException(), Ct));
        Assert.Throws<InvalidOperationException>(() => _look.IfOlderThan(Age, Patience, () => throw new InvalidOperationException()));
        Assert.True(await _look.AnewAsync(Patience, Look, Ct));
    }
}
