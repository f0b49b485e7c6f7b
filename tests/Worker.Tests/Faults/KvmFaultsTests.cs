using System.Text.Json;
using Contracts;
using Microsoft.Extensions.Time.Testing;
using Worker.Faults;
using Worker.Tests.Hardware;
using Xunit;

namespace Worker.Tests.Faults;

public sealed class KvmFaultsTests
{
    private const string Vm = """[{"provider":"kvm","stats":[{"name":"remote_tlb_flush","value":3},{"name":"remote_tlb_flush_requests","value":5}]}]""";
    private const string Vcpus = """
        [{"provider":"kvm","qom-path":"/machine/unattached/device[0]","stats":[{"name":"exits","value":100},{"name":"mmio_exit_user","value":10},{"name":"mmio_exit_kernel","value":1}]},
         {"provider":"kvm","qom-path":"/machine/unattached/device[1]","stats":[{"name":"mmio_exit_kernel","value":2},{"name":"exits","value":200},{"name":"mmio_exit_user","value":20}]}]
        """;

    private static KvmStatistics FromQmp(string vm, string vcpus) => KvmStatistics.FromQmp(JsonDocument.Parse(vm).RootElement, JsonDocument.Parse(vcpus).RootElement);

    private static FixtureTree Debugfs(int pid, params (string Name, string Value)[] files)
    {
        var tree = new FixtureTree().Link("proc/self/ns/pid", "pid:[4026531836]");
        foreach (var (name, value) in files)
            tree.Text($"sys/kernel/debug/kvm/{pid}-11/{name}", value);
        return tree;
    }

    private static readonly (string, string)[] Whole = [("exits", "300"), ("mmio_exit_user", "30"), ("mmio_exit_kernel", "3"), ("remote_tlb_flush", "3"), ("remote_tlb_flush_requests", "5")];

    [Fact]
    public void FromQmp_SumsOverVcpus() => Assert.Equal(new KvmStatistics(300, 33, 5), FromQmp(Vm, Vcpus));

    [Theory]
    [InlineData("[]")] // under TCG, as QEMU 7.2 answers
    [InlineData("null")]
    [InlineData("{}")]
    [InlineData("7")]
    [InlineData("[[]]")]
    [InlineData("""[{"provider":"cryptodev","stats":[{"name":"exits","value":1}]}]""")]
    [InlineData("""[{"provider":7,"stats":[{"name":"exits","value":1}]}]""")]
    [InlineData("""[{"provider":"kvm","stats":{"name":"exits","value":1}}]""")]
    [InlineData("""[{"provider":"kvm","stats":[{"name":"exits","value":-1}]}]""")]
    [InlineData("""[{"provider":"kvm","stats":[{"name":"exits","value":1e300}]}]""")]
    [InlineData("""[{"provider":"kvm","stats":[{"name":"exits","value":1.5}]}]""")]
    [InlineData("""[{"provider":"kvm","stats":[{"name":"exits","value":9223372036854775808}]}]""")]
    [InlineData("""[{"provider":"kvm","stats":[{"name":"exits","value":"1"}]}]""")]
    [InlineData("""[{"provider":"kvm","stats":[{"name":"exits","value":[1,2]}]}]""")]
    [InlineData("""[{"provider":"kvm","stats":[{"name":"exits"}]}]""")]
    [InlineData("""[{"provider":"kvm","stats":[{"name":"exits","value":1},{"name":"exits","value":2}]}]""")]
    [InlineData("""[{"provider":"kvm","stats":[{"name":"exits","value":9223372036854775807}]},{"provider":"kvm","stats":[{"name":"exits","value":1}]}]""")]
    [InlineData("""[{"provider":"kvm","stats":[{"name":"exits","value":1}]},{"provider":"kvm","stats":[]}]""")]
    public void FromQmp_OfNonsense_IsNothing(string vcpus) => Assert.Equal((null, null), (FromQmp(Vm, vcpus).Exits, FromQmp(Vm, vcpus).MmioExits));

    [Fact]
    public void FromQmp_OfMoreVcpusThanThereAre_IsNothing() => Assert.Null(FromQmp(Vm, "[" + string.Join(',', Enumerable.Repeat("""{"provider":"kvm","stats":[{"name":"exits","value":1}]}""", 5000)) + "]").Exits);

    [Fact]
    public void FromQmp_WhenTheKernelHasOneOfTheTwoFlushes_TakesIt() => Assert.Equal(9, FromQmp("""[{"provider":"kvm","stats":[{"name":"remote_tlb_flush","value":9}]}]""", "[]").TlbFlushes);

    [Fact]
    public void FromDebugfs_ReadsTheVmOfThatProcess()
    {
        using var tree = Debugfs(77, Whole);
        tree.Text("sys/kernel/debug/kvm/777-11/exits", "9").Text("sys/kernel/debug/kvm/exits", "9");
        Assert.Equal(new KvmStatistics(300, 33, 5), KvmStatistics.FromDebugfs(tree.Tree, 77));
        Assert.Equal(KvmStatistics.None, KvmStatistics.FromDebugfs(tree.Tree, 7));
    }

