using System.Text.Json;
using Contracts;
using CsCheck;
using Worker.Agent;
using Worker.Faults;
using Xunit;

namespace Worker.Tests.Faults;

public sealed class GuestFaultsTests
{
    private static readonly long[] Buckets = [.. Enumerable.Range(0, LatencyHistogram.Buckets).Select(n => (long)n)];
    private static readonly AgentStats Full = new(
        1000, 110, 10, new AgentWorkload(70, 3, false, null), new AgentSmmuLog(new Dictionary<string, long> { ["F_TRANSLATION"] = 3, ["C_BAD_STE"] = 1 }, null),
        new AgentPageFaults(9, 6, 2, 1, new LatencyHistogram(Buckets, 5000), false, null));

    private static IReadOnlyList<SourceReading> Of(AgentStats? stats, string? absent = null, double age = 0, Viommu viommu = Viommu.Smmuv3, Origin smmu = Origin.Emulated) =>
        [.. GuestFaults.Of(stats is null ? null : new ToldStats(stats, TimeSpan.FromSeconds(age)), absent, viommu, Origin.Hardware, smmu)];

    private static SourceReading Read(AgentStats? stats, string source) => Of(stats).Single(r => r.Source == source);

    private static AgentStats Told(AgentWorkload? workload) => Full with { Workload = workload };
    private static AgentStats Told(AgentSmmuLog? log) => Full with { SmmuLog = log };
    private static AgentStats Told(AgentPageFaults? faults) => Full with { PageFaults = faults };

    private static AgentSmmuLog Log(params (string Type, long Count)[] events) => new(events.ToDictionary(e => e.Type, e => e.Count), null);

    [Theory]
    [InlineData(FaultSource.GuestMinor, 100, false, Origin.Hardware)]
    [InlineData(FaultSource.GuestMajor, 10, false, Origin.Hardware)]
    [InlineData(FaultSource.WorkloadMinor, 70, false, Origin.Hardware)]
    [InlineData(FaultSource.WorkloadMajor, 3, false, Origin.Hardware)]
    [InlineData(FaultSource.GuestSmmuEvents, 4, true, Origin.Emulated)]
    [InlineData("guestSmmu.events.F_TRANSLATION", 3, true, Origin.Emulated)]
    [InlineData("guestSmmu.events.C_BAD_STE", 1, true, Origin.Emulated)]
    [InlineData(FaultSource.GuestIoPageFaultsSuccess, 6, false, Origin.Emulated)]
    [InlineData(FaultSource.GuestIoPageFaultsInvalid, 2, false, Origin.Emulated)]
    [InlineData(FaultSource.GuestIoPageFaultsFailure, 1, false, Origin.Emulated)]
    public void Of_WhenAllIsTold_IsTheValueWithItsOriginAndBound(string source, long value, bool lowerBound, Origin origin) =>
        Assert.Equal(new SourceReading(source, value, null, lowerBound, origin), Read(Full, source));

    [Fact]
    public void Of_WhenAllIsTold_PageFaultsHaveTheirLatencies()
    {
        var reading = Read(Full, FaultSource.GuestIoPageFaults);
        Assert.Equal((9, new LatencyHistogram(Buckets, 5000)), (reading.Value, reading.Latency));
        Assert.All(Of(Full, smmu: Origin.Hardware), r => Assert.Equal(Origin.Hardware, r.Origin));
        Assert.True(Read(Told(Full.PageFaults! with { LowerBound = true }), FaultSource.GuestIoPageFaults).LowerBound);
        Assert.True(Read(Told(Full.Workload! with { LowerBound = true }), FaultSource.WorkloadMinor).LowerBound);
    }

    [Fact]
    public void Of_WhenAnOldAgentTellsNoParts_TheyAreNotReported()
    {
        var stats = (AgentStats)JsonSerializer.Deserialize("""{"type":"stats","uptimeMilliseconds":5,"pgfault":20,"pgmajfault":1}""", AgentJson.Default.AgentMessage)!;
        Assert.Equal(19, Read(stats, FaultSource.GuestMinor).Value);
        Assert.All(Of(stats).Where(r => !r.Source.StartsWith("guest.", StringComparison.Ordinal)), r => Assert.Equal((null, "NotReportedByAgent", false), (r.Value, r.NullReason, r.LowerBound)));
    }

