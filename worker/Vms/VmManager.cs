using System.Collections.Concurrent;
using System.Threading.Channels;
using Contracts;
using Microsoft.Extensions.Logging;
using Worker.Agent;
using Worker.Channels;
using Worker.Console;

namespace Worker.Vms;

/// <summary>Everything observed of sandboxes at one moment.</summary>
public sealed record VmSnapshot(long AppliedPlanRevision, IReadOnlyList<VmView> Views);

// One runner for each sandbox. Guarantees: at start every runtime directory is adopted and nothing is destroyed before a plan says so;
// a snapshot is consistent, because runners publish whole views under one lock.
public sealed class VmManager(string runtimeRoot, VmSurroundings around) : IAsyncDisposable
{
    private static readonly TimeSpan NudgePeriod = TimeSpan.FromMilliseconds(250);
    /// <summary>A plan names a quarantine until it is lifted: what failed must not be tried at once, for each try may erase a device.</summary>
    internal static readonly TimeSpan LiftPause = TimeSpan.FromSeconds(30);
    private readonly Lock _lock = new();
    private readonly Dictionary<Guid, (VmRunner Runner, Task Run)> _runners = [];
    private readonly CancellationTokenSource _end = new();
    private readonly Channel<bool> _changed = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });
    private NodePlan _plan = new(0, [], [], []);
    private readonly ConcurrentDictionary<string, Task> _lifting = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<Guid, RareWarning> _samplingWarnings = [];
    private ITimer? _timer;

    /// <summary>One item or none: something has changed since it was last taken.</summary>
    public ChannelReader<bool> Changed => _changed.Reader;

    public IReadOnlyList<Guid> WatchedConsoles
    {
        get
        {
            lock (_lock)
                return _plan.WatchedConsoles;
        }
    }

    /// <summary>What the node must be told of its sandboxes that is no end of one.</summary>
    public IReadOnlyList<Failure> Problems
    {
        get
        {
            lock (_lock)
                return [.. _runners.Values.Select(r => r.Runner.ConsoleProblem).OfType<Failure>()];
        }
    }

    public void Start()
    {
        RuntimeDirectory.CreateRoot(runtimeRoot);
        var (directories, foreign) = RuntimeDirectory.Scan(runtimeRoot);
        foreach (var name in foreign)
            around.Log.LogWarning("{Name} in the runtime directory is not a sandbox's and is left alone", name);
        lock (_lock)
            foreach (var directory in directories)
                Adopt(directory);
        foreach (var id in around.Cgroups.Existing().Except(directories.Select(d => d.Id)))
        {
            // A directory is made before its cgroup and removed after it: a cgroup alone is a leftover.
            var cgroup = around.Cgroups.Of(id)!;
            cgroup.KillAll();
            cgroup.Remove();
        }
        _timer = around.Time.CreateTimer(_ => NudgeAll(), null, NudgePeriod, NudgePeriod);
    }

    public void Apply(NodePlan plan)
    {
        lock (_lock)
        {
            _plan = plan;
            var planned = new Dictionary<Guid, PlannedSandbox>();
            foreach (var sandbox in plan.Sandboxes)
            {
                planned[sandbox.Id] = sandbox;
                if (!_runners.ContainsKey(sandbox.Id) && sandbox.Desired != DesiredState.Deleted)
                    Adopt(RuntimeDirectory.Of(runtimeRoot, sandbox.Id));
            }
            foreach (var (runner, _) in _runners.Values)
                runner.Want(planned.GetValueOrDefault(runner.Id));
        }
        foreach (var lifted in plan.Devices)
            _lifting[lifted.Address] = _lifting.GetValueOrDefault(lifted.Address) is { IsCompleted: false } running ? running : Task.Run(() => LiftAsync(lifted));
    }

    public VmSnapshot Snapshot()
    {
        lock (_lock)
        {
            var views = _runners.Values.Select(r => r.Runner.View).OfType<VmView>().ToList();
            views.AddRange(_plan.Sandboxes.Where(s => s.Desired == DesiredState.Deleted && !_runners.ContainsKey(s.Id)).Select(Absent));
            return new VmSnapshot(_plan.Revision, views);
        }
    }

    /// <summary>The SHA-256 of each file of registered images that a sandbox runs from, or is to run from.</summary>
    public IReadOnlySet<string> ImagesInUse()
    {
        lock (_lock)
            return _runners.Values.SelectMany(r => r.Runner.UsedImages).SelectMany(i => i.Files).Select(f => f.Sha256).ToHashSet(StringComparer.Ordinal);
    }

    public SerialConsole? ConsoleOf(Guid id)
    {
        lock (_lock)
            return _runners.TryGetValue(id, out var entry) ? entry.Runner.Console : null;
    }

    public AgentSessions? SessionsOf(Guid id)
    {
        lock (_lock)
            return _runners.TryGetValue(id, out var entry) ? entry.Runner.Sessions : null;
    }

    public IReadOnlyList<FaultSample> Sample(DateTimeOffset now)
    {
        List<VmRunner> runners;
        lock (_lock)
            runners = [.. _runners.Values.Select(r => r.Runner)];
        return [.. runners.Select(r => Sample(r, now)).OfType<FaultSample>()];
    }

    private FaultSample? Sample(VmRunner runner, DateTimeOffset now)
    {
        try
        {
            return runner.Sample(now);
        }
        catch (Exception problem)
        {
            var warning = _samplingWarnings.GetOrAdd(runner.Id, id => new RareWarning(around.Time, around.Log, $"Sandbox {id}"));
            warning.Add($"its faults could not be sampled; the next second tries again: {problem}");
            return null;
        }
    }

    /// <summary>Ends every sandbox and waits until nothing is left; false when something is left at the deadline.</summary>
    public async Task<bool> DestroyAllAsync(TimeSpan limit)
    {
        Apply(new NodePlan(long.MaxValue, [], [], []));
        List<Task> runs;
        lock (_lock)
            runs = [.. _runners.Values.Select(r => r.Run)];
        var all = Task.WhenAll(runs);
        return await Task.WhenAny(all, Task.Delay(limit, around.Time)) == all && all.IsCompletedSuccessfully;
    }

    /// <summary>Ends every guest and cleans up, but keeps the records, so that the next worker reports how they ended; false when some did not end in time.</summary>
    public async Task<bool> ShutDownAllAsync(TimeSpan limit)
    {
        using var deadline = new CancellationTokenSource(limit, around.Time);
        List<VmRunner> runners;
        lock (_lock)
            runners = [.. _runners.Values.Select(r => r.Runner)];
        try
        {
            foreach (var runner in runners)
                await runner.ShutDownAsync(deadline.Token);
            while (!runners.TrueForAll(r => r.View is null or { Sandbox.State: VmState.Stopped or VmState.Failed }))
                await _changed.Reader.ReadAsync(deadline.Token);
            return true;
        }
        catch (OperationCanceledException) when (deadline.IsCancellationRequested)
        {
            return false;
        }
    }

    /// <summary>Stops looking after the guests; they go on.</summary>
    public async ValueTask DisposeAsync()
    {
        if (_timer is { } timer)
            await timer.DisposeAsync();
        await _end.CancelAsync();
        List<Task> runs;
        lock (_lock)
            runs = [.. _runners.Values.Select(r => r.Run)];
        await Task.WhenAll([.. runs, .. _lifting.Values]);
        _end.Dispose();
    }

    private static VmView Absent(PlannedSandbox planned) => new(
        new ReportedSandbox(planned.Id, planned.Incarnation, VmState.Absent, [], null, null, null, null, null, null, null, null), []);

    /// <summary>A new sandbox is one of which nothing is found.</summary>
    private void Adopt(RuntimeDirectory directory)
    {
        var runner = new VmRunner(directory, around, OnPublished);
        try
        {
            runner.Adopt();
        }
        catch (Exception problem)
        {
            around.Log.LogError(problem, "Sandbox {Sandbox}: its runtime directory could not be taken over", directory.Id);
        }
        Add(runner);
    }

    private void Add(VmRunner runner) => _runners[runner.Id] = (runner, Task.Run(() => RunAsync(runner)));

    private async Task RunAsync(VmRunner runner)
    {
        try
        {
            await runner.RunAsync(_end.Token);
        }
        catch (Exception problem)
        {
            around.Log.LogCritical(problem, "Sandbox {Sandbox}: its runner ended; the next plan starts another", runner.Id);
        }
        lock (_lock)
            if (!_end.IsCancellationRequested)
                _runners.Remove(runner.Id);
        _samplingWarnings.TryRemove(runner.Id, out _);
        OnPublished(runner);
    }

    private async Task LiftAsync(PlannedDevice lifted)
    {
        try
        {
            if (await around.Devices.LiftAsync(lifted, _end.Token))
                _changed.Writer.TryWrite(true);
        }
        catch (Exception problem)
        {
            if (_end.IsCancellationRequested)
                return;
            around.Log.LogError(problem, "Device {Device}: its quarantine could not be lifted; the first plan after {Pause} tries again", lifted.Address, LiftPause);
            await Task.Delay(LiftPause, around.Time, _end.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private void OnPublished(VmRunner runner) => _changed.Writer.TryWrite(true);

    private void NudgeAll()
    {
        lock (_lock)
            foreach (var (runner, _) in _runners.Values)
                runner.Nudge();
    }
}
