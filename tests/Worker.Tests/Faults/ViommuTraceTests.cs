using System.Collections.Concurrent;
using System.Text;
using Contracts;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Worker.Faults;
using Worker.Tests.Channels;
using Worker.Vms.Qemu;
using Xunit;

namespace Worker.Tests.Faults;

public sealed class ViommuTraceTests : IAsyncLifetime
{
    private const string Fault = "smmuv3_record_event SMMU_EVT_F_TRANSLATION sid=0x100\n";
    private readonly TemporaryDirectory _directory = new();
    private readonly FakeTimeProvider _time = new();
    private readonly ConcurrentDictionary<string, bool> _switches = new();
    private readonly HashSet<string> _missing = [];
    private volatile bool _vmmGone;
    private ViommuTrace? _trace;

    private static CancellationToken Ct => ScriptedPeer.Ct;
    private string Log => _directory.Of("trace.log");

    public ValueTask InitializeAsync() => ValueTask.CompletedTask;

    public async ValueTask DisposeAsync()
    {
        if (_trace is not null)
            await _trace.DisposeAsync();
        _directory.Dispose();
    }

    private ViommuTrace Open(bool withTlb = false, Viommu viommu = Viommu.Smmuv3) => _trace = new ViommuTrace(Log, _directory.Of("state"), viommu, withTlb, SwitchAsync, _time, NullLogger.Instance);

    private Task SwitchAsync(string name, bool on, CancellationToken ct)
    {
        if (_vmmGone)
            throw new IOException("gone");
        if (_missing.Contains(name))
            throw new QmpException("GenericError", $"unknown event \"{name}\"");
        _switches[name] = on;
        return Task.CompletedTask;
    }

    private void Print(string text, int times = 1) => File.AppendAllText(Log, string.Concat(Enumerable.Repeat(text, times)), Encoding.ASCII);

    private Task TickUntilAsync(Func<bool> condition, string what) => Eventually.TrueAsync(() =>
    {
        _time.Advance(TimeSpan.FromSeconds(1));
        return condition();
    }, what);

    [Fact]
    public async Task SwitchOn_ByDefault_TracesFaultsUnderOneNameAndNoLookups()
    {
        var trace = Open();
        Assert.Equal(("TraceOff", "TraceCostTooHigh", "TraceCostTooHigh"), (trace.Reading.EventsReason, trace.Reading.HitsReason, trace.Reading.MissesReason));
        await trace.SwitchOnAsync(Ct);
        Assert.Equal((null, "TraceCostTooHigh", "TraceCostTooHigh"), (trace.Reading.EventsReason, trace.Reading.HitsReason, trace.Reading.MissesReason));
        Assert.Equal(["smmuv3_propagate_event"], _switches.Where(s => s.Value).Select(s => s.Key));
    }

    [Fact]
    public async Task SwitchOn_OfAVirtioIommu_TracesItsFaultsAndNothingOfAnSmmu()
    {
        var trace = Open(withTlb: true, Viommu.Virtio);
        await trace.SwitchOnAsync(Ct);
        Assert.Equal(["virtio_iommu_report_fault"], _switches.Keys);
        // As QEMU 7.2 wrote it when edu wrote to an address that nobody had mapped.
        Print("virtio_iommu_report_fault FAULT reason=2 flags=256 endpoint=256 address =0xffff96a4a000\n", 2);
        await TickUntilAsync(() => trace.Reading.Counts.Total == 2, "both are counted");
        var readings = VirtioIommuFaults.Of(Viommu.Virtio, trace.Reading).ToDictionary(r => r.Source, r => (r.Value, r.LowerBound, r.Origin));
        Assert.Equal((2L, false, Origin.Emulated), readings[FaultSource.VirtioIommuEvents]);
        Assert.Equal((2L, false, Origin.Emulated), readings["virtioIommu.events.MAPPING"]);
    }

    [Fact]
    public async Task SwitchOn_WhenTheVmmHasNoSuchEventOfVirtioIommu_SaysSo()
    {
        _missing.Add("virtio_iommu_report_fault");
        var trace = Open(viommu: Viommu.Virtio);
        await trace.SwitchOnAsync(Ct);
        Assert.Equal("TraceEventMissing", VirtioIommuFaults.Of(Viommu.Virtio, trace.Reading).Single().NullReason);
    }