    [Theory]
    [InlineData("-3")]
    [InlineData("99999999999999999999999999999999999999")]
    [InlineData("many")]
    [InlineData("")]
    [InlineData("1\n2")]
    public void FromDebugfs_OfNonsense_IsNothing(string exits)
    {
        using var tree = Debugfs(77, ("exits", exits));
        Assert.Equal(KvmStatistics.None, KvmStatistics.FromDebugfs(tree.Tree, 77));
    }

    [Fact]
    public void FromDebugfs_WhenItIsNotClearWhoseItIs_IsNothing()
    {
        using var two = Debugfs(77, Whole);
        two.Text("sys/kernel/debug/kvm/77-12/exits", "1");
        Assert.Equal(KvmStatistics.None, KvmStatistics.FromDebugfs(two.Tree, 77));
        // In a container the worker's numbers are others than the kernel's.
        using var container = new FixtureTree().Link("proc/self/ns/pid", "pid:[4026532201]").Text("sys/kernel/debug/kvm/77-11/exits", "1");
        Assert.Equal(KvmStatistics.None, KvmStatistics.FromDebugfs(container.Tree, 77));
    }

    [Fact]
    public async Task Read_AsksTheKernelFirstAndTheVmmOnlyForTheRest()
    {
        using var tree = Debugfs(77, ("exits", "300"));
        var (kvm, time) = Begin(tree, _ => Task.FromResult(new KvmStatistics(1, 2, 3)));
        await using var running = kvm;
        Assert.Equal([300, 2, 3], await running.UntilAsync(time, values => values[0] is not null));
    }

    [Fact]
    public async Task Read_WhenTheKernelTellsAll_DoesNotAskTheVmm()
    {
        using var tree = Debugfs(77, Whole);
        var asked = 0;
        var (kvm, time) = Begin(tree, _ => { asked++; return Task.FromResult(KvmStatistics.None); });
        await using var running = kvm;
        Assert.Equal([300, 33, 5], await running.UntilAsync(time, values => values[0] is not null));
        Assert.Equal(0, asked);
    }

    [Fact]
    public async Task Read_WhenTheVmmFallsSilent_IsNullAgain()
    {
        using var tree = new FixtureTree();
        var answers = 1;
        var (kvm, time) = Begin(tree, async ct =>
        {
            if (answers-- <= 0)
                await Task.Delay(Timeout.Infinite, ct);
            return new KvmStatistics(1, 2, 3);
        });
        await using var running = kvm;
        await running.UntilAsync(time, values => values[0] == 1, step: TimeSpan.Zero);
        await running.UntilAsync(time, values => values[0] is null);
        Assert.All(running.Faults.Read(DateTimeOffset.UnixEpoch), r => Assert.Equal("KvmStatisticsMissing", r.NullReason));
    }

    [Theory]
    [InlineData("VmmGone")]
    [InlineData("VmmNotConfirmed")]
    public async Task Read_WhenThereIsNoVmm_SaysSoWhateverWasTold(string reason)
    {
        using var tree = Debugfs(77, Whole);
        string? none = null;
        var (kvm, time) = Begin(tree, _ => Task.FromResult(KvmStatistics.None), () => none);
        await using var running = kvm;
        await running.UntilAsync(time, values => values[0] is not null);
        none = reason;
        Assert.All(running.Faults.Read(DateTimeOffset.UnixEpoch), r => Assert.Equal((null, reason), (r.Value, r.NullReason)));
    }

    [Fact]
    public void NotUnderKvm_AsksNobody()
    {
        var faults = KvmFaults.NotUnderKvm(Origin.Hardware);
        Assert.Null(faults.Beside);
        Assert.All(faults.Read(DateTimeOffset.UnixEpoch), r => Assert.Equal("NotUnderKvm", r.NullReason));
    }

    private static (Running, FakeTimeProvider) Begin(FixtureTree tree, Func<CancellationToken, Task<KvmStatistics>> ask, Func<string?>? none = null)
    {
        var time = new FakeTimeProvider();
        return (new Running(KvmFaults.Of(none ?? (() => null), () => 77, ask, tree.Tree, Origin.Hardware, time)), time);
    }

    private sealed class Running : IAsyncDisposable
    {
        private readonly CancellationTokenSource _end = new();
        private readonly Task _beside;

        public Running(KvmFaults faults) => (Faults, _beside) = (faults, faults.Beside!(_end.Token));

        public KvmFaults Faults { get; }

        public async Task<long?[]> UntilAsync(FakeTimeProvider time, Func<long?[], bool> condition, TimeSpan? step = null)
        {
            long?[] values = [];
            await Eventually.TrueAsync(() =>
            {
                time.Advance(step ?? TimeSpan.FromSeconds(1));
                return condition(values = [.. Faults.Read(DateTimeOffset.UnixEpoch).Select(r => r.Value)]);
            }, "it is told");
            return values;
        }

        public async ValueTask DisposeAsync()
        {
            await _end.CancelAsync();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => _beside);
            _end.Dispose();
        }
    }
}
