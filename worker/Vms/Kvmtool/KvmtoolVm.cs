using System.Net.Sockets;
using Contracts;
using Worker.Agent;
using Microsoft.Extensions.Logging;
using Worker.Faults;
using Worker.Faults.Tracing;

namespace Worker.Vms.Kvmtool;

// One running lkvm, started or adopted. The process that is watched is its launcher, which lives a moment longer and keeps its exit status.
// Guarantees: it is confirmed only by a process that answers on the VM's own socket and descends from the launcher; the VMM's log takes
// a bounded part of the disk while a worker runs. There is no power button and no agent: to stop is to pull the plug.
internal sealed class KvmtoolVm : IVm
{
    internal const long MaxLogBytes = 256 * 1024;
    private static readonly TimeSpan RetryDelay = TimeSpan.FromMilliseconds(100), AnswerLimit = TimeSpan.FromSeconds(2), Period = TimeSpan.FromSeconds(1);
    private readonly VmLaunch _launch;
    private readonly ProcessHandle _process;
    private readonly VmTell _tell;
    private readonly TimeProvider _time;
    private readonly VmSupervision _supervision;
    private readonly SandboxFaults _faults;
    private readonly HostObservation _observed;
    private volatile ProcessFaults? _lkvm;

    public KvmtoolVm(VmLaunch launch, ProcessHandle process, HostFaults host, VmTracing traced, bool adopted, VmTell tell, TimeProvider time, ILogger log)
    {
        (_launch, _process, _tell, _time) = (launch, process, tell, time);
        _observed = host.Observe(launch, adopted, new TracedFaults(traced, underKvm: true, () => _lkvm is { } lkvm ? (lkvm.Pid, null) : (null, NullReasons.VmmNotConfirmed), host.Origin));
        var kvm = KvmFaults.Of(
            () => HasExited ? NullReasons.VmmGone : _lkvm is null ? NullReasons.VmmNotConfirmed : null, () => _lkvm?.Pid, _ => Task.FromResult(KvmStatistics.None), host.Tree, host.Origin, time);
        _faults = new SandboxFaults(launch.Directory.Id, launch.Incarnation, Collectors(new VmmFaults(() => _lkvm, host.Origin), kvm, _observed, host.Origin),
            new HighestCounts(launch.Directory, launch.Incarnation, adopted, time, log));
        _supervision = new VmSupervision(launch.Directory.Id, log);
        _supervision.Begin(SuperviseAsync);
        foreach (var part in (IEnumerable<Func<CancellationToken, Task>>)[.. _observed.Beside, kvm.Beside!])
            _supervision.Begin(part);
    }

    /// <summary>Each source is one collector's.</summary>
    internal static IReadOnlyList<IFaultCollector> Collectors(VmmFaults vmm, KvmFaults kvm, HostObservation observed, Origin host) =>
    [
        new GuestFaults(null, NullReasons.NoAgentUnderKvmtool, Viommu.None, cpu: host, smmu: host), vmm, kvm,
        new QemuSmmuFaults(Viommu.None, null, accelerated: false, host),
        new VirtioIommuFaults(Viommu.None, null),
        .. observed.Collectors,
    ];

    public ProcessIdentity Process => _process.Identity;
    public bool HasExited => _process.HasExited;

    public Task SendAsync(AgentCommand command, CancellationToken ct) => Task.FromException(new IOException("kvmtool gives a guest no port for an agent"));

    public AgentSessions? Sessions => null;

    public Task RequestPowerOffAsync(CancellationToken ct) => KvmtoolIpc.StopAsync(KvmtoolLauncher.Socket(_launch.Directory), ct);

    public Task QuitAsync(CancellationToken ct) => KvmtoolIpc.StopAsync(KvmtoolLauncher.Socket(_launch.Directory), ct);

    public void Kill()
    {
        _process.Kill();
        _launch.Cgroup?.KillAll();
    }

    public FaultSample Sample(DateTimeOffset now) => _faults.Sample(now);

    public async ValueTask DisposeAsync()
    {
        await _supervision.DisposeAsync();
        _observed.Dispose();
        _process.Dispose();
    }

    private async Task SuperviseAsync(CancellationToken ct)
    {
        await ConfirmAsync(ct);
        while (!HasExited)
        {
            TrimLog();
            await Task.Delay(Period, _time, ct);
        }
    }

    private async Task ConfirmAsync(CancellationToken ct)
    {
        while (!HasExited)
        {
            if (await AnsweringAsync(ct) is { } pid)
            {
                _lkvm = new ProcessFaults(pid);
                await _tell(new VmConfirmed(_launch.Incarnation), ct);
                return;
            }
            await Task.Delay(RetryDelay, _time, ct);
        }
    }

    /// <summary>The number of the lkvm that answers; null while none of this VM's does.</summary>
    private async Task<int?> AnsweringAsync(CancellationToken ct)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(ct);
        limit.CancelAfter(AnswerLimit);
        try
        {
            var pid = await KvmtoolIpc.AskPidAsync(KvmtoolLauncher.Socket(_launch.Directory), limit.Token);
            return ProcessAncestry.Descends(pid, Process.Pid) ? pid : null;
        }
        catch (Exception problem) when (problem is SocketException or IOException || (problem is OperationCanceledException && !ct.IsCancellationRequested))
        {
            return null;
        }
    }

    /// <summary>A guest can make lkvm complain as often as it likes: only the log's end stays on the disk.</summary>
    private void TrimLog()
    {
        using var file = LibC.OpenWithoutFollowing(_launch.Directory.VmmLog, write: true);
        if (file is null || !LibC.HasOneName(file))
            return;
        if (RandomAccess.GetLength(file) - MaxLogBytes is > 0 and var beginning)
            LibC.FreeRange(file, beginning);
    }
}