    [Fact]
    public void Stats_WhenANewerAgentTellsMore_IsReadByThisWorker()
    {
        var line = JsonSerializer.Serialize<AgentMessage>(Full, AgentJson.Default.AgentMessage);
        var newer = line[..^1].Replace("\"minorFaults\":70", "\"minorFaults\":70,\"swaps\":[1,{\"a\":2}]", StringComparison.Ordinal) + ",\"gpu\":{\"faults\":3}}";
        Assert.NotEqual(line, newer);
        var stats = (AgentStats)JsonSerializer.Deserialize(newer, AgentJson.Default.AgentMessage)!;
        Assert.Equal(70, Read(stats, FaultSource.WorkloadMinor).Value);
        Assert.Equal("NotReportedByAgent", Read(Told(Full.Workload! with { Reason = "NotThoughtOfYet" }), FaultSource.WorkloadMinor).NullReason);
    }

    [Theory]
    [InlineData("noAgent", "NoAgentInImage")]
    [InlineData("notReady", "GuestNotReady")]
    [InlineData("silent", "AgentSilent")]
    public void Of_WhenNothingIsTold_EverySourceHasTheReason(string name, string reason)
    {
        var readings = name switch { "noAgent" => Of(Full, "NoAgentInImage"), "notReady" => Of(null), _ => Of(Full, age: 5.1) };
        Assert.Equal(9, readings.Count);
        Assert.All(readings, r => Assert.Equal((null, reason, false, null), (r.Value, r.NullReason, r.LowerBound, r.Latency)));
    }

    [Theory]
    [InlineData(Viommu.Virtio)]
    [InlineData(Viommu.None)]
    public void Of_WhenTheGuestHasNoSmmu_ItsLogHasNoEvents(Viommu viommu)
    {
        var events = Assert.Single(Of(Full, viommu: viommu), r => r.Source.StartsWith("guestSmmu", StringComparison.Ordinal));
        Assert.Equal((null, "NoSmmu"), (events.Value, events.NullReason));
    }

    [Fact]
    public void Of_WhenTheGuestCannotTell_HasItsReason()
    {
        Assert.Equal("NoWorkload", Read(Told(new AgentWorkload(null, null, false, AgentReasons.NoWorkload)), FaultSource.WorkloadMajor).NullReason);
        Assert.Equal("GuestLogUnreadable", Read(Told(new AgentSmmuLog(null, AgentReasons.LogUnreadable)), FaultSource.GuestSmmuEvents).NullReason);
        foreach (var source in (string[])[FaultSource.GuestIoPageFaults, FaultSource.GuestIoPageFaultsSuccess, FaultSource.GuestIoPageFaultsInvalid, FaultSource.GuestIoPageFaultsFailure])
            Assert.Equal("GuestTracingMissing", Read(Told(new AgentPageFaults(null, null, null, null, null, false, AgentReasons.TracingMissing)), source).NullReason);
    }

