using System.Text.Json;
using System.Text.Json.Nodes;
using Contracts;
using Microsoft.Extensions.Logging;
using Worker.Agent;
using Worker.Faults;
using Worker.Faults.Tracing;

namespace Worker.Vms.Qemu;

// One running QEMU: its process, control connection, agent and trace. Started or adopted, it is supervised the same way.
// Guarantees: how the guest ended is told whenever the VMM can still say so, also when it happened before the connection was made.
internal sealed class QemuVm : IVm
{
    private static readonly TimeSpan RetryDelay = TimeSpan.FromMilliseconds(100), AnswerLimit = TimeSpan.FromSeconds(2);
    private readonly VmLaunch _launch;
    private readonly ProcessHandle _process;
    private readonly VmTell _tell;
    private readonly TimeProvider _time;
    private readonly ILogger _log;
    private readonly VmSupervision _supervision;
    private readonly AgentChannel _agent;
    private readonly ViommuTrace? _trace;
    private readonly HostObservation _observed;
    private readonly SandboxFaults _faults;
    private volatile QmpClient? _qmp;

    public QemuVm(
        VmLaunch launch, ProcessHandle process, bool hasAgent, Acceleration acceleration, string traceState, bool traceTlb,
        VmTell tell,
        HostFaults host, VmTracing traced, bool adopted, TimeProvider time, ILogger log)
    {
        (_launch, _process, _tell, _time, _log) = (launch, process, tell, time, log);
        _agent = new AgentChannel(launch.Directory.AgentSocket, time, log);
        if (launch.Spec.Viommu != Viommu.None)
            _trace = new ViommuTrace(launch.Directory.TraceLog, traceState, launch.Spec.Viommu, traceTlb, SwitchTraceAsync, time, log);
        _observed = host.Observe(launch, adopted, new TracedFaults(
            traced, acceleration == Acceleration.Kvm, () => HasExited ? (null, NullReasons.VmmGone) : (process.Identity.Pid, null), host.Origin));
        var vmm = new ProcessFaults(process.Identity.Pid);
        var kvm = acceleration == Acceleration.Kvm
            ? KvmFaults.Of(() => HasExited ? NullReasons.VmmGone : _qmp is null ? NullReasons.VmmNotConfirmed : null, () => process.Identity.Pid, AskStatisticsAsync, host.Tree, host.Origin, time)
            : KvmFaults.NotUnderKvm(host.Origin);
        var guest = new GuestFaults(
            _agent, hasAgent ? null : NullReasons.NoAgentInImage, launch.Spec.Viommu, cpu: acceleration == Acceleration.Kvm ? host.Origin : Origin.Emulated, smmu: traced.HasFunctions ? host.Origin : Origin.Emulated);
        _faults = new SandboxFaults(launch.Directory.Id, launch.Incarnation, Collectors(launch.Spec.Viommu, guest, new VmmFaults(() => vmm, host.Origin), kvm, _trace, _observed, host.Origin),
            new HighestCounts(launch.Directory, launch.Incarnation, adopted, time, log));
        _supervision = new VmSupervision(launch.Directory.Id, log);
        _supervision.Begin(ControlAsync);
        _supervision.Begin(ListenAsync);
        foreach (var part in (IEnumerable<Func<CancellationToken, Task>>)[.. _observed.Beside, .. kvm.Beside is { } asking ? (Func<CancellationToken, Task>[])[asking] : []])
            _supervision.Begin(part);
    }

    /// <summary>Each source is one collector's.</summary>
    internal static IReadOnlyList<IFaultCollector> Collectors(Viommu viommu, GuestFaults guest, VmmFaults vmm, KvmFaults kvm, ViommuTrace? trace, HostObservation observed, Origin host) =>
    [
        guest, vmm, kvm,
        new QemuSmmuFaults(viommu, trace, accelerated: observed.HasAssignedDevice, host),
        new VirtioIommuFaults(viommu, trace),
        .. observed.Collectors,
    ];

    public ProcessIdentity Process => _process.Identity;
    public bool HasExited => _process.HasExited;

    public Task SendAsync(AgentCommand command, CancellationToken ct) => _agent.SendAsync(command, ct);

