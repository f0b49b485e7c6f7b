using System.Reflection;
using Contracts;
using Worker.Agent;
using Worker.Faults;
using Worker.Faults.Tracing;
using Worker.Metrics;
using Xunit;

namespace Worker.Tests.Metrics;

public sealed class FaultMetricsTests
{
    private static readonly Guid Sandbox = Guid.Parse("01a20ad6-bd6b-782f-8210-a147f21b09cb");

    private static string Write(params SourceReading[] readings)
    {
        var text = new MetricText();
        FaultMetrics.Write(text, [new FaultSample(Sandbox, 1, DateTimeOffset.UnixEpoch, readings)]);
        return string.Join('\n', text.ToString().Split('\n').Where(line => !line.StartsWith('#')));
    }

    [Fact]
    public void All_HasEverySourceOnce()
    {
        var sources = typeof(FaultSource).GetFields(BindingFlags.Public | BindingFlags.Static).Select(f => (string)f.GetValue(null)!);
        Assert.Equal(sources.Order(), FaultMetrics.All.Select(m => m.Source).Order());
    }

    [Fact]
    public void All_NameOnlyReasonsOfTheTable() =>
        Assert.Empty(FaultMetrics.All.SelectMany(m => m.NullReasons).Except(NullReasons.All.Select(r => r.Code)));

    [Fact]
    public void All_NameEveryReasonThatMakesTheSourceNull()
    {
        AgentStats?[] stats = [null, new AgentStats(1, 1, 1), new AgentStats(1, -1, -1),
            .. ((string[])[AgentReasons.NoWorkload, AgentReasons.LogUnreadable, AgentReasons.TracingMissing, "made up"]).Select(said => new AgentStats(1, 1, 1, new(null, null, false, said), new(null, said), new(null, null, null, null, null, false, said)))];
        ViommuReading?[] traces = [null, .. new string?[] { null, NullReasons.TraceEventMissing, NullReasons.TraceLogFull, NullReasons.TraceCostTooHigh }.Select(r => new ViommuReading(ViommuCounts.Zero, r == NullReasons.TraceCostTooHigh ? null : r, r, r))];
        HostSmmuReading[] hosts = [HostSmmuReading.None, .. new string?[] { null, NullReasons.KernelLogUnreadable, NullReasons.KernelLogNamesNoDevice }.Select(r => new HostSmmuReading(new Dictionary<string, long>(), r))];
        var guest = from absent in (string?[])[null, NullReasons.NoAgentInImage, NullReasons.NoAgentUnderKvmtool]
                    from said in stats
                    from age in (TimeSpan[])[TimeSpan.Zero, TimeSpan.FromHours(1)]
                    from viommu in Enum.GetValues<Viommu>()
                    from reading in GuestFaults.Of(said is null ? null : new ToldStats(said, age), absent, viommu, Origin.Hardware, Origin.Hardware)
                    select reading;
        var smmu = from viommu in Enum.GetValues<Viommu>()
                   from trace in traces
                   from accelerated in (bool[])[true, false]
                   from reading in QemuSmmuFaults.Of(viommu, trace, accelerated, Origin.Hardware)
                   select reading;
        var ofHost = hosts.SelectMany(host => HostSmmuFaults.Of(host, Origin.Hardware)).Concat(new[] { NullReasons.VmmGone, NullReasons.VmmNotConfirmed }.SelectMany(reason => VmmFaults.Of(null, reason, Origin.Hardware)));
        var simulated = from viommu in Enum.GetValues<Viommu>()
                        from reason in (string[])[NullReasons.GuestNotReady, NullReasons.AgentSilent]
                        from reading in SimulatedFaults.Of(null, reason, viommu)
                        select reading;
        var traced = from reason in (string?[])[null, NullReasons.TracingNotReady, NullReasons.TracingUnavailable, NullReasons.TracePointMissing]
                     from yes in (bool[])[true, false]
                     from gone in (string?[])[null, NullReasons.VmmGone, NullReasons.VmmNotConfirmed]
                     from reading in TracedFaults.Pages(yes, new TracedState(reason, yes), TracedCounts.Zero, Origin.Hardware).Append(TracedFaults.Guest(yes, gone, new TracedState(reason, yes), 0, Origin.Hardware))
                     select reading;
        var missing = guest.Concat(smmu).Concat(ofHost).Concat(simulated).Concat(traced).Where(r => r.NullReason is not null && FaultMetrics.SourceOf(r.Source)?.NullReasons.Contains(r.NullReason) != true).Select(r => $"{r.Source}: {r.NullReason}");
        Assert.Empty(missing.Distinct());
    }

