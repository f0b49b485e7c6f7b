using Contracts;
using CsCheck;
using Worker.Faults;
using Worker.Vms;
using Xunit;

namespace Worker.Tests.Faults;

public sealed class StormDetectorTests
{
    private static readonly StormPolicy Policy = new(100, 10, StormAction.None, null);
    private static readonly StormPolicy OfOne = Policy with { Source = FaultSource.GuestMinor };

    /// <summary>One second: what each source has counted since the last, or why it cannot be read.</summary>
    private sealed class Seconds(StormPolicy policy, ConditionReason? told = null)
    {
        private readonly StormDetector _detector = new(policy, told ?? ConditionReasons.StormNotJudged);
        private readonly Dictionary<string, long> _counts = [];
        private TimeSpan _at;

        public StormJudgement Judgement { get; private set; } = new(told ?? ConditionReasons.StormNotJudged, null);
        public string Reason => Judgement.Reason.Code;

        public Seconds Pass(int seconds, params (string Source, long PerSecond, bool LowerBound)[] rates)
        {
            for (var i = 0; i < seconds; i++)
                Sample([.. rates.Select(r => new SourceReading(r.Source, _counts[r.Source] = _counts.GetValueOrDefault(r.Source) + r.PerSecond, null, r.LowerBound, Origin.Emulated))]);
            return this;
        }

        public Seconds PassOne(int seconds, long perSecond) => Pass(seconds, (policy.Source ?? FaultSource.SmmuEvents, perSecond, false));

        public Seconds PassBlind(int seconds)
        {
            for (var i = 0; i < seconds; i++)
                Sample([.. StormSources.Of(policy).Select(s => new SourceReading(s, null, "AgentSilent", false, Origin.Emulated))]);
            return this;
        }

        public Seconds PassUnsampled(int seconds)
        {
            _at += TimeSpan.FromSeconds(seconds);
            return this;
        }

        public Seconds Restart()
        {
            _counts.Clear();
            return this;
        }

        private void Sample(SourceReading[] readings) => Judgement = _detector.Take(_at += TimeSpan.FromSeconds(1), readings);
    }

    /// <summary>A stalled transaction is an event of the SMMU and a page fault; of both the larger is counted, and where they differ it is a lower bound.</summary>
    [Theory]
    [InlineData(60, 60, "NoFaultStorm")]
    [InlineData(60, 70, "StormOnlyLowerBound")]
    [InlineData(0, 99, "NoFaultStorm")]
    [InlineData(99, 0, "NoFaultStorm")]
    [InlineData(100, 40, "FaultStorm")]
    [InlineData(40, 100, "FaultStorm")]
    public void Take_OfEventsAndPageFaults_CountsNoFaultTwice(long events, long pageFaults, string reason) =>
        Assert.Equal(reason, new Seconds(Policy).Pass(12, (FaultSource.HostSmmuEvents, events, false), (FaultSource.IoPageFaults, pageFaults, false)).Reason);

    [Fact]
    public void Take_BeforeAFullWindow_IsNotJudged()
    {
        var seconds = new Seconds(Policy).PassOne(10, 1_000_000);
        Assert.Equal("StormNotJudged", seconds.Reason);
        Assert.Equal("FaultStorm", seconds.PassOne(1, 1_000_000).Reason);
    }

    [Theory]
    [InlineData(99, "NoFaultStorm")]
    [InlineData(100, "FaultStorm")]
    public void Take_AtTheRate_IsAStorm(long rate, string expected) => Assert.Equal(expected, new Seconds(Policy).PassOne(11, rate).Reason);

    [Theory]
    [InlineData(50, "FaultStorm")]
    [InlineData(49, "NoFaultStorm")]
    public void Take_InAStorm_EndsItBelowHalfOfTheRateOnly(long rate, string expected) => Assert.Equal(expected, new Seconds(Policy).PassOne(11, 100).PassOne(600, rate).Reason);

    [Fact]
    public void Take_InAStorm_EndsItAfterAWindowAndNotBefore()
    {
        var seconds = new Seconds(Policy).PassOne(20, 100);
        Assert.Equal("FaultStorm", seconds.PassOne(5, 0).Reason);
        Assert.Equal("NoFaultStorm", seconds.PassOne(1, 0).Reason);
    }

    [Fact]
    public void Take_OfABurstShorterThanTheWindow_CountsTheWindow() => Assert.Equal("NoFaultStorm", new Seconds(Policy).PassOne(11, 0).PassOne(1, 999).PassOne(20, 0).Reason);

