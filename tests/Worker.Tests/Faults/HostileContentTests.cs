using System.Text;
using System.Text.Json;
using Contracts;
using CsCheck;
using Microsoft.Extensions.Logging.Abstractions;
using Worker.Faults;
using Worker.Hardware.Pci;
using Worker.Tests.Hardware;
using Xunit;

namespace Worker.Tests.Faults;

/// <summary>Whatever the files, answers and logs hold that a collector reads, again and again: no count is below zero, each has a value or a reason, and none goes back.</summary>
public sealed class HostileContentTests
{
    private static readonly string[] Names =
        ["pgfault", "pgmajfault", "thp_fault_alloc", "workingset_refault_anon", "workingset_refault_file", "some avg10=0.00 total=", "full total=", "TOTAL_ERR_COR", "TOTAL_ERR_NONFATAL", "TOTAL_ERR_FATAL", "", "x"];

    private static Gen<string> OneOf(params string[] some) => Gen.Int[0, some.Length - 1].Select(n => some[n]);

    private static readonly Gen<string> Number = Gen.OneOf(
        Gen.Long[0, 1000].Select(n => $"{n}"), Gen.Long.Select(n => $"{n}"), Gen.ULong.Select(n => $"{n}"), OneOf("", "-0", "1e9", "99999999999999999999999999", "0x10", " 7", "7 ", "٣"));

    private static readonly Gen<string> Text = Gen.Select(
        Gen.Select(OneOf(Names), OneOf(" ", "", "\t"), Number, (name, between, number) => name.EndsWith('=') ? name + number : name + between + number).Array[0, 14],
        Gen.Bool, (lines, ends) => string.Join('\n', lines) + (ends ? "\n" : ""));

    private sealed class Told(Func<IEnumerable<SourceReading>> read) : IFaultCollector
    {
        public IEnumerable<SourceReading> Read(DateTimeOffset now) => read();
    }

    /// <summary>Takes a sample for each content, and sees that they keep together.</summary>
    private static void Judge<T>(IEnumerable<T> contents, Func<T, IEnumerable<SourceReading>> read)
    {
        IEnumerable<SourceReading> current = [];
        var faults = new SandboxFaults(Guid.Empty, 1, [new Told(() => current)], HighestCounts.OfASimulation());
        var highest = new Dictionary<string, long>();
        foreach (var content in contents)
        {
            current = read(content);
            foreach (var reading in faults.Sample(DateTimeOffset.UnixEpoch).Readings)
            {
                Assert.True(reading.Value is null != reading.NullReason is null, $"{reading}");
                Assert.True(reading.Value is null or >= 0, $"{reading}");
                Assert.True(reading.NullReason is null || FaultMetrics.SourceOf(reading.Source)!.NullReasons.Contains(reading.NullReason), $"{reading}");
                Assert.True(reading.Value is not { } value || value >= highest.GetValueOrDefault(reading.Source), $"{reading}");
                if (reading.Value is { } shown)
                    highest[reading.Source] = shown;
            }
        }
    }

    [Fact]
    public void Cgroup() => Gen.Select(Text, Text, Gen.Bool).Array[1, 8].Sample(contents =>
        Judge(contents, c => CgroupFaults.Of(new CgroupFaults.Seen(true, c.Item3 ? c.Item1 : null, c.Item2), Origin.Hardware)));

    private static readonly Gen<string> Json = Gen.Select(
        OneOf("kvm", "x"), Gen.Select(OneOf("exits", "mmio_exit_user", "mmio_exit_kernel", "remote_tlb_flush", "remote_tlb_flush_requests"), Gen.OneOf(Gen.Long.Select(n => $"{n}"), Gen.Long[0, 100].Select(n => $"{n}"), OneOf("1e400", "[]", "null", "\"1\"", "{}", "true", "18446744073709551615")), (name, value) => $"{{\"name\":\"{name}\",\"value\":{value}}}").Array[0, 7],
        (provider, stats) => $"{{\"provider\":\"{provider}\",\"stats\":[{string.Join(',', stats)}]}}").Array[0, 3].Select(entries => $"[{string.Join(',', entries)}]");

    [Fact]
    public void KvmByQmp() => Gen.Select(Json, Json).Array[1, 8].Sample(contents =>
        Judge(contents, c => KvmFaults.Of(null, KvmStatistics.FromQmp(JsonDocument.Parse(c.Item1).RootElement, JsonDocument.Parse(c.Item2).RootElement), Origin.Hardware)));

