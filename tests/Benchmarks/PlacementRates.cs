using System.Diagnostics;
using System.Net.Http.Json;
using Api.Sandboxes;
using Contracts;
using Npgsql;
using Testing;

namespace Benchmarks;

/// <summary>How many sandboxes a second find a place: the pure decision for 10,000 that wait and 1,000 nodes, on one core, beside one that looks at every node each time;
/// and 10,000 placed on 1,000 nodes and stored by a running API, beside bare transactions of one row.</summary>
internal static class PlacementRates
{
    private const int Nodes = 1000, Waiting = 10_000, Rounds = 5, Projects = 20;
    private const int VcpusOfANode = 12;
    private static readonly DateTimeOffset Now = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);

    public static async Task RunAsync(Report report)
    {
        var (round, every) = (new List<double>(), new List<double>());
        var (placed, scanned) = (0, 0);
        for (var i = 0; i <= Rounds; i++)
        {
            var (fast, slow) = (Timed(Round, out placed), Timed(EveryNode, out scanned));
            // The first has the code compiled.
            if (i == 0) continue;
            round.Add(fast);
            every.Add(slow);
        }
        report.Note($"{Waiting} waiting of {Projects} projects, {Nodes} nodes, {placed} find a place ({scanned} when every node is looked at); {Report.LoadAverage}.");
        report.Add("placements decided a second, one core", placed / Report.Median(round), "/s", "every node looked at each time, oldest first", scanned / Report.Median(every), "2000 /s or more");
        report.Add("those that wait looked at a second", Waiting / Report.Median(round), "/s", "every node looked at each time", Waiting / Report.Median(every));
        await StoredAsync(report);
    }

    private static double Timed(Func<List<Placement.NodePicture>, List<PlacementQueue.Waiting>, int> place, out int placed)
    {
        var (fleet, waiting) = Picture();
        GC.Collect();
        var watch = Stopwatch.StartNew();
        placed = place(fleet, waiting);
        return watch.Elapsed.TotalSeconds;
    }

    private static int Round(List<Placement.NodePicture> fleet, List<PlacementQueue.Waiting> waiting) =>
        new PlacementRound(new(fleet), new(waiting, new(fleet), Now), Now).Decide().Count(d => d.Result is Placement.Placed);

    private static int EveryNode(List<Placement.NodePicture> fleet, List<PlacementQueue.Waiting> waiting)
    {
        var placed = 0;
        foreach (var next in waiting)
        {
            var best = fleet.Where(n => Placement.Refusal(next.Request, n) is null).MaxBy(n => n.FreeVcpus);
            if (best is null) continue;
            Placement.Take(next.Request, best);
            placed++;
        }
        return placed;
    }

    /// <summary>Nodes of 8 to 32 vCPUs with up to 8 devices of one of four classes; sandboxes of 1 to 4 vCPUs, a third of them with devices, somewhat more than fit.</summary>
    private static (List<Placement.NodePicture> Fleet, List<PlacementQueue.Waiting> Waiting) Picture()
    {
        var random = new Random(7);
        var projects = Enumerable.Range(0, Projects).Select(_ => Guid.NewGuid()).ToArray();
        var fleet = Enumerable.Range(0, Nodes).Select(i => new Placement.NodePicture
        {
            Id = Guid.NewGuid(),
            Name = $"node-{i}",
            Phase = i % 50 == 0 ? NodePhase.Cordoned : NodePhase.Ready,
            Vmms = new HashSet<Vmm> { Vmm.Qemu },
            Viommus = new HashSet<Viommu> { Viommu.Smmuv3, Viommu.None },
            Images = new HashSet<string> { "guest" },
            VcpuCapacity = 8 << (i % 3),
            MemoryCapacityMib = 65_536,
            FreeVcpus = 8 << (i % 3),
            FreeMemoryMib = 65_536,
            FreeDevices = [.. Enumerable.Range(0, i % 9).Select(_ => new Placement.FreeDevice(Guid.NewGuid(), $"class-{i % 4}", new HashSet<Viommu> { Viommu.Smmuv3 }, false))],
        }).ToList();
        var waiting = Enumerable.Range(0, Waiting).Select(i =>
        {
            var id = Guid.NewGuid();
            var devices = random.Next(3) == 0 ? new AcceleratorCount[] { new($"class-{random.Next(4)}", 1 + random.Next(2)) } : [];
            return new PlacementQueue.Waiting(id, projects[random.Next(Projects)], random.Next(3) - 1, Now.AddMinutes(-random.NextDouble() * 5),
                new("guest", 1 + random.Next(4), 256 << random.Next(4), Viommu.Smmuv3, devices) { Id = id });
        }).OrderBy(w => w.Since).ToList();
        return (fleet, waiting);
    }

    /// <summary>One node joins and one sandbox is asked for as ever; the others are copies of their rows, for what is measured begins when all of them wait.</summary>
    private static async Task StoredAsync(Report report)
    {
        await using var service = new RunningService { HasWorker = false, Database = new PostgresServer { Durable = true } };
        await service.InitializeAsync();
        await using var database = NpgsqlDataSource.Create(service.Database.ConnectionString);
        await using var node = await LoadNode.JoinAsync(service, "load-1", VcpusOfANode);
        using var end = new CancellationTokenSource();
        var reports = ReportAsync(node, end.Token);
        var id = (await service.Client.GetFromJsonAsync<Page<NodeView>>("/v1/nodes?name=load-1"))!.Items.Single(n => n.Name == "load-1").Id;
        await CordonAsync(service, id, "cordon");
        (await service.Client.PostAsJsonAsync("/v1/sandboxes", new { name = "s1", image = "guest", memoryMib = 256 })).EnsureSuccessStatusCode().Dispose();
        await ExecuteAsync(database, $"""
            INSERT INTO nodes SELECT (jsonb_populate_record(n, jsonb_build_object('id', gen_random_uuid(), 'name', 'load-' || i, 'installation', gen_random_uuid(),
              'token_sha256', '\x' || encode(sha256(i::text::bytea), 'hex'), 'last_report_at', now() + interval '1 day'))).* FROM nodes n, generate_series(2, {Nodes}) i WHERE n.name = 'load-1';
            INSERT INTO node_images SELECT (jsonb_populate_record(m, jsonb_build_object('node_id', n.id))).* FROM node_images m JOIN nodes o ON o.id = m.node_id AND o.name = 'load-1' CROSS JOIN nodes n WHERE n.name LIKE 'load-%' AND n.name <> 'load-1';
            INSERT INTO sandboxes SELECT (jsonb_populate_record(s, jsonb_build_object('id', gen_random_uuid(), 'name', 's' || i, 'refused_reason', NULL))).* FROM sandboxes s, generate_series(2, {Waiting}) i WHERE s.name = 's1';
            ANALYZE;
            """);
        await Eventually.Async(async () => await CountAsync(database, "SELECT count(*) FROM sandboxes WHERE refused_reason IS NOT NULL") == Waiting, "all wait", TimeSpan.FromMinutes(5));
        report.Say($"{Waiting} sandboxes wait for {Nodes} nodes");
        await ExecuteAsync(database, "UPDATE nodes SET phase = 'Ready', is_cordoned = false WHERE name LIKE 'load-%' AND name <> 'load-1'");
        var watch = Stopwatch.StartNew();
        await CordonAsync(service, id, "uncordon");
        await Eventually.Async(async () => await CountAsync(database, "SELECT count(*) FROM sandboxes WHERE phase = 'Pending'") == 0, "all are placed", TimeSpan.FromMinutes(5));
        var stored = watch.Elapsed.TotalSeconds;
        report.Add("placements stored a second, by the API", Waiting / stored, "/s", "bare transactions of one row, one after the other", await BareAsync(database), "2000 /s or more");
        await end.CancelAsync();
        await reports;
    }

    /// <summary>Once in three seconds, or it would be unreachable.</summary>
    private static async Task ReportAsync(LoadNode node, CancellationToken ct)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromSeconds(3));
        try
        {
            while (await timer.WaitForNextTickAsync(ct)) await node.SyncAsync();
        }
        catch (OperationCanceledException)
        {
            // That is how it ends.
        }
    }

    private static async Task CordonAsync(RunningService service, Guid node, string verb) =>
        (await service.Client.PostAsync($"/v1/nodes/{node}/{verb}", null)).EnsureSuccessStatusCode().Dispose();

    private static async Task ExecuteAsync(NpgsqlDataSource database, string sql)
    {
#pragma warning disable CA2100 // Texts of this file.
        await using var command = database.CreateCommand(sql);
#pragma warning restore CA2100
        command.CommandTimeout = 300;
        await command.ExecuteNonQueryAsync();
    }

    private static async Task<long> CountAsync(NpgsqlDataSource database, string sql)
    {
#pragma warning disable CA2100 // Texts of this file.
        await using var count = database.CreateCommand(sql);
#pragma warning restore CA2100
        return (long)(await count.ExecuteScalarAsync())!;
    }

    private static async Task<double> BareAsync(NpgsqlDataSource database)
    {
        const int Times = 1000;
        await using var connection = await database.OpenConnectionAsync();
        await using (var table = new NpgsqlCommand("CREATE TABLE bare_rows (id integer PRIMARY KEY, changed integer NOT NULL); INSERT INTO bare_rows SELECT i, 0 FROM generate_series(1, 1000) i", connection))
            await table.ExecuteNonQueryAsync();
        await using var update = new NpgsqlCommand("UPDATE bare_rows SET changed = 1 WHERE id = $1", connection);
        update.Parameters.Add(new() { Value = 0 });
        var watch = Stopwatch.StartNew();
        for (var i = 1; i <= Times; i++)
        {
            update.Parameters[0].Value = i;
            await update.ExecuteNonQueryAsync();
        }
        return Times / watch.Elapsed.TotalSeconds;
    }
}