    [Fact]
    public void All_KeepPrometheusConventions() => Assert.All(FaultMetrics.Metrics, m =>
    {
        Assert.Matches("^sandbox_[a-z_]+$", m.Name);
        Assert.Equal(m.Kind == MetricKind.Counter, m.Name.EndsWith("_total", StringComparison.Ordinal));
        Assert.Equal(m.Kind == MetricKind.Histogram, m.Name.EndsWith("_seconds", StringComparison.Ordinal));
        Assert.EndsWith(".", m.Help, StringComparison.Ordinal);
    });

    [Fact]
    public void Write_OfAValue_TellsItsBoundAndOrigin() => Assert.Equal(
        $"sandbox_guest_page_faults_total{{sandbox=\"{Sandbox}\",severity=\"major\",bound=\"lower\",origin=\"emulated\"}} 7\n",
        Write(new SourceReading(FaultSource.GuestMajor, 7, null, true, Origin.Emulated)));

    [Fact]
    public void Write_OfWhatCannotBeObserved_IsNoValueButItsReason() => Assert.Equal(
        $"sandbox_fault_source_unobserved{{sandbox=\"{Sandbox}\",source=\"smmu.tlbHits\",reason=\"NoSmmu\"}} 1\n",
        Write(new SourceReading(FaultSource.SmmuTlbHits, null, "NoSmmu", false, Origin.Emulated)));

    [Fact]
    public void Write_OfATotalAndItsTypes_KeepsThemApart() => Assert.Equal(
        $"""
        sandbox_smmu_events_total{$"{{sandbox=\"{Sandbox}\",bound=\"exact\",origin=\"emulated\"}}"} 3
        sandbox_smmu_events_by_type_total{$"{{sandbox=\"{Sandbox}\",type=\"F_TRANSLATION\",bound=\"exact\",origin=\"emulated\"}}"} 3

        """,
        Write(new SourceReading(FaultSource.SmmuEvents, 3, null, false, Origin.Emulated), new SourceReading("smmu.events.F_TRANSLATION", 3, null, false, Origin.Emulated)));

    [Fact]
    public void Write_OfASourceThatNobodyKnows_IsNothing() => Assert.Equal("", Write(new SourceReading("evil\"} 1", 3, null, false, Origin.Emulated)));

    [Fact]
    public void Add_OfAHistogram_CountsUpToEachBound()
    {
        var text = new MetricText();
        text.Begin(new Metric("sandbox_x_seconds", MetricKind.Histogram, "X."));
        text.Add(new LatencyHistogram([1, 2, .. new long[19], 4], 2_500_000_000), ("a", "b\"\\\n"));
        var lines = text.ToString().Split('\n');
        Assert.Equal("""sandbox_x_seconds_bucket{a="b\"\\\n",le="1e-06"} 1""", lines[2]);
        Assert.Equal("""sandbox_x_seconds_bucket{a="b\"\\\n",le="2e-06"} 3""", lines[3]);
        Assert.Equal("""sandbox_x_seconds_bucket{a="b\"\\\n",le="1.048576"} 3""", lines[22]);
        Assert.Equal("""sandbox_x_seconds_bucket{a="b\"\\\n",le="+Inf"} 7""", lines[23]);
        Assert.Equal(["""sandbox_x_seconds_sum{a="b\"\\\n"} 2.5""", """sandbox_x_seconds_count{a="b\"\\\n"} 7""", ""], lines[24..]);
    }

    [Fact]
    public void Document_ListsEverySourceAsTheCodeHasIt()
    {
        var document = File.ReadAllText(Path.Combine(Environment.GetEnvironmentVariable("SANDBOX_REPOSITORY")!, "docs/metrics.md"));
        Assert.Contains(MetricsDocument.Markdown(), document, StringComparison.Ordinal);
    }
}
