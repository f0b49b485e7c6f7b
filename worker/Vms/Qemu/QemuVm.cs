using System.Text.Json;
using System.Text.Json.Nodes;
using Contracts;
using Microsoft.Extensions.Logging;
using Worker.Agent;
using Worker.Faults;

namespace Worker.Vms.Qemu;

// One running QEMU: its process, control connection, agent and trace. Started or adopted, it is supervised the same way.
// Guarantees: how the guest ended is told whenever the VMM can still say so, also when it happened before the connection was made.
internal sealed class QemuVm : IVm
{
    private static readonly TimeSpan RetryDelay = TimeSpan.FromMilliseconds(100);
    private readonly VmLaunch _launch;
    private readonly ProcessHandle _process;
    private readonly VmTell _tell;
    private readonly TimeProvider _time;
    private readonly ILogger _log;
    private readonly VmSupervision _supervision;
    private readonly AgentChannel _agent;
    private readonly SmmuTrace? _trace;
    private readonly SandboxFaults _faults;
    private volatile QmpClient? _qmp;

    public QemuVm(
        VmLaunch launch, ProcessHandle process, bool hasAgent, Acceleration acceleration, string traceState, bool traceTlb,
        VmTell tell,
        HostSmmuCounter? hostSmmu, Origin hostOrigin, TimeProvider time, ILogger log)
    {
        (_launch, _process, _tell, _time, _log) = (launch, process, tell, time, log);
        _agent = new AgentChannel(launch.Directory.AgentSocket, time, log);
        if (launch.Spec.Viommu == Viommu.Smmuv3)
            _trace = new SmmuTrace(launch.Directory.TraceLog, traceState, traceTlb, SwitchTraceAsync, time, log);
        var vmm = new ProcessFaults(process.Identity.Pid);
        _faults = new SandboxFaults(launch.Directory.Id, launch.Incarnation,
        [
            new GuestFaults(_agent, hasAgent ? null : NullReasons.NoAgentInImage, launch.Spec.Viommu, cpu: acceleration == Acceleration.Kvm ? hostOrigin : Origin.Emulated, smmu: hostSmmu is not null ? hostOrigin : Origin.Emulated),
            new VmmFaults(() => vmm, hostOrigin),
            new QemuSmmuFaults(launch.Spec.Viommu, _trace, accelerated: hostSmmu is not null, hostOrigin),
            new HostSmmuFaults(hostSmmu, hostOrigin),
        ]);
        _supervision = new VmSupervision(launch.Directory.Id, log);
        _supervision.Begin(ControlAsync);
        _supervision.Begin(ListenAsync);
    }

    public ProcessIdentity Process => _process.Identity;
    public bool HasExited => _process.HasExited;

    public Task SendAsync(AgentCommand command, CancellationToken ct) => _agent.SendAsync(command, ct);

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

    private async Task SwitchTraceAsync(string name, bool on, CancellationToken ct) =>
        await Control.ExecuteAsync("trace-event-set-state", new JsonObject { ["name"] = name, ["enable"] = on }, ct);
}
