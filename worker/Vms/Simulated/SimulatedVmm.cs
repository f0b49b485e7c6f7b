using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text.Json;
using Contracts;
using Worker.Console;

namespace Worker.Vms.Simulated;

/// <summary>What is executed for a simulation, before the verb and the model's file.</summary>
internal sealed record SimulationProgram(string Path, IReadOnlyList<string> Arguments)
{
    /// <summary>The worker's own program: started through dotnet where the worker was, so that the same published files serve every architecture, or else by itself.</summary>
    public static readonly SimulationProgram Own = Of(Environment.ProcessPath, AppContext.BaseDirectory);

    internal static SimulationProgram Of(string? process, string directory) => System.IO.Path.GetFileName(process) == "dotnet"
        ? new(process!, [System.IO.Path.Combine(directory, "Sandbox.Worker.dll")])
        : new(System.IO.Path.Combine(directory, "Sandbox.Worker"), []);
}

// The simulated machine as a VMM: one process a VM, the worker's own program. A sandbox of it goes through the same line as any other. Its image is not
// started, only named; its user data say what is simulated.
internal sealed class SimulatedVmm(SimulationProgram program, TimeProvider time, Microsoft.Extensions.Logging.ILogger log) : IVmm
{
    private const int MaxStatusBytes = 64 * 1024;

    public bool Check(SandboxSpec spec)
    {
        if (spec.Viommu == Viommu.None)
            throw new VmStartException(StartReasons.ViommuUnsupported, "It is the simulated machine, and the IOMMU None.");
        if (spec.Devices.Count is < 1 or > 8)
            throw new VmStartException(StartReasons.DeviceOfOtherVmm, $"It has {spec.Devices.Count} devices, and simulates 1 to 8.");
        _ = SimulationRequest.ModelOf(spec);
        // The simulated guest says Ready itself.
        return true;
    }

    public IVm Start(VmLaunch launch, VmTell tell)
    {
        var model = Path.Combine(launch.Directory.VmmDirectory, SimulationProcess.ModelName);
        File.WriteAllBytes(model, JsonSerializer.SerializeToUtf8Bytes(SimulationRequest.ModelOf(launch.Spec), SimulationJson.Default.MachineModel));
        if (launch.User is { } user)
            LibC.Own(model, user);
        var environment = new Dictionary<string, string> { ["DOTNET_EnableDiagnostics"] = "0" };
        // The program finds the runtime by itself only where it is installed for all.
        if (RuntimeFeature.IsDynamicCodeSupported && Path.GetFullPath(Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), "../../..")) is { Length: > 1 } root)
            environment["DOTNET_ROOT"] = root;
        var process = VmProcess.Start(
            launch.Directory, launch.Cgroup, new VmConfinement(launch.User, null) { Environment = environment }, program.Path, [.. program.Arguments, SimulationProcess.Verb, model]);
        return new SimulatedVm(launch, process, tell, time, log);
    }

    public IVm? Adopt(VmLaunch launch, ProcessIdentity? known, VmTell tell) =>
        VmProcess.Find(launch.Directory, launch.Cgroup, known) is { } process ? new SimulatedVm(launch, process, tell, time, log) : null;

    /// <summary>It ends by itself only when told to, and says so.</summary>
    public EndCause ReadEnd(RuntimeDirectory directory) => ReadStatus(directory) is { Ended: true } ? EndCause.VmmExited : EndCause.VmmKilled;

    public string ReadLog(RuntimeDirectory directory) => VmProcess.ReadLog(directory);

    public SerialConsole? OpenConsole(RuntimeDirectory directory) => null;

    /// <summary>Null while there is none that could be read. The file is the VM's user's: whatever lies there is bounded and may be anything.</summary>
    public static SimulationStatus? ReadStatus(RuntimeDirectory directory)
    {
        try
        {
            return VmFiles.ReadEnd(Path.Combine(directory.VmmDirectory, SimulationProcess.StatusName), MaxStatusBytes) is { } bytes
                && JsonSerializer.Deserialize(bytes, SimulationJson.Default.SimulationStatus) is { BootId: not null, Probe: not null, Counters: not null, Events: not null, PageFaultLatency: { Counts: not null } } status
                ? status
                : null;
        }
        catch (Exception problem) when (problem is IOException or JsonException)
        {
            return null;
        }
    }
}
