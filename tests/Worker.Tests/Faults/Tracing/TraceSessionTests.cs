using CsCheck;
using Worker.Faults;
using Worker.Faults.Tracing;
using Xunit;

namespace Worker.Tests.Faults.Tracing;

public sealed class TraceSessionTests
{
    private const string Name = "sandbox_ab12", Other = "sandbox_ab";
    private static readonly TracePlan Plan = HostTracePlan.For(new Version(7, 3));
    private readonly FakeTracefs _tracefs = new();

    private TraceSession Begin(TracePlan? plan = null)
    {
        var session = new TraceSession(_tracefs, Name);
        session.SetUp(plan ?? Plan);
        return session;
    }

    private static Dictionary<string, string?> Problems(TraceSession session) => session.Read(0).Tables.ToDictionary(t => t.Name, t => t.Problem);

    [Fact]
    public void SetUp_OfAll_CountsAll()
    {
        var session = Begin();
        Assert.Empty(session.Said);
        Assert.All(Problems(session), table => Assert.Null(table.Value));
        Assert.Equal(5, session.Read(0).Tables.Count);
        Assert.False(session.IsFull);
    }

    [Theory]
    [InlineData("arm_smmu_handle_event", new[] { "smmu_events" })]
    [InlineData("iommu_report_device_fault", new[] { "page_faults", "page_times" })]
    [InlineData("arm_smmu_page_response", new[] { "page_answers", "page_times" })]
    public void SetUp_WhenOneFunctionIsNotThere_TheOthersCount(string function, string[] lost)
    {
        _tracefs.Functions.Remove(function);
        Assert.Equal(lost.Order(), Problems(Begin()).Where(t => t.Value == NullReasons.TracePointMissing).Select(t => t.Key).Order());
        Assert.Equal(5 - lost.Length, Problems(Begin()).Count(t => t.Value is null));
    }

    [Fact]
    public void SetUp_WhenAFunctionCannotBeProbed_SaysSo()
    {
        _tracefs.Unprobeable.Add("arm_smmu_handle_event");
        var session = Begin();
        Assert.Equal(NullReasons.TracingUnavailable, Problems(session)["smmu_events"]);
        Assert.Contains("arm_smmu_handle_event", Assert.Single(session.Said), StringComparison.Ordinal);
    }

    [Fact]
    public void SetUp_WithoutTheKernelsEvent_MissesIt()
    {
        _tracefs.KernelEvents.Clear();
        Assert.Equal((NullReasons.TracePointMissing, null), Problems(Begin()) is var problems ? (problems["guest_faults"], problems["smmu_events"]) : default);
    }

    [Fact]
    public void SetUp_WithoutHistograms_CountsNothing()
    {
        _tracefs.HasHistograms = false;
        Assert.All(Problems(Begin()), table => Assert.Equal(NullReasons.TracingUnavailable, table.Value));
    }

    [Fact]
    public void TearDown_AfterAll_LeavesOnlyWhatIsOthers()
    {
        var other = new TraceSession(_tracefs, Other);
        other.SetUp(Plan);
        _tracefs.Write(TraceCommands.Probes, "p:kprobes/mine ksys_read");
        var before = _tracefs.State.Order().ToList();
        var session = Begin();
        Assert.NotEqual(before, _tracefs.State.Order());
        Assert.Empty(session.TearDown());
        Assert.Equal(before, _tracefs.State.Order());
        Assert.Empty(other.TearDown());
        Assert.Equal(["p:kprobes/mine ksys_read"], _tracefs.State);
    }

    [Fact]
    public void TearDown_WhereverTheKeeperBeforeWasKilled_LeavesNothing()
    {
        var whole = new FakeTracefs();
        var all = new TraceSession(whole, Name);
        all.SetUp(Plan);
        all.TearDown();
        Gen.Int[0, whole.Changes].Sample(changes =>
        {
            var tracefs = new FakeTracefs { ChangesLeft = changes };
            try
            {
                var killed = new TraceSession(tracefs, Name);
                killed.SetUp(Plan);
                killed.TearDown();
            }
            catch (FakeTracefs.KilledException)
            {
                // As SIGKILL: nothing of it runs any more.
            }
            tracefs.ChangesLeft = int.MaxValue;
            Assert.Empty(new TraceSession(tracefs, Name).TearDown());
            Assert.Empty(tracefs.State);
        });
    }

    [Fact]
    public void Read_TellsARowOnlyWhenItHasChanged()
    {
        var session = Begin();
        var count = 1;
        _tracefs.SetHistogram("kvm_guest_fault", () => FakeTracefs.Histogram("common_pid", 0, $"{{ common_pid:  7 }} hitcount: {count}", "{ common_pid:  8 }  hitcount: 3"));
        TraceTableReport Read() => session.Read(0).Tables.Single(t => t.Name == "guest_faults");
        Assert.Equal(2, Read().Rows.Count);
        Assert.Empty(Read().Rows);
        count = 2;
        Assert.Equal(("7", 2L), Assert.Single(Read().Rows) is var row ? (row.Keys[0], row.Count) : default);
    }

