using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Json;
using Npgsql;
using Testing;

namespace Benchmarks;

/// <summary>A thousand simulated nodes (SANDBOX_BENCH_NODES: another number) in one process, with a sandbox each: how long they take to be Ready, what they cost the API when nothing
/// happens, how long their sandboxes take to run, and what is stored of the samples.</summary>
internal static class Fleet
{
    private const int IdleSeconds = 30, SampledSeconds = 60, Creators = 8, Questions = 100;

    private static int Nodes => int.TryParse(Environment.GetEnvironmentVariable("SANDBOX_BENCH_NODES"), CultureInfo.InvariantCulture, out var nodes) ? nodes : 1000;

    public static async Task RunAsync(Report report)
    {
        await using var service = new RunningService { HasWorker = false, Database = new PostgresServer { Durable = true } };
        await service.InitializeAsync();
        await using var database = NpgsqlDataSource.Create(service.Database.ConnectionString);
        var alone = await ShareAsync(service.Api.Id, IdleSeconds);
        var health = Report.Median(await FaultHistory.MillisecondsAsync(async () => (await service.Client.GetAsync("/health")).Dispose(), Questions));
        var watch = Stopwatch.StartNew();
        await using var fleet = service.StartFleet(Nodes);
        await UntilAsync(async () => await MetricAsync(service, "sandbox_nodes{phase=\"Ready\"}") == Nodes, fleet, "all nodes are ready");
        var ready = watch.Elapsed;
        report.Say($"{Nodes} nodes are Ready after {ready.TotalSeconds:0.0} s");
        var (idle, idleFleet) = (ShareAsync(service.Api.Id, IdleSeconds), ShareAsync(fleet.Id, IdleSeconds));
        await Task.WhenAll(idle, idleFleet);
        var list = Report.Median(await FaultHistory.MillisecondsAsync(async () => (await service.Client.GetAsync("/v1/nodes?limit=50")).Dispose(), Questions));

        watch.Restart();
        var number = 0;
        await Task.WhenAll(Enumerable.Range(0, Creators).Select(async _ =>
        {
            while (Interlocked.Increment(ref number) is var i && i <= Nodes)
                (await service.Client.PostAsJsonAsync("/v1/sandboxes", new
                {
                    name = $"s{i}", image = "guest", vmm = "simulated", memoryMib = 128, accelerators = new[] { new { @class = "sva" } }, userData = """{"accessesPerSecond":200,"workingSetMib":1}""",
                })).EnsureSuccessStatusCode().Dispose();
        }));
        var created = watch.Elapsed;
        await UntilAsync(async () => await MetricAsync(service, "sandbox_sandboxes{phase=\"Running\"}") == Nodes, fleet, "all sandboxes run");
        var running = watch.Elapsed;
        report.Say($"{Nodes} sandboxes were created in {created.TotalSeconds:0.0} s and run after {running.TotalSeconds:0.0} s");

        var from = TimeProvider.System.GetUtcNow();
        var (busy, busyFleet) = (ShareAsync(service.Api.Id, SampledSeconds), ShareAsync(fleet.Id, SampledSeconds));
        await Task.WhenAll(busy, busyFleet);
        var to = TimeProvider.System.GetUtcNow();
        var load = Report.LoadAverage;
        // What was sampled last may be under way.
        await UntilAsync(async () => await ScalarAsync(database, "SELECT count(DISTINCT sandbox_id) FROM fault_samples WHERE at >= $1", to) == Nodes, fleet, "the samples of these seconds are stored");
        var stored = await ScalarAsync(database, "SELECT count(*) FROM fault_samples WHERE at >= $1 AND at < $2", from, to);
        var gaps = await ScalarAsync(database, "SELECT count(*) FROM (SELECT at - lag(at) OVER (PARTITION BY sandbox_id ORDER BY at) AS gap FROM fault_samples WHERE at >= $1 AND at < $2) AS g WHERE gap > interval '1.9 s'", from, to);
        var refused = await MetricAsync(service, "sandbox_fault_samples_refused_total") + await MetricAsync(service, "sandbox_fault_samples_dropped_total");
        report.Note($"{Nodes} simulated nodes in one process of {MemoryMib(fleet.Id)} MiB, a sandbox each; the API has {MemoryMib(service.Api.Id)} MiB; a database that waits for its disk; {load}. "
            + $"The fleet took {(await idleFleet) * 100:0} % of one core when idle and {(await busyFleet) * 100:0} % with its sandboxes.");
        report.Add("a node until it is Ready", ready.TotalMilliseconds / Nodes, "ms", "the least answer (GET /health)", health);
        report.Add("API's share of one core, idle", await idle * 100, "%", "without nodes", alone * 100);
        report.Add("50 nodes of the list", list, "ms", "the least answer (GET /health)", health);
        report.Add("a sandbox until it runs", running.TotalMilliseconds / Nodes, "ms", "creating it", created.TotalMilliseconds / Nodes);
        report.Add("samples stored", stored, "", "one a second of each", Nodes * (to - from).TotalSeconds, $"all; {gaps} gaps, {refused} refused or dropped");
        report.Add("API's share of one core, sampled", await busy * 100, "%", "idle", await idle * 100);
    }

    /// <summary>Of one core.</summary>
    private static async Task<double> ShareAsync(int pid, int seconds)
    {
        var (watch, before) = (Stopwatch.StartNew(), FaultHistory.CpuSeconds(pid));
        using var timer = new PeriodicTimer(TimeSpan.FromSeconds(seconds));
        await timer.WaitForNextTickAsync();
        return (FaultHistory.CpuSeconds(pid) - before) / watch.Elapsed.TotalSeconds;
    }

    private static long MemoryMib(int pid) =>
        long.Parse(File.ReadLines($"/proc/{pid}/status").First(line => line.StartsWith("VmRSS:", StringComparison.Ordinal)).Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) / 1024;

    private static async Task<double> MetricAsync(RunningService service, string series) =>
        (await service.Client.GetStringAsync("/metrics")).Split('\n').FirstOrDefault(line => line.StartsWith(series + " ", StringComparison.Ordinal)) is { } line ? double.Parse(line[(series.Length + 1)..], CultureInfo.InvariantCulture) : 0;

    private static async Task<long> ScalarAsync(NpgsqlDataSource database, string sql, params DateTimeOffset[] times)
    {
        await using var command = database.CreateCommand(sql);
        foreach (var time in times)
            command.Parameters.Add(new() { Value = time.UtcDateTime });
        return (long)(await command.ExecuteScalarAsync())!;
    }

    private static async Task UntilAsync(Func<Task<bool>> condition, ProcessUnderTest fleet, string what)
    {
        // Once a second: what is asked costs the API something too.
        using var timer = new PeriodicTimer(TimeSpan.FromSeconds(1));
        for (var watch = Stopwatch.StartNew(); !await condition(); await timer.WaitForNextTickAsync())
            if (watch.Elapsed > TimeSpan.FromMinutes(15))
                throw new TimeoutException($"not within {watch.Elapsed}: {what}; the fleet printed:\n{string.Join('\n', fleet.Lines.TakeLast(20))}");
    }
}
