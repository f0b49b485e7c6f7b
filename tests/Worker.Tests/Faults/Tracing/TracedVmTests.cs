using Microsoft.Extensions.Logging.Abstractions;
using Worker.Channels;
using Worker.Faults;
using Worker.Faults.Tracing;
using Worker.Hardware.Pci;
using Xunit;

namespace Worker.Tests.Faults.Tracing;

public sealed class TracedVmTests : IDisposable
{
    private const string Mine = "0000:01:00.0", Other = "0000:02:00.0";
    private readonly TemporaryDirectory _root = new();
    private readonly Clock _clock = new();
    private readonly KernelTrace _trace;
    private readonly Dictionary<string, List<TraceRow>> _rows = [];
    private readonly Dictionary<string, long> _lost = [];
    private readonly Dictionary<string, string> _problems = [];
    private TraceSnapshot _snapshot = TraceSnapshot.Of(1);

    public TracedVmTests() => _trace = new KernelTrace(null, _root.FullPath, TracePlan.Nothing, _clock, NullLogger.Instance);

    public void Dispose() => _root.Dispose();

    private sealed class Clock : TimeProvider
    {
        public long Ticks { get; set; } = 1000;
        public override long GetTimestamp() => Ticks;
        public override long TimestampFrequency => 1_000_000_000;
    }

    private string State => _root.Of("traced.state");

    private static IReadOnlyList<PciAddress> Functions => [PciAddress.TryParse(Mine, out var address) ? address : default];

    private RareWarning Trouble => new(_clock, NullLogger.Instance, "test");

    private TracedVm Begin() => TracedVm.Begin(_trace, Functions, State, Trouble);

    private TracedVm GoOn() => TracedVm.GoOn(_trace, Functions, State, Trouble);

    private void Add(string table, long count, params string[] keys)
    {
        var rows = _rows.TryGetValue(table, out var known) ? known : _rows[table] = [];
        var before = rows.FirstOrDefault(row => row.Keys.SequenceEqual(keys));
        rows.RemoveAll(row => row.Keys.SequenceEqual(keys));
        rows.Add(new TraceRow(keys, (before?.Count ?? 0) + count, (before?.Sum ?? 0) + (count * 100)));
    }

    private void Event(int count = 1, string function = Mine, string difference = "0", string id = "16") => Add(HostTracePlan.SmmuEvents, count, function, id, difference);

    /// <summary>The keeper tells what there is now.</summary>
    private void Tell()
    {
        _clock.Ticks += 10;
        string[] tables = [HostTracePlan.SmmuEvents, HostTracePlan.PageFaults, HostTracePlan.Answers, HostTracePlan.AnswerTimes, HostTracePlan.GuestFaults];
        _snapshot = _snapshot.With(new TraceReport(_clock.Ticks, [.. tables.Select(t => new TraceTableReport(t, _problems.GetValueOrDefault(t), _problems.ContainsKey(t) ? [] : _rows.GetValueOrDefault(t, []), _lost.GetValueOrDefault(t)))]));
        _clock.Ticks += 10;
        _trace.Show(_snapshot);
    }

    private void NewKeeper()
    {
        _rows.Clear();
        _snapshot = TraceSnapshot.Of(_snapshot.Session + 1);
        _trace.Show(null);
    }

    private static TracedVm Read(TracedVm vm, params string[] threads)
    {
        vm.Update(threads);
        return vm;
    }

    private static (long Events, string? Reason, bool Exact) Events(TracedVm vm) => (vm.Counts.SmmuEvents.Values.Sum(), vm.SmmuEvents.Reason, vm.SmmuEvents.IsExact);

    [Fact]
    public void Update_WhenTracedSinceBefore_IsExactAndCountsOnlyItsOwn()
    {
        Event(7);
        Event(3, Other);
        Tell();
        var vm = Begin();
        Assert.Equal((0L, NullReasons.TracingNotReady, false), Events(Read(vm)));
        Tell();
        Assert.Equal((0L, null, true), Events(Read(vm)));
        Event(2);
        Event(5, Other);
        Event(1, Mine, id: "19");
        Tell();
        Assert.Equal((3L, null, true), Events(Read(vm)));
        Assert.Equal(new Dictionary<string, long> { ["F_TRANSLATION"] = 2, ["F_PERMISSION"] = 1 }, vm.Counts.SmmuEvents);
    }

