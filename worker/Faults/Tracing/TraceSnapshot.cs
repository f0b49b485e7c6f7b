namespace Worker.Faults.Tracing;

/// <summary>What a table has counted since its keeper began. <c>Rows</c>: by keys, joined by |.</summary>
internal sealed record TraceTableState(string? Problem, IReadOnlyDictionary<string, (long Count, long Sum)> Rows, long Lost)
{
    public static readonly IReadOnlyDictionary<string, (long Count, long Sum)> NoRows = new Dictionary<string, (long, long)>();

    public long CountOf(string key) => Rows.TryGetValue(key, out var row) ? row.Count : 0;
}

/// <summary>All tables of one keeper, which is a session, at one moment. <c>Begun</c>: all that happened before this timestamp is counted.</summary>
internal sealed record TraceSnapshot(int Session, long Begun, IReadOnlyDictionary<string, TraceTableState> Tables)
{
    private const int MaxTables = 32, MaxKeys = 3;

    public static TraceSnapshot Of(int session) => new(session, 0, new Dictionary<string, TraceTableState>());

    public TraceTableState? Table(string name) => Tables.GetValueOrDefault(name);

    /// <summary>Why a table counts nothing; null when it counts. What the plan leaves out this kernel has not, or the worker cannot use.</summary>
    public string? ProblemOf(string table) =>
        Table(table) is { } known ? known.Problem : table == HostTracePlan.GuestFaults ? NullReasons.TracingUnavailable : NullReasons.TracePointMissing;

    /// <summary>With what the keeper tells next. An InvalidDataException when that cannot be.</summary>
    public TraceSnapshot With(TraceReport report)
    {
        if (report is not { Tables.Count: <= MaxTables } || report.Begun < Begun)
            throw new InvalidDataException("the trace keeper told something that cannot be");
        var tables = new Dictionary<string, TraceTableState>(StringComparer.Ordinal);
        foreach (var told in report.Tables)
        {
            if (told is not { Name: not null, Rows: not null, Lost: >= 0 } || told.Problem is not (null or NullReasons.TracePointMissing or NullReasons.TracingUnavailable)
                || told.Rows.Any(row => row is not { Keys.Count: >= 1 and <= MaxKeys, Count: >= 0, Sum: >= 0 } || row.Keys.Any(key => key is null or { Length: > HistogramText.MaxKeyLength } || key.Contains('|'))))
                throw new InvalidDataException("the trace keeper told something that cannot be");
            var before = Table(told.Name)?.Rows ?? TraceTableState.NoRows;
            tables[told.Name] = new TraceTableState(told.Problem, told.Rows.Count == 0 ? before : Merged(before, told.Rows), told.Lost);
        }
        return this with { Begun = report.Begun, Tables = tables };
    }

    private static Dictionary<string, (long, long)> Merged(IReadOnlyDictionary<string, (long, long)> before, IReadOnlyList<TraceRow> changed)
    {
        var rows = new Dictionary<string, (long, long)>(before, StringComparer.Ordinal);
        foreach (var row in changed)
            rows[string.Join('|', row.Keys)] = (row.Count, row.Sum);
        return rows;
    }
}
