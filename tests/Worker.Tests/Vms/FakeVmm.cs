using System.Diagnostics;
using Contracts;
using Worker.Agent;
using Worker.Console;
using Worker.Vms;

namespace Worker.Tests.Vms;

/// <summary>A VMM whose process is real (a sleeping shell command) and whose guest says what the test wants.</summary>
internal sealed class FakeVmm : IVmm
{
    private readonly List<FakeVm> _started = [];

    public VmStartException? Refusal { get; set; }
    public bool HasAgent { get; set; } = true;
    public EndCause Left { get; set; } = EndCause.VmmKilled;
    /// <summary>Null while none was started or adopted.</summary>
    public FakeVm? Current { get; private set; }
    public int Starts => _started.Count;
    /// <summary>Called with each launch before its process begins.</summary>
    public Action<VmLaunch>? Starting { get; set; }
    /// <summary>What no launch may do; a test that starts several guests sees to it that there are none.</summary>
    public List<string> Violations { get; } = [];

    public bool Check(SandboxSpec spec) => Refusal is null ? HasAgent : throw Refusal;

    public IVm Start(VmLaunch launch, VmTell tell)
    {
        foreach (var device in launch.Devices)
        {
            if (device.Kind == HeldDevice.Vfio && device.Assigned is null)
                Violations.Add($"{device.Address} was not prepared");
            if (_started.Exists(vm => !vm.HasExited && vm.Launch.Devices.Any(d => d.Address == device.Address)))
                Violations.Add($"{device.Address} belongs to two guests");
        }
        Starting?.Invoke(launch);
        var start = new ProcessStartInfo("sleep");
        start.ArgumentList.Add("1000");
        using var process = Process.Start(start)!;
        var vm = new FakeVm(launch, ProcessHandle.Open(ProcessIdentity.Of(process.Id)!)!, tell);
        _started.Add(vm);
        return Current = vm;
    }

    public IVm? Adopt(VmLaunch launch, ProcessIdentity? known, VmTell tell) =>
        known is not null && ProcessHandle.Open(known) is { } handle ? Current = new FakeVm(launch, handle, tell) : null;

    public EndCause ReadEnd(RuntimeDirectory directory) => Left;
    public string ReadLog(RuntimeDirectory directory) => "fake log";
    public Exception? ConsoleFails { get; set; }
    public SerialConsole? OpenConsole(RuntimeDirectory directory) => ConsoleFails is null ? null : throw ConsoleFails;

    public void KillAll() => _started.ForEach(vm => vm.End());
}

internal sealed class FakeVm(VmLaunch launch, ProcessHandle handle, VmTell tell) : IVm
{
    private readonly ProcessIdentity _identity = handle.Identity;

    public List<string> Asked { get; } = [];
    public VmLaunch Launch => launch;
    public ProcessIdentity Process => _identity;
    public bool HasExited => !_identity.IsAlive;
    public bool Disposed { get; private set; }

    public Task TellAsync(Func<int, VmEvent> message) => tell(message(launch.Incarnation), CancellationToken.None).AsTask();
    public Task SayAsync(AgentMessage message) => TellAsync(n => new VmAgentSaid(n, message, TimeProvider.System.GetUtcNow()));
    public Task ConfirmAsync() => TellAsync(n => new VmConfirmed(n));
    public Task ReadyAsync(string bootId = "boot-1") => SayAsync(new AgentReady(1, "0.1", "6.12", bootId, 1000, 1, 200_000));

    /// <summary>Ends the process as if something else had.</summary>
    public void End()
    {
        using var again = ProcessHandle.Open(_identity);
        again?.Kill();
    }

    public Task SendAsync(AgentCommand command, CancellationToken ct) => Note(command.GetType().Name);
    public AgentSessions? Sessions => null;
    public Task RequestPowerOffAsync(CancellationToken ct) => Note("powerdown");
    public Task QuitAsync(CancellationToken ct) => Note("quit");

    public void Kill()
    {
        lock (Asked)
            Asked.Add("kill");
        handle.Kill();
    }

    public IReadOnlyList<SourceReading> Readings { get; set; } = [];

    /// <summary>Null: there is nothing new to tell.</summary>
    public Func<DateTimeOffset, FaultSample?>? Samples { get; set; }

    public FaultSample? Sample(DateTimeOffset now) => Samples is { } samples ? samples(now) : new(launch.Directory.Id, launch.Incarnation, now, Readings);

    public ValueTask DisposeAsync()
    {
        Disposed = true;
        handle.Dispose();
        return ValueTask.CompletedTask;
    }

    public bool WasAsked(string what)
    {
        lock (Asked)
            return Asked.Contains(what);
    }

    private Task Note(string what)
    {
        lock (Asked)
            Asked.Add(what);
        return Task.CompletedTask;
    }
}
