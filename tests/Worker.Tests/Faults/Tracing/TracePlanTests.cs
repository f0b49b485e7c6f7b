using Worker.Faults.Tracing;
using Xunit;

namespace Worker.Tests.Faults.Tracing;

public sealed class TracePlanTests
{
    private static readonly TraceProbe Read = new("t_in", "ksys_read", false, [new("label", "$comm", "string")]);
    private static readonly TraceProbe Return = new("t_out", "ksys_read", true, [new("label", "$comm", "string"), new("ret", "$retval", "s64")]);
    private static readonly TraceTable Table = new("reads", "t_in", ["label"], null, 128);
    private static readonly TraceLatency Latency = new("times", "t_in", "t_out", ["common_pid"], "label", null, 1024);

    private static TracePlan With(TraceProbe? probe = null, TraceTable? table = null, TraceLatency? latency = null) => new([probe ?? Read, Return], [table ?? Table], [latency ?? Latency]);

    [Theory]
    [InlineData("7.3")]
    [InlineData("6.10")]
    [InlineData("5.10")]
    [InlineData(null)]
    public void Problems_OfWhatIsTracedOnAHost_AreNone(string? kernel)
    {
        var plan = HostTracePlan.For(kernel is null ? null : Version.Parse(kernel));
        Assert.Empty(plan.Problems());
        Assert.Equal(kernel == "7.3", plan.Tables.Any(t => t.Name == HostTracePlan.SmmuEvents));
        Assert.Equal(kernel is "7.3" or "6.10", plan.Latencies.Count == 1);
        Assert.Contains(plan.Tables, t => t.Name == HostTracePlan.GuestFaults);
    }

    [Fact]
    public void For_WhereThreadsHaveOtherNumbers_CountsNoneByThem() => Assert.DoesNotContain(HostTracePlan.For(new Version(7, 3), knowsThreads: false).Tables, t => t.Name == HostTracePlan.GuestFaults);

    [Fact]
    public void Problems_OfATestsPlan_AreNone() => Assert.Empty(With().Problems());

    public static TheoryData<string, object> Refused => new()
    {
        { "a name of two lines", With(Read with { Name = "a\nb" }) },
        { "a name that ends its line", With(Read with { Name = "t_in\n" }) },
        { "a name of another group", With(Read with { Name = "a/b" }) },
        { "no name", With(Read with { Name = null! }) },
        { "a long name", With(Read with { Name = new string('a', 25) }) },
        { "a function with an offset", With(Read with { Function = "ksys_read+4" }) },
        { "a function and more", With(Read with { Function = "ksys_read p:x/y z" }) },
        { "a long function", With(Read with { Function = new string('a', 65) }) },
        { "a register", With(Read with { Fields = [new("a", "%x0", "x64")] }) },
        { "a bracket left open", With(Read with { Fields = [new("a", "+0(+8($arg1)", "x64")] }) },
        { "a bracket too many", With(Read with { Fields = [new("a", "+0($arg1))", "x64")] }) },
        { "memory by its address", With(Read with { Fields = [new("a", "@0xffff", "x64")] }) },
        { "an unknown type", With(Read with { Fields = [new("a", "$arg1", "symbol")] }) },
        { "many fields", With(Read with { Fields = [.. Enumerable.Range(0, 9).Select(n => new TraceField($"a{n}", "$arg1", "x64"))] }) },
        { "an event that is not there", With(table: Table with { Event = "t_no" }) },
        { "an event by a path", With(table: Table with { Event = "kvm:../../x" }) },
        { "no keys", With(table: Table with { Keys = [] }) },
        { "four keys", With(table: Table with { Keys = ["a", "b", "c", "d"] }) },
        { "a key with a trigger", With(table: Table with { Keys = ["a:traceoff"] }) },
        { "a filter of more", With(table: Table with { Filter = new("a || b", 1) }) },
        { "a filter of nothing", With(table: Table with { Filter = new("a", 0) }) },
        { "a size that is no power", With(table: Table with { Size = 1000 }) },
        { "a large size", With(table: Table with { Size = 32768 }) },
        { "a latency from the kernel's event", With(latency: Latency with { In = "kvm:kvm_guest_fault" }) },
        { "a label with an action", With(latency: Latency with { Label = "x,snapshot" }) },
        { "one name for two", With(table: Table with { Name = "times" }) },
        { "two counts by the same keys", With(table: Table with { Keys = ["common_pid"] }) },
        { "a part that is null", new TracePlan([null!], [null!], [null!]) },
        { "no parts", new TracePlan(null!, null!, null!) },
    };