    [Theory]
    [InlineData("smmuv3_propagate_event", null, null)]
    [InlineData("smmuv3_propagate_event,smmuv3_record_event", "TraceEventMissing", null)]
    [InlineData("smmuv3_propagate_event,smmu_iotlb_lookup_hit", null, "TraceEventMissing")]
    public async Task SwitchOn_WhenTheVmmLacksNames_UsesTheOthersAndSaysWhatIsMissing(string missing, string? eventsReason, string? hitsReason)
    {
        _missing.UnionWith(missing.Split(','));
        var trace = Open(withTlb: true);
        await trace.SwitchOnAsync(Ct);
        Assert.Equal((eventsReason, hitsReason, null), (trace.Reading.EventsReason, trace.Reading.HitsReason, trace.Reading.MissesReason));
        Assert.True(_switches["smmu_iotlb_lookup_miss"]);
    }

    [Fact]
    public async Task Reading_WhenTheVmmLogs_CountsAndGoesOnAfterARestart()
    {
        var trace = Open();
        await trace.SwitchOnAsync(Ct);
        Print(Fault, 3);
        await TickUntilAsync(() => trace.Reading.Counts.Total == 3, "three are counted");
        await trace.DisposeAsync();
        Print(Fault, 2);
        var next = Open();
        Assert.Equal((3L, "TraceOff"), (next.Reading.Counts.Total, next.Reading.EventsReason));
        await TickUntilAsync(() => next.Reading.Counts.Total == 5, "the two logged meanwhile are counted");
        Assert.False(next.Reading.Counts.EventsLowerBound);
    }

    [Fact]
    public async Task Reading_WhenTheGuestFloods_PausesAsALowerBoundAndResumes()
    {
        _missing.Add("smmuv3_propagate_event");
        var trace = Open();
        await trace.SwitchOnAsync(Ct);
        Print(Fault);
        await TickUntilAsync(() => trace.Reading.Counts.Total == 1, "the first is counted");
        var flood = (int)(ViommuTrace.FloodBytesPerSecond / Fault.Length * 40);
        Print(Fault, flood);
        await TickUntilAsync(() => !_switches["smmuv3_record_event"], "tracing pauses");
        Assert.True(trace.Reading.Counts.EventsLowerBound);
        Assert.Null(trace.Reading.EventsReason);
        await TickUntilAsync(() => trace.Reading.Counts.Total == flood + 1, "what was logged is still counted");
        await TickUntilAsync(() => _switches["smmuv3_record_event"], "tracing resumes");
        Print(Fault);
        await TickUntilAsync(() => trace.Reading.Counts.Total == flood + 2, "counting goes on");
    }

    [Fact]
    public async Task Reading_WhenALogOfALongAbsenceIsCaughtUpWith_IsNoFlood()
    {
        var many = (int)(ViommuTrace.FloodBytesPerSecond / Fault.Length * 3);
        Print(Fault, many);
        var trace = Open();
        await trace.SwitchOnAsync(Ct);
        await TickUntilAsync(() => trace.Reading.Counts.Total == many, "all is counted");
        Assert.False(trace.Reading.Counts.EventsLowerBound);
        Assert.True(_switches["smmuv3_propagate_event"]);
    }

    [Fact]
    public async Task Reading_WhenTheLogTurnsIntoAPipe_GoesOnOnceItIsAFileAgain()
    {
        var trace = Open();
        await trace.SwitchOnAsync(Ct);
        using (var made = System.Diagnostics.Process.Start("mkfifo", [Log]))
            await made.WaitForExitAsync(Ct);
        for (var i = 0; i < 5; i++)
            _time.Advance(TimeSpan.FromSeconds(1));
        File.Delete(Log);
        Print(Fault);
        await TickUntilAsync(() => trace.Reading.Counts.Total == 1, "the fault is counted");
    }

    [Fact]
    public async Task SwitchOn_WhenTheVmmIsGone_IsAnIoExceptionAndCountingGoesOn()
    {
        var trace = Open();
        _vmmGone = true;
        await Assert.ThrowsAsync<IOException>(() => trace.SwitchOnAsync(Ct));
        Print(Fault);
        await TickUntilAsync(() => trace.Reading.Counts.Total == 1, "what is logged is counted");
    }
}
