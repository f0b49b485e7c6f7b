namespace Worker.Faults.Tracing;

/// <summary>What one table has counted. <c>Rows</c>: those that are not as they were told before. <c>Lost</c>: events that are known to be in none of them.
/// <c>Problem</c>: why it counts nothing, a code of NullReasons; it has no rows then.</summary>
internal sealed record TraceTableReport(string Name, string? Problem, IReadOnlyList<TraceRow> Rows, long Lost);

/// <summary>All tables at one moment. <c>Begun</c>: a timestamp of the monotonic clock before the first was read: what happened before it is counted.</summary>
internal sealed record TraceReport(long Begun, IReadOnlyList<TraceTableReport> Tables);

// The state of one name in tracefs: set up, read, torn down. Guarantees: each probe and table is set up on its own, and one that the kernel refuses hinders none
// of the others; tearing down needs no memory of the setting up, so that it also takes away what a killed keeper left, and goes in reverse order: triggers
// that use others' variables first, the instance, then the events. Nothing of another name is touched. Not thread safe.
internal sealed class TraceSession(ITraceFiles files, string name)
{
    private const int MostPasses = 8, BufferKib = 8;
    private const int TimingRound = 10;
    private readonly Dictionary<string, string> _problems = new(StringComparer.Ordinal);
    private readonly Dictionary<string, Dictionary<string, TraceRow>> _told = new(StringComparer.Ordinal);
    private readonly Dictionary<string, long> _timingLost = new(StringComparer.Ordinal);
    private readonly List<string> _said = [];
    private TracePlan _plan = TracePlan.Nothing;
    private int _rounds;

    /// <summary>What the kernel refused, a sentence each.</summary>
    public IReadOnlyList<string> Said => _said;

    /// <summary>Whether a table is full, and new keys are counted no more, or one could not be begun anew: another keeper begins with all of them.</summary>
    public bool IsFull { get; private set; }

    public void SetUp(TracePlan plan)
    {
        _plan = plan;
        if (!Try(() => files.MakeFolder(TraceCommands.Instance(name)), "instance") || !Try(() => files.Write($"{TraceCommands.Instance(name)}/buffer_size_kb", $"{BufferKib}"), "instance"))
        {
            foreach (var part in plan.Tables.Select(t => t.Name).Concat(plan.Latencies.Select(l => l.Name)))
                _problems[part] = NullReasons.TracingUnavailable;
            return;
        }
        var probes = plan.Probes.Where(probe => !Do(TraceCommands.SetUp(name, probe), probe.Name)).ToDictionary(p => p.Name, ProblemOf, StringComparer.Ordinal);
        foreach (var table in plan.Tables)
            if (probes.TryGetValue(table.Event, out var problem))
                _problems[table.Name] = problem;
            else if (!files.Exists(TraceCommands.EventFolder(name, table.Event)))
                _problems[table.Name] = NullReasons.TracePointMissing;
            else if (!Do(TraceCommands.SetUp(name, table), table.Name))
                _problems[table.Name] = NullReasons.TracingUnavailable;
        foreach (var latency in plan.Latencies)
            if (probes.TryGetValue(latency.In, out var problem) || probes.TryGetValue(latency.Out, out problem))
                _problems[latency.Name] = problem;
            else if (!TraceCommands.SetUp(name, latency).All(command => Do(command, latency.Name)))
                _problems[latency.Name] = NullReasons.TracingUnavailable;
    }

    public TraceReport Read(long begun)
    {
        var missed = _plan.Probes.Count == 0 || !files.Exists(TraceCommands.Profile) ? new Dictionary<string, long>() : TraceCommands.Missed(files.Read(TraceCommands.Profile));
        long MissedBy(params string[] probes) => probes.Sum(probe => missed.GetValueOrDefault(probe));
        var tables = _plan.Tables.Select(table => Read(table.Name, TraceCommands.EventFolder(name, table.Event), table.Keys, null, MissedBy(table.Event)))
            .Concat(_plan.Latencies.Select(latency => Read(latency.Name, TraceCommands.LatencyFolder(name, latency), TraceCommands.LatencyKeys, TraceCommands.LatencySum, MissedBy(latency.In, latency.Out) + TimingLost(latency))))
            .ToList();
        _rounds++;
        return new TraceReport(begun, tables);
    }

