using System.Runtime.InteropServices;
using System.Text.Json;
using Worker.Vms.Simulated.Iommu;

namespace Worker.Vms.Simulated;

// The simulated machine as a process of its own (the worker's verb "simulate"), under the VM's user and cgroup, so that it is started, killed, limited and
// adopted as any VMM is. Guarantees: the file with its counters is always a whole one; what is told there only grows; virtual time follows the wall's and
// never overtakes it, so a process that was starved or stopped has simulated less. Told to end (SIGTERM) it says so in the file and ends with status 0.
// On a crash: the file stays as it was, without the last word.
internal static class SimulationProcess
{
    public const string Verb = "simulate", ModelName = "simulation.json", StatusName = "status.json";
    private const int TicksOfTelling = 2;
    private static readonly TimeSpan Tick = TimeSpan.FromMilliseconds(100), MostAtOnce = TimeSpan.FromMilliseconds(500);

    public static async Task<int> RunAsync(string modelFile, TimeProvider time)
    {
        using var stop = new CancellationTokenSource();
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, signal => { signal.Cancel = true; stop.Cancel(); });
        var model = JsonSerializer.Deserialize(await File.ReadAllBytesAsync(modelFile, CancellationToken.None), SimulationJson.Default.MachineModel)
            ?? throw new InvalidDataException("the model is empty");
        var machine = new SimulatedMachine(model);
        var told = new SimulationStatus(Guid.NewGuid().ToString(), 0, 0, false, SvaProbe.Run(machine), machine.Counters, new Dictionary<string, long>(), machine.PageFaults.Latency, model.Device.Faults);
        var statusFile = Path.Combine(Path.GetDirectoryName(Path.GetFullPath(modelFile))!, StatusName);
        machine.Begin();
        using var timer = new PeriodicTimer(Tick, time);
        var last = time.GetTimestamp();
        try
        {
            for (var tick = 0; ; tick++)
            {
                if (tick % TicksOfTelling == 0)
                    Tell(statusFile, told = Now(machine, told, ended: false));
                await timer.WaitForNextTickAsync(stop.Token);
                var elapsed = time.GetElapsedTime(last);
                last = time.GetTimestamp();
                machine.Run(machine.Clock.Now + (long)(elapsed < MostAtOnce ? elapsed : MostAtOnce).TotalNanoseconds);
            }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            Tell(statusFile, Now(machine, told, ended: true));
            return 0;
        }
    }

    private static SimulationStatus Now(SimulatedMachine machine, SimulationStatus before, bool ended)
    {
        var events = Enum.GetValues<EventType>().Where(type => machine.Smmu.EventsOf(type) > 0).ToDictionary(EventRecord.NameOf, machine.Smmu.EventsOf);
        return before with { Sequence = before.Sequence + 1, VirtualNanoseconds = machine.Clock.Now, Ended = ended, Counters = machine.Counters, Events = events, PageFaultLatency = machine.PageFaults.Latency };
    }

    private static void Tell(string file, SimulationStatus status)
    {
        File.WriteAllBytes(file + ".new", JsonSerializer.SerializeToUtf8Bytes(status, SimulationJson.Default.SimulationStatus));
        File.Move(file + ".new", file, overwrite: true);
    }
}