    [Theory]
    [MemberData(nameof(Refused))]
    public void Problems_OfWhatCouldSayMore_AreTold(string what, object plan) => Assert.True(((TracePlan)plan).Problems().Any(), what);

    [Fact]
    public void SetUp_IsInTheKernelsWords()
    {
        const string name = "sandbox_ab";
        var plan = HostTracePlan.For(new Version(7, 3));
        Assert.Equal(new TraceCommand("kprobe_events", "p:sandbox_ab/smmu_event arm_smmu_handle_event dev=+0(+0(+40($arg3))):string id=+0($arg2):u8 sid=+4($arg2):u32 decoded=+8($arg3):u32"), TraceCommands.SetUp(name, plan.Probes[0]));
        Assert.Equal(new TraceCommand("instances/sandbox_ab/events/sandbox_ab/smmu_event/trigger", "hist:keys=dev,id,sid-decoded:size=2048"), TraceCommands.SetUp(name, plan.Tables[0]));
        Assert.Equal(new TraceCommand("instances/sandbox_ab/events/kvm/kvm_guest_fault/trigger", "hist:keys=common_pid:size=16384"), TraceCommands.SetUp(name, plan.Tables[^1]));
        Assert.Equal(
            [
                new("synthetic_events", "sandbox_ab_page_times u64 microseconds; char label[]"),
                new("instances/sandbox_ab/events/sandbox_ab/page_raised/trigger", "hist:keys=dev,grp:began_page_times=common_timestamp.usecs:size=8192 if flags & 2"),
                new("instances/sandbox_ab/events/sandbox_ab/page_answered/trigger", "hist:keys=dev,grp:label_page_times=name:took_page_times=common_timestamp.usecs-$began_page_times:size=8192:onmatch(sandbox_ab.page_raised).trace(sandbox_ab_page_times,$took_page_times,$label_page_times)"),
                new TraceCommand("instances/sandbox_ab/events/synthetic/sandbox_ab_page_times/trigger", "hist:keys=label,microseconds.log2:vals=hitcount,microseconds:size=2048"),
            ],
            TraceCommands.SetUp(name, plan.Latencies[0]));
        Assert.Equal("r:sandbox_ab/t_out ksys_read label=$comm:string ret=$retval:s64", TraceCommands.SetUp(name, Return).Text);
    }

    [Theory]
    [InlineData("hist:keys=a:vals=hitcount:sort=hitcount:size=2048 if flags & 2 [active]", "!hist:keys=a:vals=hitcount:sort=hitcount:size=2048 if flags & 2")]
    [InlineData("hist:keys=a:size=2048 [paused]\r", "!hist:keys=a:size=2048")]
    [InlineData("# Available triggers:", null)]
    [InlineData("", null)]
    public void Removal_OfATriggerAsTheKernelShowsIt(string line, string? removal) => Assert.Equal(removal, TraceCommands.Removal(line));

    [Theory]
    [InlineData("p:sandbox_ab/smmu_event arm_smmu_handle_event id=+0($arg2):u8", "-:sandbox_ab/smmu_event")]
    [InlineData("r10:sandbox_ab/t_out ksys_read ret=$retval:s64", "-:sandbox_ab/t_out")]
    [InlineData("p:sandbox_abc/smmu_event arm_smmu_handle_event", null)]
    [InlineData("p:kprobes/mine ksys_read x=sandbox_ab/", null)]
    [InlineData("", null)]
    public void RemovalOfProbe_IsOnlyOfOwn(string line, string? removal) => Assert.Equal(removal, TraceCommands.RemovalOfProbe("sandbox_ab", line));

    [Theory]
    [InlineData("sandbox_ab_times\tu64 microseconds; char[] label", "!sandbox_ab_times")]
    [InlineData("sandbox_abc_times\tu64 microseconds", null)]
    [InlineData("wakeup_latency\tu64 lat", null)]
    [InlineData("", null)]
    public void RemovalOfSynthetic_IsOnlyOfOwn(string line, string? removal) => Assert.Equal(removal, TraceCommands.RemovalOfSynthetic("sandbox_ab", line));

    [Fact]
    public void Missed_OfAProfile_IsTheLastNumber() => Assert.Equal(
        new Dictionary<string, long> { ["t_in"] = 0, ["t_out"] = 7 },
        TraceCommands.Missed("  t_in                                                       63               0\n  t_out    62    7\n  evil name  1  2\n t_out 1 3\nx\n"));
}
