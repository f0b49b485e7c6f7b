using System.Reflection;
using Contracts;
using Microsoft.Extensions.Logging.Abstractions;
using Worker.Faults;
using Worker.Faults.Tracing;
using Worker.Tests.Faults.Tracing;
using Worker.Tests.Hardware;
using Worker.Vms;
using Worker.Vms.Kvmtool;
using Worker.Vms.Qemu;
using Xunit;

namespace Worker.Tests.Faults;

/// <summary>Each kind of VM answers each source of the table once, with a value or with a reason that the source's row names.</summary>
public sealed class EverySourceTests : IDisposable
{
    private const string Function = "0009:01:00.0";
    private static readonly string[] All = [.. typeof(FaultSource).GetFields(BindingFlags.Public | BindingFlags.Static).Select(f => (string)f.GetValue(null)!)];
    private readonly TemporaryDirectory _root = new();
    private readonly FixtureTree _host = new();

    public void Dispose()
    {
        _host.Dispose();
        _root.Dispose();
    }

    private HostObservation Observe(Viommu viommu, bool assigned, bool kvm)
    {
        var directory = RuntimeDirectory.Of(_root.FullPath, Guid.NewGuid());
        directory.Create();
        var spec = new SandboxSpec("guest", 1, 256, viommu, assigned ? [Function] : ["edu-0"], null, [], Vmm.Qemu);
        var host = new HostFaults(_host.Tree, NoTracing.Anywhere, Origin.Hardware, TimeProvider.System, NullLogger.Instance);
        var traced = new TracedFaults(host.Begin(directory, spec), kvm, () => (Environment.ProcessId, null), Origin.Hardware);
        return host.Observe(new VmLaunch(directory, 1, spec, [], null, new VmCgroup(_root.Of("cgroup"))), adopted: false, traced);
    }

    /// <summary>A host that tells what it can.</summary>
    private void FillHost()
    {
        foreach (var (kind, name) in (ReadOnlySpan<(string, string)>)[("correctable", "COR"), ("nonfatal", "NONFATAL"), ("fatal", "FATAL")])
            _host.Text($"sys/bus/pci/devices/{Function}/aer_dev_{kind}", $"TOTAL_ERR_{name} 3");
        Directory.CreateDirectory(_root.Of("cgroup"));
        File.WriteAllText(_root.Of("cgroup/memory.stat"), "pgfault 1\npgmajfault 1\nthp_fault_alloc 1\nworkingset_refault_anon 1\nworkingset_refault_file 1\n");
        File.WriteAllText(_root.Of("cgroup/memory.pressure"), "some total=1\nfull total=1\n");
    }

    private static void Judge(IEnumerable<SourceReading> readings, IEnumerable<string> expected)
    {
        var all = readings.ToList();
        Assert.Equal(expected.Order(), all.Select(r => r.Source).Where(source => All.Contains(source)).Order());
        Assert.All(all, reading =>
        {
            var row = FaultMetrics.SourceOf(reading.Source);
            Assert.NotNull(row);
            Assert.True(row.Source == reading.Source || (row.ByType is not null && reading.Value is not null), $"{reading}");
            Assert.True(reading.Value is null != reading.NullReason is null, $"{reading}");
            Assert.True(reading.NullReason is null || row.NullReasons.Contains(reading.NullReason), $"{reading}");
        });
    }

    private static IReadOnlyList<SourceReading> Sample(IReadOnlyList<IFaultCollector> collectors) => new SandboxFaults(Guid.Empty, 1, collectors, HighestCounts.OfASimulation()).Sample(DateTimeOffset.UnixEpoch).Readings;

