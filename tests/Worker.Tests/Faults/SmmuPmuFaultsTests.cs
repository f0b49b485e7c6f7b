using Contracts;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Worker.Faults;
using Worker.Hardware.Pci;
using Worker.Tests.Hardware;
using Xunit;

namespace Worker.Tests.Faults;

public sealed class SmmuPmuFaultsTests : IDisposable
{
    private const string Function = "0009:01:00.0", Near = "smmuv3_pmcg_9052", Behind = "smmuv3_pmcg_9062";
    private const uint Stream = 0x40100;
    private readonly FixtureTree _host = new();
    private readonly TemporaryDirectory _directory = new();
    private readonly FakeTimeProvider _time = new();
    private readonly Dictionary<(uint Type, ulong Event), PerfReading?> _kernel = [];
    private readonly List<(uint Type, ulong Config, ulong Config1, int Cpu)> _opened = [];
    private int _error;

    public void Dispose()
    {
        _host.Dispose();
        _directory.Dispose();
    }

    /// <summary>A host as Linux shows it: two monitors of the function's SMMU, one of another.</summary>
    private void Host(uint type = 30, string cpu = "4", bool ats = true)
    {
        _host.Function(Function, 0x10de2342, 0x030200, [], iommu: IortBytes.Smmu)
            .Binary("sys/firmware/acpi/tables/IORT", IortBytes.OfQemu().WithRoot(9, 0x100, 0xff, Stream, IortBytes.SmmuNode).WithMonitor(0x9052000, IortBytes.SmmuNode).WithMonitor(0x9062000, IortBytes.SmmuNode).WithMonitor(0x8000000, IortBytes.RootNode));
        Monitor(Near, type, cpu, ats);
        Monitor(Behind, type + 1, cpu, false);
        Monitor("smmuv3_pmcg_8000", type + 2, cpu, true);
    }

    private void Monitor(string name, uint type, string cpu, bool ats)
    {
        var path = $"sys/bus/event_source/devices/{name}";
        _host.Text($"{path}/type", $"{type}").Text($"{path}/cpumask", cpu).Text($"{path}/format/event", "config:0-15").Text($"{path}/format/filter_stream_id", "config1:0-31")
            .Text($"{path}/format/filter_span", "config1:32").Text($"{path}/format/filter_enable", "config1:33").Text($"{path}/events/tlb_miss", "event=0x02").Text($"{path}/events/cycles", "event=0x00");
        if (ats)
            _host.Text($"{path}/events/pcie_ats_trans_rq", "event=0x06").Text($"{path}/events/pcie_ats_trans_passed", "event=0x07");
    }

    private static PciAddress Address(string text) => PciAddress.TryParse(text, out var address) ? address : throw new ArgumentException(text);

    private KeptTallies Tallies(bool adopted) => new(_directory.Of("smmu-pmu.state"), 1, adopted, true, _time, NullLogger.Instance);

    private SmmuPmuCounter Counter(bool adopted = false) => new(_host.Tree, [Address(Function)], Tallies(adopted), Open, _time, NullLogger.Instance);

    private PerfCounter? Open(uint type, ulong config, ulong config1, int cpu, out PerfRefusal refusal, out int error)
    {
        (refusal, error) = (PerfCounter.Of(_error), _error);
        if (_error != 0)
            return null;
        refusal = PerfRefusal.None;
        _opened.Add((type, config, config1, cpu));
        return new PerfCounter(() => _kernel.GetValueOrDefault((type, config), new PerfReading(0, 10, 10)));
    }

    private static Dictionary<string, (long? Value, bool LowerBound, string? Reason)> Read(SmmuPmuCounter counter) =>
        SmmuPmuFaults.Of(true, counter.Look(), Origin.Hardware).ToDictionary(r => r.Source, r => (r.Value, r.LowerBound, r.NullReason));

    [Fact]
    public void Look_CountsEachMonitorOfItsSmmu_ByTheFunctionsStreamOnly()
    {
        Host();
        using var counter = Counter();
        Assert.Equal((0L, false, null), Read(counter)[FaultSource.HostSmmuTlbMisses]);
        const ulong onlyTheStream = (1UL << 33) | Stream;
        Assert.Equal([(30u, 2ul, onlyTheStream, 4), (30u, 6ul, onlyTheStream, 4), (30u, 7ul, onlyTheStream, 4), (31u, 2ul, onlyTheStream, 4)], _opened.Order());
        (_kernel[(30, 2)], _kernel[(31, 2)], _kernel[(30, 6)], _kernel[(30, 7)]) = (new(5, 100, 100), new(2, 100, 100), new(9, 100, 100), new(8, 100, 100));
        Assert.Equal([(7L, false, null), (9L, false, null), (8L, false, null)], [.. Read(counter).Values]);
    }