    [Fact]
    public void Update_WhenSomethingHappenedAroundTheBeginning_LeavesItOutAndIsALowerBound()
    {
        Tell();
        Event(4);
        var vm = Begin();
        Tell();
        Assert.Equal((0L, null, false), Events(Read(vm)));
        Assert.True(vm.PageFaults.IsExact);
        Event(2);
        Tell();
        Assert.Equal((2L, null, false), Events(Read(vm)));
    }

    [Fact]
    public void Update_WhenTracedOnlySinceLater_IsALowerBound()
    {
        var vm = Begin();
        Tell();
        Event();
        Read(vm);
        Tell();
        Assert.Equal((1L, null, false), Events(Read(vm)));
        Assert.False(vm.GuestFaults.IsExact);
    }

    [Fact]
    public void Update_AfterAnotherKeeperBegan_GoesOnAsALowerBound()
    {
        Tell();
        var vm = Begin();
        Tell();
        Read(vm);
        Event(5);
        Tell();
        Assert.Equal((5L, null, true), Events(Read(vm)));
        NewKeeper();
        Assert.Equal((5L, NullReasons.TracingNotReady, false), Events(Read(vm)));
        Event(2);
        Tell();
        Assert.Equal((5L, null, false), Events(Read(vm)));
        Event(1);
        Tell();
        Assert.Equal((6L, null, false), Events(Read(vm)));
    }

    [Fact]
    public void Update_WhenTheKeeperIsLate_MissesNothing()
    {
        Tell();
        var vm = Begin();
        Tell();
        Read(vm);
        _clock.Ticks += 11_000_000_000;
        Assert.Equal((0L, NullReasons.TracingNotReady, false), Events(Read(vm)));
        Event();
        Tell();
        Assert.Equal((1L, null, true), Events(Read(vm)));
    }

    [Fact]
    public void GoOn_AfterTheWorkerWasKilled_KeepsTheCountAsALowerBound()
    {
        Tell();
        var vm = Begin();
        Tell();
        Read(vm);
        Event(3);
        Add(HostTracePlan.GuestFaults, 8, "77");
        Tell();
        Read(vm, "77");
        NewKeeper();
        Add(HostTracePlan.GuestFaults, 100, "77");
        var next = GoOn();
        Tell();
        Assert.Equal((3L, null, false), Events(Read(next, "77")));
        Add(HostTracePlan.GuestFaults, 4, "77");
        Event(1);
        Tell();
        Assert.Equal((4L, null, false), Events(Read(next, "77")));
        Assert.Equal((12L, false), (next.Counts.GuestFaults, next.GuestFaults.IsExact));
        // And a new guest begins anew.
        Assert.Equal(0L, Read(Begin()).Counts.GuestFaults);
    }

    [Theory]
    [InlineData("")]
    [InlineData("{\"smmuEvents\":{\"F_TRANSLATION\":-1}}")]
    [InlineData("null")]
    public void GoOn_FromARecordThatIsNone_BeginsAtZeroAsALowerBound(string record)
    {
        File.WriteAllText(State, record);
        Tell();
        var vm = GoOn();
        Tell();
        Assert.Equal((0L, null, false), Events(Read(vm)));
    }

    [Fact]
    public void Update_WhenALossIsKnown_IsALowerBoundFromThenOn()
    {
        Tell();
        var vm = Begin();
        Tell();
        Assert.True(Read(vm).SmmuEvents.IsExact);
        _lost[HostTracePlan.SmmuEvents] = 1;
        Tell();
        Assert.False(Read(vm).SmmuEvents.IsExact);
        Assert.True(vm.GuestFaults.IsExact && vm.PageFaults.IsExact);
        Tell();
        Assert.False(Read(vm).SmmuEvents.IsExact);
        // What was lost before a guest is not its loss.
        var next = Begin();
        Tell();
        Assert.True(Read(next).SmmuEvents.IsExact);
    }