    public AgentSessions? Sessions => _agent.Sessions;

    public Task RequestPowerOffAsync(CancellationToken ct) => Control.ExecuteAsync("system_powerdown", null, ct);

    public Task QuitAsync(CancellationToken ct) => Control.ExecuteAsync("quit", null, ct);

    public void Kill()
    {
        _process.Kill();
        _launch.Cgroup?.KillAll();
    }

    public FaultSample Sample(DateTimeOffset now) => _faults.Sample(now);

    public async ValueTask DisposeAsync()
    {
        await _supervision.DisposeAsync();
        if (_trace is not null)
            await _trace.DisposeAsync();
        await _agent.DisposeAsync();
        _observed.Dispose();
        _process.Dispose();
    }

    private QmpClient Control => _qmp ?? throw new IOException("the VMM's control connection is not made");

    private async Task ControlAsync(CancellationToken ct)
    {
        while (!HasExited)
        {
            try
            {
                await using var qmp = await QmpClient.ConnectAsync(_launch.Directory.QmpSocket, _time, _log, ct);
                _qmp = qmp;
                await ServeAsync(qmp, ct);
            }
            catch (Exception problem) when (problem is IOException or QmpException or ObjectDisposedException)
            {
                _log.LogDebug("Sandbox {Sandbox}: {Problem}", _launch.Directory.Id, problem.Message);
            }
            finally
            {
                _qmp = null;
            }
            await _tell(new VmControlLost(_launch.Incarnation), ct);
            await Task.Delay(RetryDelay, _time, ct);
        }
    }

    private async Task ServeAsync(QmpClient qmp, CancellationToken ct)
    {
        var answer = await qmp.ExecuteAsync("query-status", null, ct);
        var status = answer.ValueKind == JsonValueKind.Object && answer.TryGetProperty("status", out var text) && text.ValueKind == JsonValueKind.String ? text.GetString() : null;
        if (EndOf(status) is { } ended)
            await _tell(new VmGuestEnded(_launch.Incarnation, ended, _time.GetUtcNow()), ct);
        else
        {
            await _tell(new VmConfirmed(_launch.Incarnation), ct);
            if (_trace is not null)
                await _trace.SwitchOnAsync(ct);
        }
        await foreach (var seen in qmp.Events.ReadAllAsync(ct))
            if (QemuEventLog.CauseOf(seen.Name, seen.Data) is { } cause && cause != EndCause.VmmExited)
                await _tell(new VmGuestEnded(_launch.Incarnation, cause, seen.At), ct);
    }

    /// <summary>A machine that stands still says that its guest ended; the events it wrote down say how.</summary>
    private EndCause? EndOf(string? status) => status switch
    {
        "guest-panicked" => EndCause.GuestPanicked,
        "shutdown" => QemuEventLog.Read(_launch.Directory.EventPipe) ?? EndCause.GuestEndUnknown,
        "internal-error" or "io-error" => EndCause.VmmExited,
        _ => null,
    };

    private async Task ListenAsync(CancellationToken ct)
    {
        await foreach (var message in _agent.Messages.ReadAllAsync(ct))
            await _tell(new VmAgentSaid(_launch.Incarnation, message, _time.GetUtcNow()), ct);
    }

    /// <summary>None when the VMM does not say, or not in time.</summary>
    private async Task<KvmStatistics> AskStatisticsAsync(CancellationToken ct)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(ct);
        limit.CancelAfter(AnswerLimit);
        try
        {
            var vm = await Control.ExecuteAsync("query-stats", KvmStatistics.OfVm(), limit.Token);
            return KvmStatistics.FromQmp(vm, await Control.ExecuteAsync("query-stats", KvmStatistics.OfVcpus(), limit.Token));
        }
        // QEMU has the command since 7.1.
        catch (Exception problem) when (problem is QmpException or IOException or ObjectDisposedException || (problem is OperationCanceledException && !ct.IsCancellationRequested))
        {
            return KvmStatistics.None;
        }
    }

    private async Task SwitchTraceAsync(string name, bool on, CancellationToken ct) =>
        await Control.ExecuteAsync("trace-event-set-state", new JsonObject { ["name"] = name, ["enable"] = on }, ct);
}
