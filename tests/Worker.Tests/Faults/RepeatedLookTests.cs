using Microsoft.Extensions.Time.Testing;
using Worker.Faults;
using Xunit;

namespace Worker.Tests.Faults;

public sealed class RepeatedLookTests
{
    [Fact]
    public async Task Blocking_WhenALookHangs_NothingIsToldAndTheEndDoesNotWaitForIt()
    {
        var time = new FakeTimeProvider();
        using var released = new ManualResetEventSlim();
        var looks = 0;
        var look = RepeatedLook<string>.Blocking(time, () =>
        {
            if (Interlocked.Increment(ref looks) > 1)
                released.Wait();
            return "seen";
        });
        using var end = new CancellationTokenSource();
        var running = look.RunAsync(end.Token);
        await Eventually.TrueAsync(() => look.Latest == "seen", "the first look is told");
        await Eventually.TrueAsync(() =>
        {
            time.Advance(TimeSpan.FromSeconds(1));
            return look.Latest is null;
        }, "it is stale");
        Assert.Equal(2, looks);
        await end.CancelAsync();
        Assert.False(running.IsCompleted);
        await Eventually.TrueAsync(() =>
        {
            time.Advance(TimeSpan.FromSeconds(1));
            return running.IsCompleted;
        }, "the end has not waited longer");
        released.Set();
    }

    [Fact]
    public async Task Latest_WhileLooksComeBack_IsTheLastOne()
    {
        var time = new FakeTimeProvider();
        var looks = 0;
        var look = new RepeatedLook<string>(time, _ => Task.FromResult($"{++looks}"));
        using var end = new CancellationTokenSource();
        var running = look.RunAsync(end.Token);
        await Eventually.TrueAsync(() =>
        {
            time.Advance(TimeSpan.FromSeconds(1));
            return look.Latest is "7";
        }, "the seventh is told");
        await end.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => running);
    }
}
