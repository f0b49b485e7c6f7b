using System.Runtime.InteropServices;
using Contracts;
using Worker.Agent;
using Worker.Faults;
using Worker.Faults.Tracing;
using Xunit;

namespace Worker.Tests.Faults;

public sealed class FaultCollectorsTests
{
    private static readonly ViommuCounts Counts = new(9, new Dictionary<string, long> { ["F_TRANSLATION"] = 3, ["C_BAD_STE"] = 1 }, 50, 20, false, true, false);
    private static readonly HostSmmuReading OfHost = new(new Dictionary<string, long> { ["F_TRANSLATION"] = 2, ["F_PERMISSION"] = 1 }, null);
    private static readonly Seen All = new(null, new ToldStats(new AgentStats(1000, 110, 10), TimeSpan.Zero), (7, 2), Viommu.Smmuv3, Origin.Emulated, new ViommuReading(Counts, null, null, null), HostSmmuReading.None, Origin.Hardware);

    /// <summary>What a VM's collectors are made from.</summary>
    private sealed record Seen(string? NoAgent, ToldStats? Told, (long, long)? Vmm, Viommu Viommu, Origin Guest, ViommuReading? Smmu, HostSmmuReading HostSmmu, Origin Host);

    private static IEnumerable<SourceReading> Of(Seen seen) =>
    [
        .. GuestFaults.Of(seen.Told, seen.NoAgent, seen.Viommu, seen.Guest, Origin.Emulated),
        .. VmmFaults.Of(seen.Vmm, NullReasons.VmmGone, seen.Host),
        .. QemuSmmuFaults.Of(seen.Viommu, seen.Smmu, seen.HostSmmu.Reason != NullReasons.NoAssignedDevice, seen.Host),
        .. HostSmmuFaults.Of(seen.HostSmmu, seen.Host),
    ];

    private static SourceReading Read(Seen seen, string source) => Of(seen).Single(r => r.Source == source);

    public static TheoryData<string, string, string> Nulls => new()
    {
        { "noAgent", FaultSource.GuestMinor, "NoAgentInImage" },
        { "noAgent", FaultSource.GuestMajor, "NoAgentInImage" },
        { "notReady", FaultSource.GuestMinor, "GuestNotReady" },
        { "silent", FaultSource.GuestMajor, "AgentSilent" },
        { "vmmGone", FaultSource.VmmMinor, "VmmGone" },
        { "vmmGone", FaultSource.VmmMajor, "VmmGone" },
        { "virtio", FaultSource.SmmuEvents, "NoSmmu" },
        { "virtio", FaultSource.SmmuTlbHits, "NoSmmu" },
        { "none", FaultSource.SmmuTlbMisses, "NoSmmu" },
        { "noTrace", FaultSource.SmmuEvents, "TraceOff" },
        { "missing", FaultSource.SmmuEvents, "TraceEventMissing" },
        { "costly", FaultSource.SmmuTlbHits, "TraceCostTooHigh" },
        { "costly", FaultSource.SmmuTlbMisses, "TraceCostTooHigh" },
        { "costly", FaultSource.HostSmmuEvents, "NoAssignedDevice" },
        { "logUnreadable", FaultSource.HostSmmuEvents, "KernelLogUnreadable" },
        { "none", FaultSource.SmmuEventsLost, "NoSmmu" },
        { "costly", FaultSource.SmmuEventsLost, "NotToldByVmm" },
        { "accelerated", FaultSource.SmmuTlbHits, "TlbInHardware" },
        { "accelerated", FaultSource.SmmuTlbMisses, "TlbInHardware" },
    };

    private static Seen Case(string name) => name switch
    {
        "noAgent" => All with { NoAgent = NullReasons.NoAgentInImage },
        "notReady" => All with { Told = null },
        "silent" => All with { Told = All.Told! with { Age = TimeSpan.FromSeconds(5.1) } },
        "vmmGone" => All with { Vmm = null },
        "virtio" => All with { Viommu = Viommu.Virtio },
        "none" => All with { Viommu = Viommu.None, Smmu = null },
        "noTrace" => All with { Smmu = null },
        "missing" => All with { Smmu = new ViommuReading(Counts, "TraceEventMissing", null, null) },
        "costly" => All with { Smmu = new ViommuReading(Counts, null, "TraceCostTooHigh", "TraceCostTooHigh") },
        "logUnreadable" => All with { HostSmmu = OfHost with { Reason = "KernelLogUnreadable" } },
        "accelerated" => All with { HostSmmu = OfHost },
        _ => throw new ArgumentOutOfRangeException(nameof(name)),
    };

    [Theory]
    [MemberData(nameof(Nulls))]
    public void Of_WhenSomethingCannotBeObserved_IsNullWithItsReason(string name, string source, string reason)
    {
        var reading = Read(Case(name), source);
        Assert.Equal((null, reason, false), (reading.Value, reading.NullReason, reading.LowerBound));
    }

    [Fact]
    public void Of_OnAnEmulatedHost_NothingIsHardware() =>
        Assert.All(Of(All with { Guest = Origin.Emulated, Host = Origin.Emulated, HostSmmu = OfHost }), r => Assert.Equal(Origin.Emulated, r.Origin));

