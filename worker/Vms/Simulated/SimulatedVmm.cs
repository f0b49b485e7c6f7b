using Contracts;
using Worker.Console;

namespace Worker.Vms.Simulated;

// The simulated machine as a VMM. A sandbox of it goes through the same line as any other. Its image is not started, only named; its user data say what is simulated.
internal sealed class SimulatedVmm(ISimulator simulator, TimeProvider time, Microsoft.Extensions.Logging.ILogger log) : IVmm
{
    public bool Check(SandboxSpec spec)
    {
        if (spec.Viommu == Viommu.None)
            throw new VmStartException(StartReasons.ViommuUnsupported, "It is the simulated machine, and the IOMMU None.");
        if (spec.Devices.Count is < 1 or > 8)
            throw new VmStartException(StartReasons.DeviceOfOtherVmm, $"It has {spec.Devices.Count} devices, and simulates 1 to 8.");
        if (spec.HugePages != HugePageSize.None)
            throw new VmStartException(StartReasons.HugePagesUnsupported, "It is the simulated machine, whose memory is a model.");
        _ = SimulationRequest.ModelOf(spec);
        // The simulated guest says Ready itself.
        return true;
    }

    public IVm Start(VmLaunch launch, VmTell tell) => new SimulatedVm(launch, simulator.Start(launch, SimulationRequest.ModelOf(launch.Spec)), tell, time, log);

    public IVm? Adopt(VmLaunch launch, ProcessIdentity? known, VmTell tell) => simulator.Adopt(launch, known) is { } running ? new SimulatedVm(launch, running, tell, time, log) : null;

    public EndCause ReadEnd(RuntimeDirectory directory) => simulator.ReadEnd(directory);

    public string ReadLog(RuntimeDirectory directory) => simulator.ReadLog(directory);

    public SerialConsole? OpenConsole(RuntimeDirectory directory) => null;
}
