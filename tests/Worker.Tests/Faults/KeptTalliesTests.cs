using Microsoft.Extensions.Logging.Abstractions;
using Worker.Faults;
using Xunit;

namespace Worker.Tests.Faults;

public sealed class KeptTalliesTests : IDisposable
{
    private readonly TemporaryDirectory _directory = new();
    private string File => _directory.Of("state");

    public void Dispose() => _directory.Dispose();

    private KeptTallies Open(bool adopted, int incarnation = 1, bool endsWithWorker = false) => new(File, incarnation, adopted, endsWithWorker, TimeProvider.System, NullLogger.Instance);

    private static (long, bool)? Count(KeptTallies tallies, long? now, bool incomplete = false)
    {
        var tally = tallies.Count("a", now, incomplete: incomplete);
        tallies.Store();
        return tally is null ? null : (tally.Value, tally.LowerBound);
    }

    [Fact]
    public void Count_BeginsWithTheTenancyAndGoesOnAfterARestart()
    {
        var tallies = Open(adopted: false);
        Assert.Equal((0L, false), Count(tallies, 40));
        Assert.Equal((2L, false), Count(tallies, 42));
        // What came while no worker ran is counted.
        Assert.Equal((5L, false), Count(Open(adopted: true), 45));
    }

    [Fact]
    public void Count_OfACounterThatBeganAnew_IsALowerBoundAndNeverLess()
    {
        var tallies = Open(adopted: false);
        Count(tallies, 40);
        Count(tallies, 50);
        Assert.Equal((13L, true), Count(tallies, 3));
        Assert.Equal((14L, true), Count(tallies, 4));
        Assert.Equal((15L, true), Count(Open(adopted: true), 5));
    }

    [Fact]
    public void Count_OfACounterThatEndsWithItsWorker_GoesOnAsALowerBoundEvenAboveWhatWasSeen()
    {
        var tallies = Open(adopted: false, endsWithWorker: true);
        Assert.Equal(7, tallies.Count("a", 7, from: 0)!.Value);
        tallies.Store();
        var next = Open(adopted: true, endsWithWorker: true).Count("a", 100, from: 0)!;
        Assert.Equal((107L, true), (next.Value, next.LowerBound));
    }

    [Fact]
    public void Count_WhenTheKernelFallsSilent_KeepsWhatIsKnownAsALowerBound()
    {
        var tallies = Open(adopted: false);
        Assert.Null(Count(tallies, null));
        Count(tallies, 1);
        Count(tallies, 5);
        Assert.Equal((4L, true), Count(tallies, null));
        Assert.Equal((6L, true), Count(tallies, 7));
    }

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("{")]
    [InlineData("null")]
    [InlineData("{\"incarnation\":1}")]
    [InlineData("{\"incarnation\":1,\"tallies\":{\"a\":null}}")]
    [InlineData("{\"incarnation\":1,\"tallies\":{\"a\":{\"value\":-5,\"seen\":0}}}")]
    [InlineData("{\"incarnation\":2,\"tallies\":{\"a\":{\"value\":5,\"seen\":40}}}")]
    public void Open_WhenWhatWasStoredIsOfNoUse_BeginsAnewAsALowerBound(string? stored)
    {
        if (stored is not null)
            System.IO.File.WriteAllText(File, stored);
        Assert.Equal((0L, true), Count(Open(adopted: true), 40));
        // A new guest has nothing to do with it.
        Assert.Equal((0L, false), Count(Open(adopted: false), 40));
    }

    [Fact]
    public void Store_WhenItCannot_CountsOn()
    {
        var tallies = new KeptTallies(_directory.Of("absent/state"), 1, false, false, TimeProvider.System, NullLogger.Instance);
        Count(tallies, 1);
        Assert.Equal((1L, false), Count(tallies, 2));
    }

    [Fact]
    public void Next_AtTheEndOfNumbers_Stays() => Assert.Equal(long.MaxValue, new Tally(long.MaxValue - 1, 0, false).Next(long.MaxValue).Value);
}