    [Fact]
    public void Look_WhenACounterWasShared_ShowsWhatItSawAsALowerBound()
    {
        Host();
        using var counter = Counter();
        _kernel[(30, 2)] = new(5, 100, 40);
        Assert.Equal((5L, true, null), Read(counter)[FaultSource.HostSmmuTlbMisses]);
        Assert.Equal((0L, false, null), Read(counter)[FaultSource.AtsRequests]);
    }

    [Fact]
    public void Look_WhenACounterNeverRuns_IsTaken_AndOfTwoTheOtherIsALowerBound()
    {
        Host();
        using var counter = Counter();
        (_kernel[(30, 2)], _kernel[(30, 6)]) = (new(0, 100, 0), new(0, 100, 0));
        _kernel[(31, 2)] = new(3, 100, 100);
        Assert.Equal((null, false, "PmuTaken"), Read(counter)[FaultSource.AtsRequests]);
        Assert.Equal((3L, true, null), Read(counter)[FaultSource.HostSmmuTlbMisses]);
    }

    [Fact]
    public void Look_AfterAWorkersRestart_GoesOnAsALowerBound()
    {
        Host();
        using (var counter = Counter())
        {
            _kernel[(30, 2)] = new(5, 100, 100);
            Read(counter);
        }
        // The kernel has begun at 0, and counted more than before.
        _kernel[(30, 2)] = new(11, 100, 100);
        using var next = Counter(adopted: true);
        Assert.Equal((16L, true, null), Read(next)[FaultSource.HostSmmuTlbMisses]);
    }

    [Theory]
    [InlineData(1, "PmuNotPermitted")]
    [InlineData(13, "PmuNotPermitted")]
    [InlineData(16, "PmuTaken")]
    [InlineData(28, "PmuTaken")]
    [InlineData(22, "PmuEventMissing")]
    [InlineData(2, "NoSmmuPmu")]
    [InlineData(19, "NoSmmuPmu")]
    [InlineData(24, "PmuFailed")]
    public void Look_WhenTheKernelRefuses_SaysWhyAndTriesAgainLater(int error, string reason)
    {
        Host();
        _error = error;
        using var counter = Counter();
        Assert.All(Read(counter).Values, r => Assert.Equal((null, false, reason), r));
        _error = 0;
        Assert.All(Read(counter).Values, r => Assert.Equal(reason, r.Reason));
        _time.Advance(TimeSpan.FromSeconds(31));
        // What passed before it was let is not known.
        Assert.All(Read(counter).Values, r => Assert.Equal((0L, true, null), r));
    }

    [Fact]
    public void Look_WhenTheMonitorLacksTheEvents_SaysSo()
    {
        Host(ats: false);
        using var counter = Counter();
        Assert.Equal([null, "PmuEventMissing", "PmuEventMissing"], Read(counter).Values.Select(r => r.Reason));
    }

    [Theory]
    [InlineData("none", "NoSmmuPmu")]
    [InlineData("another's", "NoSmmuPmu")]
    [InlineData("noTable", "StreamIdUnknown")]
    [InlineData("unnamed", "StreamIdUnknown")]
    [InlineData("otherSmmu", "StreamIdUnknown")]
    [InlineData("otherFormat", "PmuEventMissing")]
    public void Look_WhenItIsNotKnownWhatToCount_OpensNothing(string what, string reason)
    {
        if (what != "none")
            Host();
        var iort = Path.Combine(_host.Tree.Root, "sys/firmware/acpi/tables/IORT");
        switch (what)
        {
            case "another's":
                File.WriteAllBytes(iort, IortBytes.OfQemu().WithRoot(9, 0x100, 0xff, Stream, IortBytes.SmmuNode).WithMonitor(0x8000000, IortBytes.RootNode));
                break;
            case "noTable":
                File.Delete(iort);
                break;
            case "unnamed":
                File.WriteAllBytes(iort, IortBytes.OfQemu().WithMonitor(0x9052000, IortBytes.SmmuNode));
                break;
            case "otherSmmu":
                File.Delete(Path.Combine(_host.Tree.Root, $"sys/bus/pci/devices/{Function}/iommu"));
                _host.Link($"sys/bus/pci/devices/{Function}/iommu", "../../platform/x/iommu/smmu3.0x0000000009060000");
                break;
            case "otherFormat":
                _host.Text($"sys/bus/event_source/devices/{Near}/format/filter_stream_id", "config2:0-31").Text($"sys/bus/event_source/devices/{Behind}/cpumask", "");
                break;
        }
        using var counter = Counter();
        Assert.All(Read(counter).Values, r => Assert.Equal(reason, r.Reason));
        Assert.Empty(_opened);
    }

