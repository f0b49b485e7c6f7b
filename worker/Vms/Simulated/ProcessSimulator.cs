using System.Text.Json;
using Worker.Channels;

namespace Worker.Vms.Simulated;

// One process a machine, the worker's own program (SimulationProcess), under the VM's user and cgroup: it is started, killed, limited and adopted as QEMU is.
internal sealed class ProcessSimulator(WorkerProgram program) : ISimulator
{
    private const int MaxStatusBytes = 64 * 1024;

    public ISimulation Start(VmLaunch launch, MachineModel model)
    {
        var file = Path.Combine(launch.Directory.VmmDirectory, SimulationProcess.ModelName);
        File.WriteAllBytes(file, JsonSerializer.SerializeToUtf8Bytes(model, SimulationJson.Default.MachineModel));
        if (launch.User is { } user)
            LibC.Own(file, user);
        return new Simulation(launch, VmProcess.Start(
            launch.Directory, launch.Cgroup, new VmConfinement(launch.User, null) { Environment = WorkerProgram.Environment }, program.Path, [.. program.Arguments, SimulationProcess.Verb, file]));
    }

    public ISimulation? Adopt(VmLaunch launch, ProcessIdentity? known) =>
        VmProcess.Find(launch.Directory, launch.Cgroup, known) is { } process ? new Simulation(launch, process) : null;

    /// <summary>It ends by itself only when told to, and says so.</summary>
    public EndCause ReadEnd(RuntimeDirectory directory) => ReadStatus(directory) is { Ended: true } ? EndCause.VmmExited : EndCause.VmmKilled;

    public string ReadLog(RuntimeDirectory directory) => VmProcess.ReadLog(directory);

    /// <summary>Null while there is none that could be read. The file is the VM's user's: whatever lies there is bounded and may be anything.</summary>
    private static SimulationStatus? ReadStatus(RuntimeDirectory directory)
    {
        try
        {
            if (VmFiles.ReadEnd(Path.Combine(directory.VmmDirectory, SimulationProcess.StatusName), MaxStatusBytes) is not { } bytes)
                return null;
            if (JsonSerializer.Deserialize(bytes, SimulationJson.Default.SimulationStatus) is { BootId: not null, Probe: not null, Counters: not null, Events: not null, PageFaultLatency: { Counts: not null } } status)
                return status;
            RefusedInput.Add(UntrustedPeer.Simulation);
            return null;
        }
        catch (JsonException)
        {
            RefusedInput.Add(UntrustedPeer.Simulation);
            return null;
        }
        catch (IOException)
        {
            return null;
        }
    }

    private sealed class Simulation(VmLaunch launch, ProcessHandle process) : ISimulation
    {
        public ProcessIdentity Process => process.Identity;
        public bool HasExited => process.HasExited;

        public SimulationStatus? ReadStatus() => ProcessSimulator.ReadStatus(launch.Directory);

        public void Terminate() => process.Terminate();

        public void Kill()
        {
            process.Kill();
            launch.Cgroup?.KillAll();
        }

        public void Dispose() => process.Dispose();
    }
}