    [Theory]
    [InlineData(FaultSource.GuestMinor, 100, false, Origin.Emulated)]
    [InlineData(FaultSource.GuestMajor, 10, false, Origin.Emulated)]
    [InlineData(FaultSource.VmmMinor, 7, false, Origin.Hardware)]
    [InlineData(FaultSource.VmmMajor, 2, false, Origin.Hardware)]
    [InlineData(FaultSource.SmmuEvents, 4, false, Origin.Emulated)]
    [InlineData("smmu.events.F_TRANSLATION", 3, false, Origin.Emulated)]
    [InlineData("smmu.events.C_BAD_STE", 1, false, Origin.Emulated)]
    [InlineData(FaultSource.SmmuTlbHits, 50, true, Origin.Emulated)]
    [InlineData(FaultSource.SmmuTlbMisses, 20, true, Origin.Emulated)]
    public void Of_WhenAllIsObserved_IsTheValueWithItsOrigin(string source, long value, bool lowerBound, Origin origin) =>
        Assert.Equal(new SourceReading(source, value, null, lowerBound, origin), Read(All, source));

    [Theory]
    [InlineData("hostSmmu.events", 3)]
    [InlineData("hostSmmu.events.F_TRANSLATION", 2)]
    [InlineData("smmu.events", 4)]
    [InlineData("smmu.events.C_BAD_STE", 1)]
    public void Of_WhenADeviceIsAssigned_CountsAreTheHostsAndLowerBounds(string source, long value) =>
        Assert.Equal(new SourceReading(source, value, null, true, Origin.Hardware), Read(Case("accelerated"), source));

    [Fact]
    public void Of_WhenTheHostIsTraced_IsExact() => Assert.Equal(
        new SourceReading("hostSmmu.events", 3, null, false, Origin.Hardware), Read(All with { HostSmmu = OfHost with { LowerBound = false } }, "hostSmmu.events"));

    [Theory]
    [InlineData(true, null, true, 5L, null, false)]
    [InlineData(true, null, false, 5L, null, true)]
    [InlineData(true, "TracePointMissing", false, null, "TracePointMissing", false)]
    [InlineData(false, "TracingNotReady", false, null, "NoAssignedDevice", false)]
    public void Pages_OfTracedFaults_AreTheirCountsOrTheReason(bool hasFunctions, string? traced, bool exact, long? value, string? reason, bool lowerBound)
    {
        var counts = TracedCounts.Zero with { PageFaults = 5, Success = 5, Invalid = 5, Failure = 5, Times = new LatencyHistogram([5, .. new long[21]], 900) };
        var readings = TracedFaults.Pages(hasFunctions, new TracedState(traced, exact), counts, Origin.Emulated).ToList();
        Assert.All(readings.Where(r => r.Source != FaultSource.IoPageRequestsLost), r => Assert.Equal((value, reason, lowerBound, Origin.Emulated), (r.Value, r.NullReason, r.LowerBound, r.Origin)));
        Assert.Equal(value is null ? null : counts.Times, readings[0].Latency);
        Assert.Equal(hasFunctions ? "NotToldByKernel" : "NoAssignedDevice", readings[^1].NullReason);
        Assert.Equal(5, readings.Count);
    }

    [Theory]
    [InlineData(true, null, null, null)]
    [InlineData(false, "VmmGone", "TracingNotReady", "NotUnderKvm")]
    [InlineData(true, "VmmGone", null, "VmmGone")]
    [InlineData(true, null, "TracingUnavailable", "TracingUnavailable")]
    public void Guest_OfTracedFaults_IsTheCountOrTheReason(bool underKvm, string? gone, string? traced, string? reason) => Assert.Equal(
        (reason is null ? 9L : (long?)null, reason), TracedFaults.Guest(underKvm, gone, new TracedState(traced, true), 9, Origin.Emulated) is var reading ? (reading.Value, reading.NullReason) : default);

    [Fact]
    public void Of_Anything_HasExactlyOneOfValueAndReason() =>
        Assert.All(
            Nulls.Select(row => row.Data.Item1).Distinct().SelectMany(name => Of(Case(name))),
            reading => Assert.True(reading.Value is null != reading.NullReason is null));

    [Fact]
    public void Of_WhenEventsAreHidden_ShowsNoTypesEither() =>
        Assert.DoesNotContain(Of(Case("missing")), r => r.Source.StartsWith("smmu.events.", StringComparison.Ordinal));

    [Theory]
    [InlineData("7 (a b) S 1 7 7 0 -1 4194560 123 0 45 0 1 1 0 0 20 0 1 0 999 1 1", 999ul, 123L, 45L)]
    [InlineData("7 (evil) Z 9 9 (x) S 1 7 7 0 -1 4194560 123 0 45 0 1 1 0 0 20 0 1 0 999 1 1", 999ul, 123L, 45L)]
    public void Parse_OfALivingProcess_IsItsFaults(string stat, ulong start, long minor, long major) =>
        Assert.Equal((minor, major), ProcessFaults.Parse(stat, start));

    [Theory]
    [InlineData("7 (a) S 1 7 7 0 -1 4194560 123 0 45 0 1 1 0 0 20 0 1 0 1000 1 1")] // another process by that number
    [InlineData("7 (a) Z 1 7 7 0 -1 4194560 123 0 45 0 1 1 0 0 20 0 1 0 999 1 1")]
    [InlineData("7 (a) S 1 7 7")]
    [InlineData("")]
    public void Parse_OfWhatIsNotTheProcess_IsNull(string stat) => Assert.Null(ProcessFaults.Parse(stat, 999));

    [Fact]
    public unsafe void Read_OfThisProcess_Grows()
    {
        var self = new ProcessFaults(Environment.ProcessId);
        var before = self.Read()!.Value.Minor;
        // So much at once comes from the kernel and not from memory that was touched before.
        const int bytes = 64 << 20;
        var pages = (byte*)NativeMemory.Alloc(bytes);
        for (var at = 0; at < bytes; at += 4096)
            pages[at] = 1;
        NativeMemory.Free(pages);
        Assert.True(self.Read()!.Value.Minor > before);
    }
}
