using Api.Faults;
using Xunit;

namespace Api.Tests.Faults;

public sealed class FaultResolutionTests
{
    private static readonly DateTimeOffset _now = new(2026, 11, 25, 12, 0, 0, TimeSpan.Zero);
    private static readonly DateTimeOffset _oldest = new FaultRetention(2, 30).OldestSample(_now);

    [Theory]
    [InlineData("00:16:00", null, false, 1)]
    [InlineData("00:25:00", null, false, 1)]
    [InlineData("00:25:01", null, true, 60)]
    [InlineData("1.00:00:00", null, true, 60)]
    [InlineData("1.02:00:00", null, true, 300)]
    [InlineData("30.00:00:00", null, true, 3600)]
    [InlineData("5000.00:00:00", null, true, 86_400)]
    [InlineData("01:00:00", 1, false, 1)]
    [InlineData("01:00:00", 10, false, 10)]
    [InlineData("01:00:00", 59, false, 59)]
    [InlineData("01:00:00", 90, true, 120)]
    [InlineData("01:00:00", 120, true, 120)]
    [InlineData("3.00:00:00", 10, true, 60)]
    public void Choose_ForEachTimeAndStep_IsThis(string ago, int? step, bool fromMinutes, int stepSeconds) =>
        Assert.Equal(new FaultResolution(fromMinutes, stepSeconds), FaultResolution.Choose(_now - TimeSpan.Parse(ago, System.Globalization.CultureInfo.InvariantCulture), _now, step, _oldest));

    [Fact]
    public void OldestSample_IsAWholeDay() => Assert.Equal(new DateTimeOffset(2026, 11, 23, 0, 0, 0, TimeSpan.Zero), _oldest);
}