    [Fact]
    public void KvmByDebugfs()
    {
        using var host = new FixtureTree();
        host.Link("proc/self/ns/pid", "pid:[4026531836]");
        string[] files = ["exits", "mmio_exit_user", "mmio_exit_kernel", "remote_tlb_flush", "remote_tlb_flush_requests"];
        Number.Array[files.Length].Array[1, 4].Sample(contents => Judge(contents, numbers =>
        {
            foreach (var (file, number) in files.Zip(numbers))
                host.Text($"sys/kernel/debug/kvm/7-1/{file}", number);
            return KvmFaults.Of(null, KvmStatistics.FromDebugfs(host.Tree, 7), Origin.Hardware);
        }), iter: 60, threads: 1);
    }

    [Fact]
    public void Aer()
    {
        using var host = new FixtureTree();
        using var directory = new TemporaryDirectory();
        var function = PciAddress.TryParse("0009:01:00.0", out var parsed) ? parsed : default;
        Gen.Select(Text.Array[3], Gen.Bool).Array[1, 6].Sample(contents =>
        {
            var adopted = false;
            AerCounter Open() => new(host.Tree, [function], new KeptTallies(directory.Of("state"), 1, adopted, false, TimeProvider.System, NullLogger.Instance));
            var counter = Open();
            adopted = true;
            Judge(contents, c =>
            {
                foreach (var (file, text) in ((string[])["aer_dev_correctable", "aer_dev_nonfatal", "aer_dev_fatal"]).Zip(c.Item1))
                    host.Text($"sys/bus/pci/devices/{function}/{file}", text);
                if (c.Item2)
                    counter = Open();
                return AerFaults.Of(true, counter.Look(), Origin.Hardware);
            });
        }, iter: 60, threads: 1);
    }

    [Fact]
    public void SmmuPmu()
    {
        using var directory = new TemporaryDirectory();
        var reading = Gen.Select(Gen.OneOf(Gen.Long, Gen.Long[0, 1000]), Gen.OneOf(Gen.Long, Gen.Long[0, 3]), Gen.OneOf(Gen.Long, Gen.Long[0, 3]), (count, enabled, running) =>
            PerfCounter.Parse([.. BitConverter.GetBytes(count), .. BitConverter.GetBytes(enabled), .. BitConverter.GetBytes(running)]));
        var host = new FixtureTree();
        host.Function("0009:01:00.0", 0x10de2342, 0x030200, [], iommu: IortBytes.Smmu).Binary("sys/firmware/acpi/tables/IORT", IortBytes.OfQemu().WithRoot(9, 0, 0xffff, 0, IortBytes.SmmuNode).WithMonitor(0x9052000, IortBytes.SmmuNode));
        const string monitor = "sys/bus/event_source/devices/smmuv3_pmcg_9052";
        host.Text($"{monitor}/type", "30").Text($"{monitor}/cpumask", "0").Text($"{monitor}/format/event", "config:0-15").Text($"{monitor}/format/filter_stream_id", "config1:0-31").Text($"{monitor}/format/filter_span", "config1:32")
            .Text($"{monitor}/format/filter_enable", "config1:33").Text($"{monitor}/events/tlb_miss", "event=0x02");
        Gen.Select(reading, Gen.Bool).Array[1, 8].Sample(contents =>
        {
            PerfReading? now = null;
            PerfCounter? Opens(uint type, ulong config, ulong config1, int cpu, out PerfRefusal refusal, out int error)
            {
                (refusal, error) = (PerfRefusal.None, 0);
                return new PerfCounter(() => now);
            }
            var function = PciAddress.TryParse("0009:01:00.0", out var parsed) ? parsed : default;
            SmmuPmuCounter Open(bool adopted) => new(host.Tree, [function], new KeptTallies(directory.Of("state"), 1, adopted, true, TimeProvider.System, NullLogger.Instance), Opens, TimeProvider.System, NullLogger.Instance);
            var counter = Open(false);
            Judge(contents, c =>
            {
                now = c.Item1;
                if (c.Item2)
                    counter = Open(true);
                return SmmuPmuFaults.Of(true, counter.Look(), Origin.Hardware);
            });
        }, iter: 60, threads: 1);
        host.Dispose();
    }

    [Fact]
    public void VirtioIommu() => ViommuCountsTests.AnyLine.Array[0, 12].Array[1, 6].Sample(contents =>
    {
        var counts = ViommuCounts.Zero;
        Judge(contents, lines =>
        {
            counts = counts.Add(Encoding.UTF8.GetBytes(string.Join('\n', lines) + "\n"));
            return VirtioIommuFaults.Of(Viommu.Virtio, new ViommuReading(counts, null, null, null));
        });
    });
}
