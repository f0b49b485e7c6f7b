using Contracts;
using Worker.Agent;
using Microsoft.Extensions.Logging;
using Worker.Faults;

namespace Worker.Vms.Simulated;

// One running simulation, started or adopted. Guarantees: it is confirmed only by what this incarnation's machine tells; counters never go back, and one that was
// not told anew for five seconds is null. To stop it is to ask it to end.
internal sealed class SimulatedVm : IVm
{
    private static readonly TimeSpan Period = TimeSpan.FromMilliseconds(200), SilentAfter = TimeSpan.FromSeconds(5);
    private readonly VmLaunch _launch;
    private readonly ISimulation _simulation;
    private readonly VmTell _tell;
    private readonly TimeProvider _time;
    private readonly SandboxFaults _faults;
    private readonly VmSupervision _supervision;
    private volatile Told? _told;
    private long? _sampled;
    private volatile bool _configure;

    private sealed record Told(SimulationStatus Status, long At);

    public SimulatedVm(VmLaunch launch, ISimulation simulation, VmTell tell, TimeProvider time, ILogger log)
    {
        (_launch, _simulation, _tell, _time) = (launch, simulation, tell, time);
        _faults = new SandboxFaults(launch.Directory.Id, launch.Incarnation, [new SimulatedFaults(launch.Spec.Viommu, LastTold)], HighestCounts.OfASimulation());
        _supervision = new VmSupervision(launch.Directory.Id, log);
        _supervision.Begin(SuperviseAsync);
    }

    public ProcessIdentity Process => _simulation.Process;
    public bool HasExited => _simulation.HasExited;

    /// <summary>What a guest is told was told by its model: nothing is run.</summary>
    public Task SendAsync(AgentCommand command, CancellationToken ct)
    {
        if (command is AgentConfigure)
            _configure = true;
        else
            _simulation.Terminate();
        return Task.CompletedTask;
    }

    public AgentSessions? Sessions => null;

    public Task RequestPowerOffAsync(CancellationToken ct)
    {
        _simulation.Terminate();
        return Task.CompletedTask;
    }

    public Task QuitAsync(CancellationToken ct) => RequestPowerOffAsync(ct);

    public void Kill() => _simulation.Kill();

    /// <summary>Null as long as nothing new was told: the same counters once more would look like a second without faults, and the next like one with twice as many.</summary>
    public FaultSample? Sample(DateTimeOffset now)
    {
        var (status, reason) = LastTold();
        if (reason is null && status!.Sequence == _sampled)
            return null;
        _sampled = status?.Sequence;
        return _faults.Sample(now);
    }

    public async ValueTask DisposeAsync()
    {
        await _supervision.DisposeAsync();
        _simulation.Dispose();
    }

    private (SimulationStatus? Status, string? Reason) LastTold()
    {
        var told = _told;
        return (told?.Status, told is null ? NullReasons.GuestNotReady : _time.GetElapsedTime(told.At) > SilentAfter ? NullReasons.AgentSilent : null);
    }

    private async Task SuperviseAsync(CancellationToken ct)
    {
        while (!HasExited)
        {
            await LookAsync(ct);
            await Task.Delay(Period, _time, ct);
        }
    }

    private async Task LookAsync(CancellationToken ct)
    {
        if (_simulation.ReadStatus() is { } status && status.Sequence != _told?.Status.Sequence)
        {
            var first = _told is null;
            _told = new Told(status, _time.GetTimestamp());
            if (first)
                await IntroduceAsync(status, ct);
        }
        if (_configure)
        {
            _configure = false;
            await _tell(new VmAgentSaid(_launch.Incarnation, new AgentConfigured(false, null), _time.GetUtcNow()), ct);
        }
    }

    private async Task IntroduceAsync(SimulationStatus status, CancellationToken ct)
    {
        await _tell(new VmConfirmed(_launch.Incarnation), ct);
        var ready = new AgentReady(AgentProtocol.Version, "simulated", "none: the guest is simulated", status.BootId, status.VirtualNanoseconds / 1_000_000, 0, null);
        await _tell(new VmAgentSaid(_launch.Incarnation, ready, _time.GetUtcNow()), ct);
        await _tell(new VmAgentSaid(_launch.Incarnation, new AgentProbe(status.Probe), _time.GetUtcNow()), ct);
    }
}
