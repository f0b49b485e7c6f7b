using System.Runtime.InteropServices;
using System.Text.Json;

namespace Worker.Vms.Simulated;

// The simulated machine as a process of its own (the worker's verb "simulate"), under the VM's user and cgroup, so that it is started, killed, limited and
// adopted as any VMM is. Guarantees: the file with its counters is always a whole one; what is told there only grows; virtual time follows the wall's and
// never overtakes it, so a process that was starved or stopped has simulated less. Told to end (SIGTERM) it says so in the file and ends with status 0.
// On a crash: the file stays as it was, without the last word.
internal static class SimulationProcess
{
    public const string Verb = "simulate", ModelName = "simulation.json", StatusName = "status.json";
    private const int TicksOfTelling = 2;
    private static readonly TimeSpan Tick = TimeSpan.FromMilliseconds(100);

    public static async Task<int> RunAsync(string modelFile, TimeProvider time)
    {
        using var stop = new CancellationTokenSource();
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, signal => { signal.Cancel = true; stop.Cancel(); });
        var model = JsonSerializer.Deserialize(await File.ReadAllBytesAsync(modelFile, CancellationToken.None), SimulationJson.Default.MachineModel)
            ?? throw new InvalidDataException("the model is empty");
        var machine = new PacedMachine(model, time);
        var statusFile = Path.Combine(Path.GetDirectoryName(Path.GetFullPath(modelFile))!, StatusName);
        using var timer = new PeriodicTimer(Tick, time);
        try
        {
            for (var tick = 0; ; tick++)
            {
                if (tick % TicksOfTelling == 0)
                    Write(statusFile, machine.Tell());
                await timer.WaitForNextTickAsync(stop.Token);
                machine.TakeTurn();
            }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            Write(statusFile, machine.Tell(ended: true));
            return 0;
        }
    }

    private static void Write(string file, SimulationStatus status)
    {
        WholeFile.ReplaceInCache(file, JsonSerializer.SerializeToUtf8Bytes(status, SimulationJson.Default.SimulationStatus));
    }
}
