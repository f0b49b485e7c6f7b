using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;

namespace Worker.Vms.Simulated;

// Many simulated machines in this process, for a fleet: a few threads give each machine its turn, round by round. Guarantees: a machine is in one thread at a time;
// each thread rests at least as long as it worked, so the machines of a pool take at most half a core for each of its threads, however many they are: too many are
// simulated more slowly than the wall's clock runs, and tell less. One that fails ends alone. On a crash all end with the process, and none is there to be adopted.
internal sealed class SimulationPool : ISimulator, IAsyncDisposable
{
    private static readonly TimeSpan Round = TimeSpan.FromMilliseconds(100), TellPeriod = TimeSpan.FromMilliseconds(500);
    private readonly TimeProvider _time;
    private readonly ILogger _log;
    private readonly ConcurrentDictionary<Simulation, int> _machines = new();
    private readonly CancellationTokenSource _end = new();
    private readonly Task[] _threads;
    private readonly ProcessIdentity _self = ProcessIdentity.Of(Environment.ProcessId)!;
    private int _started;

    public SimulationPool(int threads, TimeProvider time, ILogger log)
    {
        (_time, _log) = (time, log);
        _threads = [.. Enumerable.Range(0, threads).Select(thread => Task.Factory.StartNew(() => Run(thread), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default))];
    }

    public int Running => _machines.Count;

    public ISimulation Start(VmLaunch launch, MachineModel model)
    {
        var simulation = new Simulation(this, launch.Directory.Id, model);
        _machines[simulation] = (int)((uint)Interlocked.Increment(ref _started) % (uint)_threads.Length);
        return simulation;
    }

    public ISimulation? Adopt(VmLaunch launch, ProcessIdentity? known) => null;

    public EndCause ReadEnd(RuntimeDirectory directory) => EndCause.VmmKilled;

    public string ReadLog(RuntimeDirectory directory) => "";

    public async ValueTask DisposeAsync()
    {
        await _end.CancelAsync();
        await Task.WhenAll(_threads);
        _machines.Clear();
        _end.Dispose();
    }

    private void Run(int thread)
    {
        while (!_end.IsCancellationRequested)
        {
            var began = _time.GetTimestamp();
            foreach (var (simulation, of) in _machines)
                if (of == thread && !_end.IsCancellationRequested)
                    GiveTurn(simulation);
            var worked = _time.GetElapsedTime(began);
            _end.Token.WaitHandle.WaitOne(worked > Round / 2 ? worked : Round - worked);
        }
    }

    private void GiveTurn(Simulation simulation)
    {
        try
        {
            simulation.TakeTurn(_time);
        }
        catch (Exception problem)
        {
            _log.LogError(problem, "Sandbox {Sandbox}: its simulation failed", simulation.Sandbox);
            simulation.Kill();
        }
    }

    private sealed class Simulation(SimulationPool pool, Guid sandbox, MachineModel model) : ISimulation
    {
        private PacedMachine? _machine;
        private volatile SimulationStatus? _status;
        private volatile bool _exited;
        private long _toldAt;

        public Guid Sandbox => sandbox;
        public ProcessIdentity Process => pool._self;
        public bool HasExited => _exited;

        public SimulationStatus? ReadStatus() => _status;

        public void Terminate() => Kill();

        public void Kill()
        {
            _exited = true;
            pool._machines.TryRemove(this, out _);
        }

        public void Dispose()
        {
        }

        /// <summary>By the pool's thread only. Its first turn makes the machine.</summary>
        public void TakeTurn(TimeProvider time)
        {
            if (_exited)
                return;
            if (_machine is null)
                _machine = new PacedMachine(model, time);
            else
                _machine.TakeTurn();
            if (_status is not null && time.GetElapsedTime(_toldAt) < TellPeriod)
                return;
            _toldAt = time.GetTimestamp();
            _status = _machine.Tell();
        }
    }
}
