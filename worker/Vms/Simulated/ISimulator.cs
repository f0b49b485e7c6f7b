namespace Worker.Vms.Simulated;

/// <summary>Where simulated machines run: each in a process of its own, or many in one.</summary>
internal interface ISimulator
{
    ISimulation Start(VmLaunch launch, MachineModel model);

    /// <summary>Null when it runs no longer.</summary>
    ISimulation? Adopt(VmLaunch launch, ProcessIdentity? known);

    /// <summary>Of one that ended by itself.</summary>
    EndCause ReadEnd(RuntimeDirectory directory);

    string ReadLog(RuntimeDirectory directory);
}

/// <summary>One machine that runs. Disposing it leaves it running.</summary>
internal interface ISimulation : IDisposable
{
    ProcessIdentity Process { get; }
    bool HasExited { get; }

    /// <summary>What it told last; null before that.</summary>
    SimulationStatus? ReadStatus();

    /// <summary>Asks it to end.</summary>
    void Terminate();

    void Kill();
}