    /// <summary>What is still there of this name afterwards; nothing, unless somebody else has a file of it open.</summary>
    public IReadOnlyList<string> TearDown()
    {
        var instance = TraceCommands.Instance(name);
        if (files.Exists(instance))
        {
            // What one pass could not take away was used by what it did.
            for (var pass = 0; pass < MostPasses && RemoveTriggers(); pass++)
            {
            }
            Try(() => files.RemoveFolder(instance), null);
        }
        RemoveLines(TraceCommands.Probes, line => TraceCommands.RemovalOfProbe(name, line));
        RemoveLines(TraceCommands.SyntheticEvents, line => TraceCommands.RemovalOfSynthetic(name, line));
        return
        [
            .. files.Exists(instance) ? [instance] : Array.Empty<string>(),
            .. Lines(TraceCommands.Probes).Select(line => TraceCommands.RemovalOfProbe(name, line)).OfType<string>(),
            .. Lines(TraceCommands.SyntheticEvents).Select(line => TraceCommands.RemovalOfSynthetic(name, line)).OfType<string>(),
        ];
    }

    private bool RemoveTriggers()
    {
        var removed = false;
        foreach (var system in (string[])["synthetic", name])
            foreach (var folder in files.Folders(TraceCommands.Events(name, system)))
                foreach (var line in Lines($"{TraceCommands.Events(name, system)}/{folder}/trigger"))
                    if (TraceCommands.Removal(line) is { } removal)
                        removed |= Try(() => files.Write($"{TraceCommands.Events(name, system)}/{folder}/trigger", removal), null);
        return removed;
    }

    private void RemoveLines(string file, Func<string, string?> removal)
    {
        foreach (var text in Lines(file).Select(removal).OfType<string>())
            Try(() => files.Write(file, text), null);
    }

    private string[] Lines(string file) => files.Exists(file) ? files.Read(file).Split('\n') : [];

    private TraceTableReport Read(string table, string folder, IReadOnlyList<string> keys, string? value, long missed)
    {
        if (_problems.TryGetValue(table, out var problem))
            return new TraceTableReport(table, problem, [], 0);
        if (HistogramText.Parse(files.Read($"{folder}/hist"), keys, value) is not { } read)
            return new TraceTableReport(table, NullReasons.TracingUnavailable, [], 0);
        IsFull |= read.Dropped > 0;
        if (!_told.TryGetValue(table, out var told))
            _told[table] = told = new Dictionary<string, TraceRow>(StringComparer.Ordinal);
        var rows = new List<TraceRow>();
        foreach (var row in read.Rows)
        {
            var key = string.Join('|', row.Keys);
            if (told.TryGetValue(key, out var before) && before.Count == row.Count && before.Sum == row.Sum)
                continue;
            told[key] = row;
            rows.Add(row);
        }
        return new TraceTableReport(table, null, rows, missed + read.Dropped + read.Refused);
    }

    /// <summary>Beginnings and ends that found their tables full. The tables may be long and tell nothing else: they are looked at now and then. They are begun anew, alone: one guest's many
    /// groups must not cost all guests that come after it their times, and what else is counted goes on. What was under way then is lost.</summary>
    private long TimingLost(TraceLatency latency)
    {
        if (_rounds % TimingRound != 0 || _problems.ContainsKey(latency.Name))
            return _timingLost.GetValueOrDefault(latency.Name);
        // One that is not understood may have lost any.
        var lost = ((string[])[latency.In, latency.Out]).Sum(probe => HistogramText.Parse(files.Read($"{TraceCommands.EventFolder(name, probe)}/hist"), latency.By, null)?.Dropped ?? 1);
        if (lost > 0)
        {
            _timingLost[latency.Name] = _timingLost.GetValueOrDefault(latency.Name) + lost;
            IsFull |= !BeginTimingAnew(latency);
        }
        return _timingLost.GetValueOrDefault(latency.Name);
    }

    private bool BeginTimingAnew(TraceLatency latency)
    {
        var timing = TraceCommands.Timing(name, latency);
        // The later one uses the earlier one's variable.
        foreach (var command in timing.Reverse())
            foreach (var line in Lines(command.File).Where(line => TraceCommands.IsSame(line, command.Text)))
                if (TraceCommands.Removal(line) is not { } removal || !Do(command with { Text = removal }, latency.Name))
                    return false;
        return timing.All(command => Do(command, latency.Name));
    }

    /// <summary>The kernel has one errno for a function that it does not know and for one that it cannot probe.</summary>
    private string ProblemOf(TraceProbe probe) =>
        files.Exists(TraceCommands.Probes) && files.Exists(TraceCommands.Functions) && !Lines(TraceCommands.Functions).Any(line => line.Split(' ', '\t')[0] == probe.Function)
            ? NullReasons.TracePointMissing
            : NullReasons.TracingUnavailable;

    private bool Do(TraceCommand command, string part) => Try(() => files.Write(command.File, command.Text), $"{part}: {command.Text}");

    private bool Try(Action change, string? what)
    {
        try
        {
            change();
            return true;
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            if (what is not null)
                _said.Add($"{what}: {problem.Message}");
            return false;
        }
    }
}