    [Fact]
    public void Take_OfACounterThatStartedAgain_BeginsTheWindowAnew()
    {
        var seconds = new Seconds(OfOne).PassOne(8, 1000).Restart().PassOne(10, 1000);
        Assert.Equal("StormNotJudged", seconds.Reason);
        Assert.Equal("FaultStorm", seconds.PassOne(1, 1000).Reason);
    }

    [Fact]
    public void Take_AfterABreak_NeitherBeginsNorEndsAStormWithinAWindow()
    {
        Assert.Equal("StormNotJudged", new Seconds(OfOne).PassOne(8, 1000).PassUnsampled(5).PassOne(10, 1000).Reason);
        Assert.Equal("StormNotJudged", new Seconds(OfOne).PassOne(8, 1000).PassBlind(1).PassOne(10, 1000).Reason);
        Assert.Equal("FaultStorm", new Seconds(OfOne).PassOne(11, 1000).PassUnsampled(5).PassOne(10, 0).Reason);
        Assert.Equal("FaultStorm", new Seconds(OfOne).PassOne(11, 1000).PassBlind(9).PassOne(10, 0).Reason);
        Assert.Equal("NoFaultStorm", new Seconds(OfOne).PassOne(11, 1000).PassBlind(9).PassOne(11, 0).Reason);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1000)]
    public void Take_WhenNothingCanBeRead_IsUnknownAfterTwoWindowsAndSaysWhy(long before)
    {
        var seconds = new Seconds(OfOne).PassOne(11, before);
        Assert.NotEqual("StormUnobserved", seconds.PassBlind(24).Reason);
        seconds.PassBlind(1);
        Assert.Equal(("StormUnobserved", ConditionStatus.Unknown), (seconds.Reason, seconds.Judgement.Reason.Status));
        Assert.Equal("guest.minorFaults: AgentSilent.", seconds.Judgement.Detail);
    }

    [Fact]
    public void Take_OfSourcesThatNobodyTells_IsUnknownAndNamesThem()
    {
        var seconds = new Seconds(Policy).Pass(30, (FaultSource.GuestMinor, 1_000_000, false));
        Assert.Equal("StormUnobserved", seconds.Reason);
        Assert.Contains("io.pageFaults: not told here", seconds.Judgement.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void Take_OfALowerBound_ProvesAStormAndNeverThatThereIsNone()
    {
        var seconds = new Seconds(Policy).Pass(11, (FaultSource.HostSmmuEvents, 150, true));
        Assert.Equal("FaultStorm", seconds.Reason);
        Assert.Equal("It was at least 150 a second over 10 s; the policy's is 100 over 10 s. Counted: hostSmmu.events (emulated).", seconds.Judgement.Detail);
        Assert.Equal("StormOnlyLowerBound", seconds.Pass(20, (FaultSource.HostSmmuEvents, 1, true)).Reason);
    }

    [Fact]
    public void Take_OfWhatIsReadNoMore_IsALowerBound()
    {
        var seconds = new Seconds(Policy).Pass(11, (FaultSource.SmmuEvents, 1, false), (FaultSource.IoPageFaults, 1, false));
        Assert.Equal("NoFaultStorm", seconds.Reason);
        Assert.Equal("StormOnlyLowerBound", seconds.Pass(1, (FaultSource.IoPageFaults, 1, false)).Reason);
    }

    [Fact]
    public void Take_WithoutASource_CountsTheMostOfWhatDevicesDo()
    {
        var seconds = new Seconds(Policy).Pass(11, (FaultSource.SmmuEvents, 40, false), (FaultSource.HostSmmuEvents, 100, false), (FaultSource.GuestMinor, 1_000_000, false));
        Assert.Equal("It was at least 100 a second over 10 s; the policy's is 100 over 10 s. Counted: smmu.events, hostSmmu.events (emulated).", seconds.Judgement.Detail);
        // An event of a nested SMMU is told by the host's and by the guest's, and is one.
        Assert.Equal("NoFaultStorm", new Seconds(Policy).Pass(11, (FaultSource.SmmuEvents, 60, false), (FaultSource.HostSmmuEvents, 60, false)).Reason);
    }

    [Fact]
    public void Take_AfterARestartOfTheWorker_KeepsTheStormUntilAWindowIsJudged()
    {
        var seconds = new Seconds(Policy, ConditionReasons.FaultStorm).PassOne(10, 60);
        Assert.Equal("FaultStorm", seconds.Reason);
        // The hysteresis goes on, too.
        Assert.Equal("FaultStorm", seconds.PassOne(60, 60).Reason);
        Assert.Equal("NoFaultStorm", new Seconds(Policy, ConditionReasons.FaultStorm).PassOne(11, 49).Reason);
    }

    [Fact]
    public void Take_OfAnyConstantRate_IsWhatThePolicySays() => Gen.Select(Gen.Int[5, 3600], Gen.Int[1, 1000], Gen.Int[0, 2000]).Sample((window, limit, rate) =>
        new Seconds(new StormPolicy(limit, window, StormAction.None, null)).PassOne(window + (window / 60) + 2, rate).Reason == (rate >= limit ? "FaultStorm" : "NoFaultStorm"), iter: 300);

    /// <summary>A step: how long after the one before, and what each of two sources does: null, or from where it goes on.</summary>
    private static readonly Gen<(int Pause, Move A, Move B)[]> Runs = Gen.Select(
        Gen.Frequency((30, Gen.Const(1)), (2, Gen.Int[2, 5]), (1, Gen.Int[6, 9])), Moves(), Moves()).Array[0, 120];

    private readonly record struct Move(bool Told, bool Restarts, bool LowerBound, long Added);

    private static Gen<Move> Moves() => Gen.Select(
        Gen.Frequency((12, Gen.Const(true)), (1, Gen.Const(false))), Gen.Frequency((40, Gen.Const(false)), (1, Gen.Const(true))), Gen.Frequency((20, Gen.Const(false)), (1, Gen.Const(true))),
        Gen.Frequency((3, Gen.Long[0, 4]), (1, Gen.Long[5, 40]))).Select((told, restarts, bound, added) => new Move(told, restarts, bound, added));

    /// <summary>An interval between two samples as anybody would write it down: what was counted in it, null for a break, and whether all of it was.</summary>
    private readonly record struct Interval(int From, int To, long? Added, bool Complete);

    [Fact]
    public void Take_OfAnything_SaysWhatTheLastFullWindowShows() => Runs.Sample(run =>
    {
        var policy = new StormPolicy(10, 8, StormAction.None, null);
        var detector = new StormDetector(policy, ConditionReasons.StormNotJudged);
        string[] sources = [FaultSource.SmmuEvents, FaultSource.HostSmmuEvents];
        var (at, judgedAt, expected) = (0, -1, ConditionReasons.StormNotJudged);
        var (values, before, ever) = (new long[2], new long?[2], new bool[2]);
        var intervals = new List<Interval>();
        foreach (var (pause, a, b) in run)
        {
            var interval = new Interval(at, at += pause, null, true);
            var (readings, grown) = (new List<SourceReading>(), new List<long>());
            foreach (var (i, move) in ((Move[])[a, b]).Index())
            {
                values[i] = move.Restarts ? 0 : values[i] + move.Added;
                long? value = move.Told ? values[i] : null;
                readings.Add(new SourceReading(sources[i], value, value is null ? "TraceOff" : null, move.LowerBound && value is not null, Origin.Simulated));
                ever[i] |= value is not null;
                var known = pause <= 5 && value is not null && before[i] <= value;
                interval = interval with
                {
                    Complete = interval.Complete && (!ever[i] || (known && !move.LowerBound)),
                };
                if (known)
                    grown.Add(value!.Value - before[i]!.Value);
                before[i] = value;
            }
            intervals.Add(interval = interval with { Added = grown.Count == 0 ? null : grown.Max(), Complete = interval.Complete && grown.Where(g => g > 0).Distinct().Count() <= 1 });
            if (judgedAt < 0)
                judgedAt = at;
            if (LastWindow(intervals, policy) is { } window)
                (expected, judgedAt) = (Judge(expected, policy, window), at);
            else if (at - judgedAt >= (2 * policy.WindowSeconds) + 5)
                expected = ConditionReasons.StormUnobserved;
            Assert.Equal(expected, detector.Take(TimeSpan.FromSeconds(at), readings).Reason);
        }
    }, iter: 10_000);

    /// <summary>The shortest that ends now, is at least as long as the policy's and has no break.</summary>
    private static List<Interval>? LastWindow(List<Interval> intervals, StormPolicy policy)
    {
        var whole = intervals.AsEnumerable().Reverse().TakeWhile(i => i.Added is not null).ToList();
        var count = whole.FindIndex(i => intervals[^1].To - i.From >= policy.WindowSeconds) + 1;
        return count == 0 ? null : whole[..count];
    }

    private static ConditionReason Judge(ConditionReason before, StormPolicy policy, List<Interval> window)
    {
        var rate = (double)window.Sum(i => i.Added!.Value) / (window[0].To - window[^1].From);
        return rate >= (before == ConditionReasons.FaultStorm ? policy.PerSecond / 2 : policy.PerSecond) ? ConditionReasons.FaultStorm
            : window.TrueForAll(i => i.Complete) ? ConditionReasons.NoFaultStorm
            : ConditionReasons.StormOnlyLowerBound;
    }
}