    private static async Task JudgeAsync(IReadOnlyList<IFaultCollector> collectors, HostObservation observed)
    {
        // Before anything beside has answered, and after.
        Judge(Sample(collectors), All);
        using var end = new CancellationTokenSource();
        var beside = Task.WhenAll(observed.Beside.Select(part => Task.Run(() => part(end.Token))));
        await Eventually.TrueAsync(() => Sample(collectors).All(r => r.NullReason != NullReasons.HostSilent), "the host has answered");
        Judge(Sample(collectors), All);
        await end.CancelAsync();
        if (observed.Beside.Count > 0)
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => beside);
        observed.Dispose();
    }

    public static TheoryData<Viommu, bool, bool, bool> Machines => [.. from viommu in Enum.GetValues<Viommu>()
                                                                      from assigned in (bool[])[false, true]
                                                                      from kvm in (bool[])[false, true]
                                                                      from tells in (bool[])[false, true]
                                                                      select (viommu, assigned, kvm, tells)];

    [Theory]
    [MemberData(nameof(Machines))]
    public async Task Sample_OfQemu_AnswersEachSourceOnce(Viommu viommu, bool assigned, bool kvm, bool tells)
    {
        if (tells)
            FillHost();
        var observed = Observe(viommu, assigned, kvm);
        await using var trace = viommu == Viommu.None ? null : new ViommuTrace(_root.Of("trace.log"), _root.Of("trace.state"), viommu, false, (_, _, _) => Task.CompletedTask, TimeProvider.System, NullLogger.Instance);
        if (trace is not null && tells)
            await trace.SwitchOnAsync(TestContext.Current.CancellationToken);
        var statistics = kvm
            ? KvmFaults.Of(() => tells ? null : NullReasons.VmmNotConfirmed, () => 7, _ => Task.FromResult(KvmStatistics.None), _host.Tree, Origin.Hardware, TimeProvider.System)
            : KvmFaults.NotUnderKvm(Origin.Hardware);
        var guest = new GuestFaults(null, tells ? null : NullReasons.NoAgentInImage, viommu, Origin.Hardware, Origin.Hardware);
        await JudgeAsync(QemuVm.Collectors(viommu, guest, new VmmFaults(() => tells ? new ProcessFaults(Environment.ProcessId) : null, Origin.Hardware), statistics, trace, observed, Origin.Hardware), observed);
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public async Task Sample_OfKvmtool_AnswersEachSourceOnce(bool assigned, bool tells)
    {
        if (tells)
            FillHost();
        var observed = Observe(Viommu.None, assigned, kvm: true);
        var statistics = KvmFaults.Of(() => tells ? null : NullReasons.VmmGone, () => 7, _ => Task.FromResult(KvmStatistics.None), _host.Tree, Origin.Hardware, TimeProvider.System);
        await JudgeAsync(KvmtoolVm.Collectors(new VmmFaults(() => null, Origin.Hardware), statistics, observed, Origin.Hardware), observed);
    }

    [Theory]
    [InlineData(Viommu.Smmuv3, null)]
    [InlineData(Viommu.Virtio, null)]
    [InlineData(Viommu.Smmuv3, "GuestNotReady")]
    [InlineData(Viommu.Virtio, "AgentSilent")]
    public void Sample_OfTheSimulatedMachine_AnswersEachSourceOnce(Viommu viommu, string? reason) => Judge(Sample([new SimulatedFaults(viommu, () => (null, reason ?? NullReasons.GuestNotReady))]), All);

    /// <summary>The other way round: what a row of a host's source names can really be.</summary>
    [Fact]
    public void Rows_OfWhatTheHostTells_NameNoReasonThatNeverIs()
    {
        var counted = (string?[] reasons) => reasons.Select(reason => reason is null ? null : new SourceCounts(((string[])[FaultSource.PciCorrectable, FaultSource.PciNonFatal, FaultSource.PciFatal, .. SmmuMonitors.Events.Select(e => e.Source)]).ToDictionary(s => s, s => new SourceCount(null, false, reason)))).ToList();
        var readings = new List<SourceReading>();
        foreach (var (isThere, stat) in (ReadOnlySpan<(bool?, string?)>)[(null, null), (false, null), (true, null), (true, "")])
            readings.AddRange(CgroupFaults.Of(new CgroupFaults.Seen(isThere, stat, stat), Origin.Hardware));
        foreach (var none in (string?[])[null, NullReasons.NotUnderKvm, NullReasons.VmmGone, NullReasons.VmmNotConfirmed])
            readings.AddRange(KvmFaults.Of(none, KvmStatistics.None, Origin.Hardware));
        foreach (var assigned in (bool[])[false, true])
        {
            foreach (var seen in counted([null, NullReasons.NoAer]))
                readings.AddRange(AerFaults.Of(assigned, seen, Origin.Hardware));
            foreach (var seen in counted([null, NullReasons.NoSmmuPmu, NullReasons.StreamIdUnknown, NullReasons.PmuEventMissing, NullReasons.PmuFailed, NullReasons.PmuNotPermitted, NullReasons.PmuTaken]))
                readings.AddRange(SmmuPmuFaults.Of(assigned, seen, Origin.Hardware));
        }
        foreach (var reason in (string?[])[null, NullReasons.TraceOff, NullReasons.TraceEventMissing, NullReasons.TraceLogFull])
            readings.AddRange([.. VirtioIommuFaults.Of(Viommu.Virtio, reason is null ? null : new ViommuReading(ViommuCounts.Zero, reason, null, null)), .. VirtioIommuFaults.Of(Viommu.Smmuv3, null)]);
        foreach (var yes in (bool[])[false, true])
            foreach (var state in (TracedState[])[.. new string?[] { null, NullReasons.TracingNotReady, NullReasons.TracingUnavailable, NullReasons.TracePointMissing }.Select(reason => new TracedState(reason, true))])
                foreach (var gone in (string?[])[null, NullReasons.VmmGone, NullReasons.VmmNotConfirmed])
                    readings.AddRange([.. TracedFaults.Pages(yes, state, TracedCounts.Zero, Origin.Hardware), TracedFaults.Guest(yes, gone, state, 0, Origin.Hardware)]);
        foreach (var viommu in (Viommu[])[Viommu.Smmuv3, Viommu.Virtio])
            foreach (var reason in (string?[])[NullReasons.GuestNotReady, NullReasons.AgentSilent, null])
                readings.AddRange(SimulatedFaults.Of(null, reason ?? NullReasons.NotReportedByAgent, viommu));
        var sources = readings.Select(r => r.Source).Where(s => s.StartsWith("cgroup.", StringComparison.Ordinal) || s.StartsWith("kvm.", StringComparison.Ordinal) || s.StartsWith("pci.", StringComparison.Ordinal) || s == FaultSource.HostSmmuTlbMisses || s == FaultSource.VirtioIommuEvents).Distinct();
        Assert.All(sources, source => Assert.Equal(FaultMetrics.SourceOf(source)!.NullReasons.Order(), readings.Where(r => r.Source == source && r.NullReason is not null).Select(r => r.NullReason!).Distinct().Order()));
    }
}
