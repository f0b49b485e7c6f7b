using Contracts;
using Worker.Hardware;

namespace Worker.Faults;

// KVM's statistics of one guest. Guarantees: asked beside the sampler, the kernel first (debugfs) and the VMM (QMP query-stats) only for what the kernel does not tell,
// because the VMM may have been taken over, and older ones stop each vCPU to answer; without KVM nobody is asked; a count that is not told anew for five seconds is null.
// Assumes: one VM a process. On a crash: nothing is kept, KVM counts on.
internal sealed class KvmFaults : IFaultCollector
{
    private readonly Func<string?> _none;
    private readonly Origin _host;
    private readonly RepeatedLook<KvmStatistics>? _look;

    private KvmFaults(Func<string?> none, Origin host, RepeatedLook<KvmStatistics>? look) => (_none, _host, _look) = (none, host, look);

    /// <summary>Of a guest that an emulator runs.</summary>
    public static KvmFaults NotUnderKvm(Origin host) => new(() => NullReasons.NotUnderKvm, host, null);

    /// <param name="none">Why there is no VMM to ask about; null where there is one.</param>
    /// <param name="pid">Of the VMM; null while it is not known.</param>
    /// <param name="askVmm">Asks it; <see cref="KvmStatistics.None"/> when it does not say.</param>
    /// <param name="tree">Where debugfs is.</param>
    /// <param name="host">The host's origin.</param>
    /// <param name="time">For the period.</param>
    public static KvmFaults Of(Func<string?> none, Func<int?> pid, Func<CancellationToken, Task<KvmStatistics>> askVmm, HostTree tree, Origin host, TimeProvider time) =>
        new(none, host, new RepeatedLook<KvmStatistics>(time, async ct =>
        {
            var told = pid() is { } known ? KvmStatistics.FromDebugfs(tree, known) : KvmStatistics.None;
            return told.IsWhole ? told : told.Or(await askVmm(ct));
        }));

    /// <summary>What is to be run beside, if anything.</summary>
    public Func<CancellationToken, Task>? Beside => _look is null ? null : _look.RunAsync;

    public IEnumerable<SourceReading> Read(DateTimeOffset now) => Of(_none(), _look?.Latest ?? KvmStatistics.None, _host);

    internal static IEnumerable<SourceReading> Of(string? none, KvmStatistics told, Origin host)
    {
        yield return Reading.Of(FaultSource.KvmExits, told.Exits, none, NullReasons.KvmStatisticsMissing, host);
        yield return Reading.Of(FaultSource.KvmMmioExits, told.MmioExits, none, NullReasons.KvmStatisticsMissing, host);
        yield return Reading.Of(FaultSource.KvmTlbFlushes, told.TlbFlushes, none, NullReasons.KvmStatisticsMissing, host);
    }
}
