using CsCheck;
using Worker.Agent;
using Xunit;

namespace Worker.Tests.Agent;

public sealed class AgentRateLimitTests
{
    /// <summary>The number of the line, from 1, at which a guest that sends so many lines in each second is cut off; null if it is not.</summary>
    private static int? CutOffAt(params int[] linesPerSecond)
    {
        var limit = new AgentRateLimit();
        var line = 0;
        for (var second = 0; second < linesPerSecond.Length; second++)
            for (var i = 0; i < linesPerSecond[second]; i++)
            {
                line++;
                if (limit.Add(TimeSpan.FromSeconds(second + (double)i / (linesPerSecond[second] + 1))) == AgentVerdict.CutOff)
                    return line;
            }
        return null;
    }

    [Fact]
    public void Add_WhenFiftyASecondForever_NeverCutsOff() => Assert.Null(CutOffAt([.. Enumerable.Repeat(50, 100)]));

    [Fact]
    public void Add_WhenFiftyOneForFiveSeconds_CutsOffWithinTheFifth() => Assert.Equal(5 * 51, CutOffAt(51, 51, 51, 51, 51));

    [Theory]
    [InlineData(50)]
    [InlineData(0)]
    public void Add_WhenOneSecondInBetweenIsQuiet_CountsAnew(int quiet) => Assert.Null(CutOffAt(400, 400, 400, 400, quiet, 400, 400, 400, 400));

    [Fact]
    public void Add_WhenTheFloodIsWithinOneSecond_AsksToPauseAtFiveHundred()
    {
        var limit = new AgentRateLimit();
        var verdicts = Enumerable.Range(0, 500).Select(_ => limit.Add(TimeSpan.FromSeconds(3.25))).ToList();
        Assert.Equal(499, verdicts.IndexOf(AgentVerdict.TakeThenPause));
        Assert.DoesNotContain(AgentVerdict.CutOff, verdicts);
        Assert.Equal(TimeSpan.FromSeconds(0.75), AgentRateLimit.UntilNextSecond(TimeSpan.FromSeconds(3.25)));
    }

    [Fact]
    public void Add_ForAnyGuest_CutsOffExactlyAfterFiveBusySecondsInARow() =>
        Gen.Int[0, 120].Array[1, 40].Sample(seconds =>
        {
            var run = 0;
            var expected = seconds.Any(lines => (run = lines > AgentRateLimit.MaxPerSecond ? run + 1 : 0) == AgentRateLimit.MaxBusySeconds);
            Assert.Equal(expected, CutOffAt(seconds) is not null);
        });
}