    /// <summary>The whole way with a monitor that every kernel has: by type 1 (software) event 2 is page faults, 6 major ones and 7 alignment faults, on one CPU.</summary>
    [Fact]
    public async Task Look_WithTheKernelsOwnSoftwareMonitor_CountsRealEvents()
    {
        var refusedBy = PerfCounter.Open(1, 2, 0, 0, out var refusal, out var error);
        refusedBy?.Dispose();
        Assert.SkipWhen(refusal is PerfRefusal.NotPermitted or PerfRefusal.Other, $"this machine lets nobody count on a CPU: errno {error}");
        Host(type: 1, cpu: "0");
        foreach (var other in (string[])[Behind, "smmuv3_pmcg_8000"])
            Directory.Delete(Path.Combine(_host.Tree.Root, $"sys/bus/event_source/devices/{other}"), recursive: true);
        using var counter = new SmmuPmuCounter(_host.Tree, [Address(Function)], Tallies(false), PerfCounter.Open, _time, NullLogger.Instance);
        var descriptors = Descriptors();
        await Eventually.TrueAsync(() =>
        {
            Touch();
            return Read(counter)[FaultSource.HostSmmuTlbMisses] is { Value: > 0, LowerBound: false, Reason: null };
        }, "page faults of a CPU are counted");
        Assert.Equal(3, Descriptors() - descriptors);
        counter.Dispose();
        Assert.Equal(descriptors, Descriptors());
    }

    /// <summary>How many perf events this process has open, each closed when it executes another program.</summary>
    private static int Descriptors()
    {
        var events = new DirectoryInfo("/proc/self/fd").EnumerateFileSystemInfos().Where(entry => entry.LinkTarget?.Contains("perf_event", StringComparison.Ordinal) == true).Select(entry => entry.Name).ToList();
        const int closeOnExec = 0x80000;
        Assert.All(events, name => Assert.Equal(closeOnExec, Convert.ToInt32(File.ReadLines($"/proc/self/fdinfo/{name}").Single(l => l.StartsWith("flags:", StringComparison.Ordinal))[6..].Trim(), 8) & closeOnExec));
        return events.Count;
    }

    private static unsafe void Touch()
    {
        const int bytes = 8 << 20;
        var pages = (byte*)System.Runtime.InteropServices.NativeMemory.Alloc(bytes);
        for (var at = 0; at < bytes; at += 4096)
            pages[at] = 1;
        System.Runtime.InteropServices.NativeMemory.Free(pages);
    }

    [Theory]
    [InlineData(0, 0, 0, false, false)]
    [InlineData(7, 100, 100, false, false)]
    [InlineData(7, 100, 60, false, true)]
    [InlineData(0, 100, 0, true, true)]
    public void Parse_OfAReading_KnowsWhetherItCounted(long count, long enabled, long running, bool taken, bool shared)
    {
        var reading = PerfCounter.Parse([.. BitConverter.GetBytes(count), .. BitConverter.GetBytes(enabled), .. BitConverter.GetBytes(running)])!.Value;
        Assert.Equal((count, taken, shared), (reading.Count, reading.IsTaken, reading.IsShared));
    }

    [Theory]
    [InlineData(-1, 1, 1)]
    [InlineData(1, -1, 1)]
    [InlineData(1, 1, -1)]
    [InlineData(1, 1, 2)]
    public void Parse_OfWhatCannotBe_IsNull(long count, long enabled, long running)
    {
        Assert.Null(PerfCounter.Parse([.. BitConverter.GetBytes(count), .. BitConverter.GetBytes(enabled), .. BitConverter.GetBytes(running)]));
        Assert.Null(PerfCounter.Parse([1, 2, 3]));
    }

    [Theory]
    [InlineData("4", 4)]
    [InlineData("0-3", 0)]
    [InlineData("2,8", 2)]
    [InlineData("", null)]
    [InlineData("all", null)]
    [InlineData(null, null)]
    public void CpuOf_AList_IsItsFirst(string? list, int? expected) => Assert.Equal(expected, SmmuMonitors.CpuOf(list));
}
