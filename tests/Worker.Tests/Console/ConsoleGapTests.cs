using System.Text;
using Worker.Console;
using Xunit;

namespace Worker.Tests.Console;

public sealed class ConsoleGapTests
{
    private static readonly DateTimeOffset Now = new(2026, 5, 5, 12, 0, 0, TimeSpan.Zero);

    [Theory]
    [InlineData(null, 0.1, null)] // the first start
    [InlineData(null, 30.0, 30)] // found running, never listened to
    [InlineData(2, 30.0, 30)] // another VMM was listened to, this one never
    [InlineData(2, 1.9, null)] // the next incarnation has just begun
    [InlineData(1, 500.0, 8)] // the same VMM, left 7.2 seconds ago
    [InlineData(1, 0.0, 8)]
    public void Marker_ForWhatWasListenedTo_SaysHowLong(int? listenedTo, double socketAgeSeconds, int? expectedSeconds)
    {
        ConsoleListening? before = listenedTo is { } stamp ? new ConsoleListening(stamp, Now.AddSeconds(-7.2)) : null;
        var marker = ConsoleGap.Marker(before, 1, Now.AddSeconds(-socketAgeSeconds), Now);
        Assert.Equal(expectedSeconds is null ? null : $"\r\n[no worker listened for {expectedSeconds} s]\r\n", marker is null ? null : Encoding.ASCII.GetString(marker));
    }

    [Fact]
    public void Marker_WhenTheClockWentBack_SaysAtLeastASecond() =>
        Assert.Contains("for 1 s", Encoding.ASCII.GetString(ConsoleGap.Marker(new ConsoleListening(1, Now.AddHours(1)), 1, Now, Now)!), StringComparison.Ordinal);
}