    [Theory]
    [InlineData("")]
    [InlineData("(fault)")]
    public void Update_WhenAnEventNamesNobody_ItMayBeOurs(string name)
    {
        Tell();
        var vm = Begin();
        Tell();
        Read(vm);
        Event(1, name);
        Tell();
        Assert.Equal((0L, null, false), Events(Read(vm)));
    }

    [Fact]
    public void Update_WhenTheKernelLaysItsEventOutOtherwise_IsNoCount()
    {
        Tell();
        var vm = Begin();
        Tell();
        Read(vm);
        Event(1, Mine, difference: "256");
        Tell();
        Assert.Equal((NullReasons.TracePointMissing, false), (Read(vm).SmmuEvents.Reason, vm.SmmuEvents.IsExact));
        Assert.Null(vm.GuestFaults.Reason);
    }

    [Fact]
    public void Update_WhenOneTableCannotBe_TheOthersCount()
    {
        _problems[HostTracePlan.AnswerTimes] = NullReasons.TracePointMissing;
        Tell();
        var vm = Begin();
        Tell();
        Assert.Equal((NullReasons.TracePointMissing, null, null), (Read(vm).PageFaults.Reason, vm.SmmuEvents.Reason, vm.GuestFaults.Reason));
    }

    [Fact]
    public void Update_OfPageFaults_HasOutcomesAndTimes()
    {
        Tell();
        var vm = Begin();
        Tell();
        Read(vm);
        Add(HostTracePlan.PageFaults, 6, Mine);
        Add(HostTracePlan.PageFaults, 9, Other);
        Add(HostTracePlan.Answers, 3, Mine, "0");
        Add(HostTracePlan.Answers, 2, Mine, "1");
        Add(HostTracePlan.Answers, 1, Mine, "2");
        Add(HostTracePlan.AnswerTimes, 4, Mine, "7");
        Add(HostTracePlan.AnswerTimes, 1, Mine, "0");
        Add(HostTracePlan.AnswerTimes, 1, Mine, "33");
        Add(HostTracePlan.AnswerTimes, 5, Other, "7");
        Tell();
        var counts = Read(vm).Counts;
        Assert.Equal((6L, 3L, 2L, 1L), (counts.PageFaults, counts.Success, counts.Invalid, counts.Failure));
        Assert.Equal((1L, 4L, 1L, 600_000L), (counts.Times.Counts[0], counts.Times.Counts[7], counts.Times.Counts[21], counts.Times.SumNanoseconds));
        Assert.True(counts.Times.IsWellFormed);
    }

    [Fact]
    public void Update_OfThreads_CountsThemWhileTheyAreTheVmms()
    {
        Add(HostTracePlan.GuestFaults, 50, "77");
        Tell();
        var vm = Begin();
        // Its first vCPU has the number of a thread that was another's.
        Add(HostTracePlan.GuestFaults, 2, "77");
        Add(HostTracePlan.GuestFaults, 3, "78");
        Add(HostTracePlan.GuestFaults, 9, "99");
        Tell();
        Assert.Equal((5L, true), (Read(vm, "76", "77", "78").Counts.GuestFaults, vm.GuestFaults.IsExact));
        Add(HostTracePlan.GuestFaults, 1, "78");
        Tell();
        Assert.Equal(6L, Read(vm, "76", "77", "78").Counts.GuestFaults);
        Read(vm, "76", "77");
        Add(HostTracePlan.GuestFaults, 70, "78");
        Tell();
        Assert.Equal(6L, Read(vm, "76", "77").Counts.GuestFaults);
    }