    public static TheoryData<string, AgentStats, string> Lies => new()
    {
        { "counts below zero", Full with { Pgfault = -5, Pgmajfault = -6 }, FaultSource.GuestMajor },
        { "fewer than their part", Full with { Pgfault = 5, Pgmajfault = 6 }, FaultSource.GuestMinor },
        { "no counts", Full with { Pgfault = null, Pgmajfault = null }, FaultSource.GuestMinor },
        { "faults below zero", Told(new AgentWorkload(-1, 0, false, null)), FaultSource.WorkloadMinor },
        { "text as a reason", Told(new AgentWorkload(1, 1, false, "<script>")), FaultSource.WorkloadMajor },
        { "the reason of another part", Told(new AgentWorkload(1, 1, false, AgentReasons.TracingMissing)), FaultSource.WorkloadMajor },
        { "events below zero", Told(Log(("F_TRANSLATION", -1))), FaultSource.GuestSmmuEvents },
        { "more events than can be", Told(Log(("F_TRANSLATION", long.MaxValue), ("F_ACCESS", long.MaxValue))), FaultSource.GuestSmmuEvents },
        { "a type that is none", Told(Log(("F_TRANSLATION", 1), ("guest.minorFaults", 1))), FaultSource.GuestSmmuEvents },
        { "an empty type", Told(Log(("", 1))), FaultSource.GuestSmmuEvents },
        { "a long type", Told(Log((new string('A', 41), 1))), FaultSource.GuestSmmuEvents },
        { "too many types", Told(Log([.. Enumerable.Range(0, 33).Select(n => ($"T{n}", 1L))])), FaultSource.GuestSmmuEvents },
        { "no events and no reason", Told(new AgentSmmuLog(null, null)), FaultSource.GuestSmmuEvents },
        { "page faults below zero", Told(Full.PageFaults! with { Raised = -1 }), FaultSource.GuestIoPageFaults },
        { "too few buckets", Told(Full.PageFaults! with { Latency = new LatencyHistogram([1, 2], 5) }), FaultSource.GuestIoPageFaults },
        { "too many buckets", Told(Full.PageFaults! with { Latency = new LatencyHistogram([.. Buckets, 1], 5) }), FaultSource.GuestIoPageFaults },
        { "no buckets at all", Told(Full.PageFaults! with { Latency = new LatencyHistogram(null!, 5) }), FaultSource.GuestIoPageFaults },
        { "latencies below zero", Told(Full.PageFaults! with { Latency = new LatencyHistogram(Buckets, -1) }), FaultSource.GuestIoPageFaultsSuccess },
    };

    [Theory]
    [MemberData(nameof(Lies))]
    public void Of_WhenTheAgentLies_IsNotReportedAndTheRestIsTrue(string lie, AgentStats stats, string source)
    {
        var reading = Read(stats, source);
        Assert.True(reading is { Value: null, NullReason: "NotReportedByAgent", Latency: null }, $"{lie}: {reading}");
        if (source == FaultSource.GuestSmmuEvents)
            Assert.DoesNotContain(Of(stats), r => r.Source.StartsWith(source + ".", StringComparison.Ordinal));
        Assert.Contains(Of(stats), r => r.Value is not null);
    }

    [Fact]
    public void Of_TypesThatNobodyKnows_AreOne()
    {
        var parts = Of(Told(Log([("F_TRANSLATION", 3), ("UNKNOWN", 1), .. Enumerable.Range(0, 30).Select(n => ($"T{n}", 2L))]))).Where(r => r.Source.StartsWith("guestSmmu.events.", StringComparison.Ordinal));
        Assert.Equal([("guestSmmu.events.F_TRANSLATION", 3L), ("guestSmmu.events.UNKNOWN", 61L)], parts.Select(r => (r.Source, r.Value!.Value)));
    }

    [Fact]
    public void Of_WhateverIsTold_EachReadingHasAValueOrAReasonAndFewAreMade() =>
        Gen.Select(Gen.Nullable(Gen.Long), Gen.Nullable(Gen.Long), Gen.Dictionary(Gen.String, Gen.Long)[0, 40], Gen.Long.Array[0, 30], Gen.String.Null()).Sample((a, b, events, buckets, reason) =>
        {
            var stats = new AgentStats(a ?? 0, b, a, new AgentWorkload(a, b, false, reason), new AgentSmmuLog(events, reason), new AgentPageFaults(a, b, a, b, new LatencyHistogram(buckets, b ?? 0), true, reason));
            var readings = Of(stats);
            return readings.Count <= 9 + 32 && readings.All(r => r.Value is null != r.NullReason is null && r.Value is not < 0 && r.Latency is not { IsWellFormed: false } && r.Source.Length <= 64);
        });
}
