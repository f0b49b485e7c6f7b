using Contracts;
using Worker.Agent;
using Worker.Console;
using Worker.Hardware.Assignment;

namespace Worker.Vms;

/// <summary>Everything one start of a guest needs.</summary>
public sealed record VmLaunch(
    RuntimeDirectory Directory, int Incarnation, SandboxSpec Spec, IReadOnlyList<HeldDevice> Devices, uint? User, VmCgroup? Cgroup)
{
    /// <summary>The sandbox's, for the guest to be called by; null where it is not known any longer.</summary>
    public string? Name { get; init; }
}

/// <summary>A device that a VM holds. <c>Kind</c>: the VMM's model, or <see cref="Vfio"/> for a function of the host. <c>ScratchFile</c>: the file behind a model, if it has one.</summary>
public sealed record HeldDevice(string Address, string Kind, string? ScratchFile)
{
    public const string Vfio = "vfio";

    /// <summary>What the VMM must know of a function that it is given; null for a model, and for a VMM that has the function already.</summary>
    public AssignedFunction? Assigned { get; init; }
}

/// <summary>What a VMM tells of one running guest. <c>Incarnation</c> lets a late message of an ended run be told from the present one's.</summary>
public abstract record VmEvent(int Incarnation);

/// <summary>The VMM answers; <c>Paused</c> ends are told by <see cref="VmGuestEnded"/>.</summary>
public sealed record VmConfirmed(int Incarnation) : VmEvent(Incarnation);

/// <summary>The guest has ended while its VMM lives.</summary>
public sealed record VmGuestEnded(int Incarnation, EndCause Cause, DateTimeOffset At) : VmEvent(Incarnation);

/// <summary>The VMM closed its control connection: it is about to end or has ended.</summary>
public sealed record VmControlLost(int Incarnation) : VmEvent(Incarnation);

public sealed record VmAgentSaid(int Incarnation, AgentMessage Message, DateTimeOffset At) : VmEvent(Incarnation);

/// <summary>A VMM could not be started; the failure is for the user.</summary>
public sealed class VmStartException : Exception
{
    public VmStartException(Reason reason, string? detail = null)
        : base(reason.Say(detail)) => (Reason, Remedy) = (reason.Code, reason.Remedy);

    /// <summary>A device of the sandbox is in the way.</summary>
    public VmStartException(DeviceProblem problem)
        : base(problem.Message) => (Reason, Remedy) = (problem.Reason, problem.Remedy);

    /// <summary>A code of one of the tables.</summary>
    public string Reason { get; }
    public string Remedy { get; }
}

/// <summary>A kind of virtual machine monitor.</summary>
public interface IVmm
{
    /// <summary>Whether the image has an agent that will say Ready; throws <see cref="VmStartException"/> when the spec cannot be started here.</summary>
    bool Check(SandboxSpec spec);

    /// <summary>Executes the VMM and returns at once; what follows arrives through <paramref name="tell"/>, which waits while the runner is busy.</summary>
    IVm Start(VmLaunch launch, VmTell tell);

    /// <summary>Takes over a VMM that an earlier worker started; null when it lives no longer.</summary>
    IVm? Adopt(VmLaunch launch, ProcessIdentity? known, VmTell tell);

    /// <summary>How a VMM that lives no longer ended, from what it left behind.</summary>
    EndCause ReadEnd(RuntimeDirectory directory);

    /// <summary>The last lines that the VMM put out, for people; empty when there are none.</summary>
    string ReadLog(RuntimeDirectory directory);

    /// <summary>The serial console of a sandbox over all its incarnations; null when this kind has none.</summary>
    SerialConsole? OpenConsole(RuntimeDirectory directory);
}

/// <summary>One running VMM. Disposing it leaves the process running.</summary>
public interface IVm : IAsyncDisposable
{
    ProcessIdentity Process { get; }
    bool HasExited { get; }
    Task SendAsync(AgentCommand command, CancellationToken ct);
    /// <summary>Null where no agent can be reached.</summary>
    AgentSessions? Sessions { get; }
    Task RequestPowerOffAsync(CancellationToken ct);
    Task QuitAsync(CancellationToken ct);
    void Kill();
    /// <summary>The fault counters now; null when there is nothing to sample.</summary>
    FaultSample? Sample(DateTimeOffset now);
}

/// <summary>Hands an event to the runner; waits while the runner is busy.</summary>
public delegate ValueTask VmTell(VmEvent message, CancellationToken ct);