    [Fact]
    public void Update_WhenThreadsCannotBeListedOrComeBack_CountsNothingTwice()
    {
        Tell();
        var vm = Begin();
        Add(HostTracePlan.GuestFaults, 5, "77");
        Tell();
        Assert.Equal(5L, Read(vm, "77").Counts.GuestFaults);
        Add(HostTracePlan.GuestFaults, 2, "77");
        Tell();
        vm.Update(null);
        Assert.Equal(7L, vm.Counts.GuestFaults);
        Assert.Equal(7L, Read(vm, "77").Counts.GuestFaults);
        // A listing that lacks it, and the next that has it again.
        Read(vm, "78");
        Add(HostTracePlan.GuestFaults, 1, "77");
        Tell();
        Assert.Equal(8L, Read(vm, "77", "78").Counts.GuestFaults);
        Read(vm, "78");
        Read(vm, "77");
        Assert.Equal(8L, Read(vm, "78").Counts.GuestFaults);
    }

    [Theory]
    [InlineData(null, true, null, false, 5, true)]
    [InlineData(null, true, "KernelLogNamesNoDevice", false, 5, true)]
    [InlineData(null, false, null, false, 5, true)]
    [InlineData(null, true, null, true, 5, true)]
    [InlineData("TracingNotReady", false, null, false, 5, true)]
    [InlineData("TracePointMissing", false, "KernelLogUnreadable", false, null, true)]
    public void Joined_IsTheLargerAndNeverTheSum(string? traced, bool exact, string? logged, bool merges, int? translations, bool lowerBound)
    {
        var read = VmTracing.Joined(
            new TracedState(traced, exact), new Dictionary<string, long> { ["F_TRANSLATION"] = 5, ["F_WALK_EABT"] = 2 },
            new HostSmmuReading(new Dictionary<string, long> { ["F_TRANSLATION"] = 4, ["C_BAD_STE"] = 1, ["UNKNOWN"] = 3 }, logged) { MayHaveLost = false }, merges);
        if (translations is null)
            Assert.Equal(logged, read.Reason);
        else
            Assert.Equal(((long)translations, 2L, 1L, 1L, lowerBound), (read.Events["F_TRANSLATION"], read.Events["F_WALK_EABT"], read.Events["C_BAD_STE"], read.Events["UNKNOWN"], read.LowerBound));
    }

    [Theory]
    [InlineData(5, 4, true, false, false, false)]
    [InlineData(5, 5, true, false, false, false)]
    [InlineData(0, 1, true, false, false, true)]
    [InlineData(5, 4, false, false, false, true)]
    [InlineData(5, 4, true, true, false, true)]
    [InlineData(5, 4, true, false, true, true)]
    public void Joined_IsExact_OnlyWhileTheTraceHasAllThatTheLogHas(int traced, int logged, bool exact, bool merges, bool overflow, bool lowerBound)
    {
        static Dictionary<string, long> Events(int count) => count == 0 ? [] : new() { ["F_TRANSLATION"] = count };
        var read = VmTracing.Joined(new TracedState(null, exact), Events(traced), new HostSmmuReading(Events(logged), null) { MayHaveLost = overflow }, merges);
        Assert.Equal((Math.Max(traced, logged), lowerBound), (read.Events["F_TRANSLATION"], read.LowerBound));
    }

    [Fact]
    public void Joined_WhenTheQueueWasFull_IsALowerBound() => Assert.True(VmTracing.Joined(
        new TracedState(null, true), new Dictionary<string, long>(), new HostSmmuReading(new Dictionary<string, long>(), null) { MayHaveLost = true }, false).LowerBound);

    [Theory]
    [InlineData(-1, 0, "0000:01:00.0")]
    [InlineData(0, -1, "0000:01:00.0")]
    [InlineData(0, 0, "a|b")]
    public void With_OfWhatCannotBe_IsRefused(long count, long sum, string key) => Assert.Throws<InvalidDataException>(() =>
        TraceSnapshot.Of(1).With(new TraceReport(1, [new TraceTableReport("t", null, [new TraceRow([key], count, sum)], 0)])));

    [Fact]
    public void With_OfAnUnknownProblem_IsRefused() => Assert.Throws<InvalidDataException>(() => TraceSnapshot.Of(1).With(new TraceReport(1, [new TraceTableReport("t", "Evil", [], 0)])));
}
