using System.Text;
using System.Threading.Channels;
using Contracts;
using Microsoft.Extensions.Logging;
using Worker.Agent;
using Worker.Console;
using Worker.Hardware;
using Worker.Images;

namespace Worker.Vms;

/// <summary>What every runner of a node shares.</summary>
public sealed record VmSurroundings(
    IVmm Vmm, NodeDevices Devices, UserIds Users, CgroupTree Cgroups, string HostBootId,
    TimeProvider Time, ILogger Log, ImageCache? Images = null);

/// <summary>One sandbox as reports show it. A device is held until its sandbox has been cleaned, in one and the same snapshot.</summary>
public sealed record VmView(ReportedSandbox Sandbox, IReadOnlyList<string> HeldDevices);

/// <summary><c>By</c>: the policy; null with the condition when there is none any more.</summary>
internal sealed record VmStormJudged(int Incarnation, StormPolicy? By, Condition? Condition) : VmEvent(Incarnation);

internal sealed record VmNudge(int Incarnation) : VmEvent(Incarnation);

/// <summary>Of whatever incarnation runs.</summary>
internal sealed record VmNodeShutsDown() : VmEvent(0);

// The one writer of a sandbox's state. A single loop takes messages from a bounded queue, then does whatever VmDecision says is next.
// Guarantees: the record on disk is written before the world is told, and before a step whose traces could not be found without it.
// On a crash: the guest goes on; the next worker's runner reads the record and takes the VMM over.
public sealed partial class VmRunner
{
    private const int QueueLength = 64;
    /// <summary>An agent that starts again probes again; more often than this is not an agent.</summary>
    private const int MaxProbes = 16;
    private static readonly TimeSpan CommandLimit = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan BootLimit = TimeSpan.FromSeconds(120);
    /// <summary>Longer than an emulated machine takes to boot a disk: who is ended for want of an agent is started again, and would be ended again.</summary>
    private static readonly TimeSpan ReadyLimit = TimeSpan.FromMinutes(10);
    private readonly Channel<VmEvent> _queue = Channel.CreateBounded<VmEvent>(QueueLength);
    private readonly RuntimeDirectory _directory;
    private readonly VmSurroundings _around;
    private readonly Action<VmRunner> _published;
    private PlannedSandbox? _planned;
    private volatile bool _planKnown;
    private VmRecord? _record;
    private SandboxSpec? _spec;
    private bool _agentPowerOffSent, _quitSent, _unsaved;
    private int _probesTaken;
    private volatile IVm? _vm;
    private volatile VmView? _view;
    private volatile SerialConsole? _console;
    private volatile Failure? _consoleProblem;

    public VmRunner(RuntimeDirectory directory, VmSurroundings around, Action<VmRunner> published) =>
        (_directory, _around, _published) = (directory, around, published);

    public Guid Id => _directory.Id;

    /// <summary>Null before the first step, and once nothing is left.</summary>
    public VmView? View => _view;
    public bool IsGone { get; private set; }
    public SerialConsole? Console => _console;
    public AgentSessions? Sessions => _vm?.Sessions;

    /// <summary>Why the sandbox goes on without a console; null when it does not.</summary>
    public Failure? ConsoleProblem => _consoleProblem;

    // planned: Null when the plan does not name the sandbox: it is destroyed.
    public void Want(PlannedSandbox? planned)
    {
        Volatile.Write(ref _planned, planned);
        _planKnown = true;
        Nudge();
    }

    /// <summary>Ends the guest, if one runs, and keeps its record: the next worker tells why.</summary>
    public ValueTask ShutDownAsync(CancellationToken ct) => TellAsync(new VmNodeShutsDown(), ct);

    /// <summary>Looks at process and deadlines again. A full queue will be worked through anyway.</summary>
    public void Nudge() => _queue.Writer.TryWrite(new VmNudge(0));

    /// <summary>Runs until nothing is left of the sandbox, or until the worker ends, and then leaves the guest as it is.</summary>
    public async Task RunAsync(CancellationToken ct)
    {
        try
        {
            while (!IsGone)
            {
                await AdvanceAsync(ct);
                if (IsGone)
                    break;
                await HandleOneAsync(await _queue.Reader.ReadAsync(ct), ct);
            }
        }
        catch (OperationCanceledException) when (ct.IsCancellationRequested)
        {
        }
        finally
        {
            await LetGoAsync();
            if (_console is { } console)
                await console.DisposeAsync();
        }
    }

    private Wanted Wanted => new(_planKnown, Volatile.Read(ref _planned));

    private DateTimeOffset Now => _around.Time.GetUtcNow();