    [Fact]
    public void Read_OfAFullTable_SaysWhatIsLost()
    {
        var session = Begin();
        _tracefs.Profile = "  smmu_event   9   4\n";
        _tracefs.SetHistogram("smmu_event", () => FakeTracefs.Histogram("dev,id,sid-decoded", 2, "{ dev: evil{, id: 1, sid-decoded: 0 } hitcount: 1"));
        Assert.Equal(2 + 1 + 4, session.Read(0).Tables.Single(t => t.Name == "smmu_events").Lost);
        Assert.True(session.IsFull);
    }

    [Fact]
    public void Read_WhenBeginningsWereLost_TellsItWithTheTimes_AndBeginsTheirTableAnewAlone()
    {
        var session = Begin();
        var (before, dropped) = (_tracefs.State.Order().ToList(), 5);
        _tracefs.SetHistogram("page_raised", () => FakeTracefs.Histogram("name", 0) + "\n\n" + FakeTracefs.Histogram("dev,grp", dropped));
        _tracefs.Order.Clear();
        long Lost() => session.Read(0).Tables.Single(t => t.Name == "page_times").Lost;
        Assert.Equal((5L, false), (Lost(), session.IsFull));
        Assert.Equal(4, _tracefs.Order.Count);
        Assert.Equal(["!", "!", "h", "h"], _tracefs.Order.Select(change => change[(change.IndexOf(": ", StringComparison.Ordinal) + 2)..][..1]));
        Assert.Equal(before, _tracefs.State.Order().ToList());
        dropped = 0;
        Assert.All(Enumerable.Range(0, 20).Select(_ => Lost()), lost => Assert.Equal(5, lost));
        dropped = 2;
        Assert.Contains(7L, Enumerable.Range(0, 10).Select(_ => Lost()).ToList());
    }

    [Theory]
    [InlineData("# event histogram\n#\n# trigger info: hist:keys=dev,grp:vals=hitcount:sort=hitcount:size=2048 [active]\n#\n\n\nTotals:\n    Hits: 1\n    Entries: 0\n    Dropped: 3\n", 3)]
    [InlineData("nonsense", 1)]
    public void Read_WhenEndsWereLostOrMayBe_TellsItWithTheTimes(string ends, long lost)
    {
        var session = Begin();
        _tracefs.SetHistogram("page_answered", () => FakeTracefs.Histogram("name,code", 0) + "\n\n" + ends);
        Assert.Equal(lost, session.Read(0).Tables.Single(t => t.Name == "page_times").Lost);
    }

    [Theory]
    [InlineData("hist:keys=dev,grp:vals=hitcount:began_page_times=common_timestamp.usecs:sort=hitcount:size=8192:clock=global if flags & 2 [active]", true)]
    [InlineData("hist:keys=name:vals=hitcount:sort=hitcount:size=2048 if flags & 2 [active]", false)]
    [InlineData("hist:keys=dev,grp:vals=hitcount:label_page_times=name,took_page_times=common_timestamp.usecs-$began_page_times:sort=hitcount:size=8192 [active]", false)]
    [InlineData("# Available triggers:", false)]
    [InlineData("", false)]
    public void IsSame_OfATriggerWithTheKernelsDefaults_KnowsIt(string shown, bool same) =>
        Assert.Equal(same, TraceCommands.IsSame(shown, "hist:keys=dev,grp:began_page_times=common_timestamp.usecs:size=8192 if flags & 2"));

    [Fact]
    public void Read_WhenTheKernelLetsTheTableNotBeginAnew_AnotherKeeperIsToBegin_AndNothingElseIsLost()
    {
        var session = Begin();
        _tracefs.SetHistogram("page_raised", () => FakeTracefs.Histogram("name", 0) + "\n\n" + FakeTracefs.Histogram("dev,grp", 5));
        _tracefs.HasHistograms = false;
        Assert.All(session.Read(0).Tables, table => Assert.Null(table.Problem));
        Assert.True(session.IsFull);
        Assert.Contains("page_times", Assert.Single(session.Said), StringComparison.Ordinal);
    }

    [Fact]
    public void Read_OfAHistogramThatCannotBeRead_IsNoCount()
    {
        var session = Begin();
        _tracefs.SetHistogram("smmu_event", () => "");
        Assert.Equal(NullReasons.TracingUnavailable, Problems(session)["smmu_events"]);
        Assert.Null(Problems(session)["guest_faults"]);
    }
}
