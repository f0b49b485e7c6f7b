namespace Worker.Vms.Simulated;

// One simulated machine, kept to the wall's clock by whoever gives it turns. Guarantees: its virtual time never overtakes the wall's; after a pause, or where turns
// are late, it has simulated less; what it tells only grows.
internal sealed class PacedMachine
{
    private static readonly TimeSpan MostAtOnce = TimeSpan.FromMilliseconds(500);
    private readonly SimulatedMachine _machine;
    private readonly TimeProvider _time;
    private long _last;

    /// <summary>Makes the machine, which probes itself, and lets its workload begin.</summary>
    public PacedMachine(MachineModel model, TimeProvider time)
    {
        (_machine, _time) = (new SimulatedMachine(model), time);
        Told = new SimulationStatus(
            Guid.NewGuid().ToString(), 0, 0, false, SvaProbe.Run(_machine), _machine.Counters, new Dictionary<string, long>(), _machine.PageFaults.Latency, model.Device.Faults);
        _machine.Begin();
        _last = time.GetTimestamp();
    }

    /// <summary>What it told last.</summary>
    public SimulationStatus Told { get; private set; }

    /// <summary>Simulates the time since its last turn.</summary>
    public void TakeTurn()
    {
        var elapsed = _time.GetElapsedTime(_last);
        _last = _time.GetTimestamp();
        _machine.Run(_machine.Clock.Now + (long)(elapsed < MostAtOnce ? elapsed : MostAtOnce).TotalNanoseconds);
    }

    public SimulationStatus Tell(bool ended = false) =>
        Told = Told with
        {
            Sequence = Told.Sequence + 1,
            VirtualNanoseconds = _machine.Clock.Now,
            Ended = ended,
            Counters = _machine.Counters,
            Events = _machine.Events,
            PageFaultLatency = _machine.PageFaults.Latency,
        };
}