    /// <summary>Takes steps until there is none; one that fails is tried again at the next message.</summary>
    private async Task AdvanceAsync(CancellationToken ct)
    {
        try
        {
            while (!IsGone)
            {
                if (_unsaved && _record is { } unsaved)
                    Save(unsaved);
                WatchDeadlines();
                var step = VmDecision.Next(_record, Wanted, _vm is { HasExited: false }, Now);
                if (step == VmStep.None || !await TakeAsync(step, ct))
                    return;
            }
        }
        catch (Exception problem) when (problem is not OperationCanceledException || !ct.IsCancellationRequested)
        {
            _around.Log.LogError(problem, "Sandbox {Sandbox}: a step failed and will be tried again", Id);
        }
    }

    /// <summary>False when the next step must wait for a message.</summary>
    private async Task<bool> TakeAsync(VmStep step, CancellationToken ct)
    {
        switch (step)
        {
            case VmStep.Start when !HasImage(Wanted.Planned!):
                return false;
            case VmStep.Start:
                await StartAsync(Wanted.Planned!, ct);
                return true;
            case VmStep.ReportLost:
                ReportEnded(Wanted.Planned!, EndCause.VmmLost);
                return true;
            case VmStep.ReportStopped:
                ReportEnded(Wanted.Planned!, EndCause.StoppedByUser);
                return true;
            case VmStep.AskPowerOff:
                Save(_record! with { StopAskedAt = Now, State = VmState.Stopping });
                await CommandAsync(token => _vm!.RequestPowerOffAsync(token), "power-off", ct);
                return false;
            case VmStep.AskAgentPowerOff when !_agentPowerOffSent && _record!.GuestReadyAt is not null:
                _agentPowerOffSent = true;
                await CommandAsync(token => _vm!.SendAsync(new AgentPowerOff(), token), "power-off by agent", ct);
                return false;
            case VmStep.Quit when !_quitSent:
                _quitSent = true;
                await CommandAsync(token => _vm!.QuitAsync(token), "quit", ct);
                return false;
            case VmStep.Kill:
                Kill();
                return false;
            case VmStep.Finish:
                return await FinishAsync(ct);
            case VmStep.Remove:
                await RemoveAsync(ct);
                return false;
            default:
                return false;
        }
    }

    private void WatchDeadlines()
    {
        if (_record is { State: VmState.Booting, HasAgent: true, ExecAt: { } start } record && Now - start > BootLimit
            && record.Conditions.All(c => c.Reason != ConditionReasons.BootTimeout.Code))
            Save(record.With(ConditionReasons.BootTimeout.At(Now, $"The limit is {BootLimit.TotalSeconds} s.")));
        // Without a policy somebody may want to look at it.
        if (_record is { State: VmState.Booting, HasAgent: true, ExecAt: { } began } booting && Now - began > ReadyLimit && Wanted.Planned is { EndsUnready: true } planned && planned.Incarnation == booting.Incarnation)
            Save(booting with { State = VmState.Stopping, End = EndCause.Failed, Failure = StartReasons.GuestNeverReady.ToFailure(Now, $"The limit is {ReadyLimit.TotalSeconds} s.") });
    }

    private async Task<bool> CommandAsync(Func<CancellationToken, Task> command, string name, CancellationToken ct)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(ct);
        limit.CancelAfter(CommandLimit);
        try
        {
            await command(limit.Token);
            return true;
        }
        catch (Exception problem) when (!ct.IsCancellationRequested && problem is IOException or OperationCanceledException or InvalidOperationException or Qemu.QmpException or ChannelClosedException)
        {
            _around.Log.LogWarning("Sandbox {Sandbox}: {Command} could not be sent: {Problem}", Id, name, problem.Message);
            return false;
        }
    }

    /// <summary>A disk that cannot be written must not hide what has happened: it is told anyway and written as soon as that works.</summary>
    private void Save(VmRecord record)
    {
        try
        {
            SaveOrThrow(record);
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            _around.Log.LogError("Sandbox {Sandbox}: its record could not be written: {Problem}", Id, problem.Message);
            _unsaved = true;
            _record = record;
            Publish();
        }
    }

    private void SaveOrThrow(VmRecord record)
    {
        if (_directory.Exists)
            VmFiles.Write(_directory, record);
        _unsaved = false;
        _record = record;
        Publish();
    }

    private void Publish()
    {
        _waiting = null;
        _view = _record is { } record ? new VmView(record.ToReport(), record.HeldDevices) : null;
        _published(this);
    }

    private ValueTask TellAsync(VmEvent message, CancellationToken ct) => _queue.Writer.WriteAsync(message, ct);

    private async Task LetGoAsync()
    {
        if (Interlocked.Exchange(ref _vm, null) is { } vm)
            await vm.DisposeAsync();
    }

    /// <summary>A kernel that panics resets its machine; the console's last words tell that from a reset that was asked for.</summary>
    private bool ConsoleShowsPanic()
    {
        const int lookBack = 32 * 1024;
        if (_console is not { } console)
            return false;
        var (_, data) = console.Read(Math.Max(_record?.ConsoleFrom ?? 0, console.End - lookBack), lookBack);
        return Encoding.UTF8.GetString(data).Contains("Kernel panic - not syncing", StringComparison.Ordinal);
    }
}
