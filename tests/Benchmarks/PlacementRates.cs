using System.Diagnostics;
using System.Net.Http.Json;
using Api.Sandboxes;
using Contracts;
using Npgsql;
using Testing;

namespace Benchmarks;

/// <summary>How many sandboxes a second find a place: the pure decision for 10,000 that wait and 1,000 nodes, on one core, beside one that looks at every node each time;
/// and 2,000 placed and stored by a running API, beside as many bare transactions of one row.</summary>
internal static class PlacementRates
{
    private const int Nodes = 1000, Waiting = 10_000, Rounds = 5, Projects = 20;
    private const int StoredNodes = 10, StoredOfANode = 200, Creators = 8;
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

    private static async Task StoredAsync(Report report)
    {
        await using var service = new RunningService { HasWorker = false, Database = new PostgresServer { Durable = true } };
        await service.InitializeAsync();
        await using var database = NpgsqlDataSource.Create(service.Database.ConnectionString);
        var nodes = new List<LoadNode>();
        for (var n = 0; n < StoredNodes; n++) nodes.Add(await LoadNode.JoinAsync(service, $"load-{n}", StoredOfANode));
        using var end = new CancellationTokenSource();
        var reports = ReportAsync(nodes, end.Token);
        await CordonAsync(service, "cordon");
        var number = 0;
        await Task.WhenAll(Enumerable.Range(0, Creators).Select(async _ =>
        {
            while (Interlocked.Increment(ref number) is var i && i <= StoredNodes * StoredOfANode)
                (await service.Client.PostAsJsonAsync("/v1/sandboxes", new { name = $"s{i}", image = "guest", memoryMib = 256 })).EnsureSuccessStatusCode().Dispose();
        }));
        await Eventually.Async(async () => await CountAsync(database, "SELECT count(*) FROM sandboxes WHERE refused_reason IS NOT NULL") == StoredNodes * StoredOfANode, "all wait", TimeSpan.FromMinutes(2));
        report.Say($"{StoredNodes * StoredOfANode} sandboxes wait");
        var watch = Stopwatch.StartNew();
        await CordonAsync(service, "uncordon");
        await Eventually.Async(async () => await CountAsync(database, "SELECT count(*) FROM sandboxes WHERE phase = 'Pending'") == 0, "all are placed", TimeSpan.FromMinutes(2));
        var stored = watch.Elapsed.TotalSeconds;
        report.Add("placements stored a second, by the API", StoredNodes * StoredOfANode / stored, "/s", "bare transactions of one row, one after the other", await BareAsync(database));
        await end.CancelAsync();
        await reports;
        foreach (var node in nodes) await node.DisposeAsync();
    }

    /// <summary>Every node once in three seconds, or they would be unreachable.</summary>
    private static async Task ReportAsync(List<LoadNode> nodes, CancellationToken ct)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromSeconds(3));
        try
        {
            while (await timer.WaitForNextTickAsync(ct))
                foreach (var node in nodes) await node.SyncAsync();
        }
        catch (OperationCanceledException)
        {
            // That is how it ends.
        }
    }

    private static async Task CordonAsync(RunningService service, string verb)
    {
        foreach (var node in (await service.Client.GetFromJsonAsync<Page<NodeView>>("/v1/nodes?limit=1000"))!.Items.Where(n => n.Name.StartsWith("load-", StringComparison.Ordinal)))
            (await service.Client.PostAsync($"/v1/nodes/{node.Id}/{verb}", null)).EnsureSuccessStatusCode().Dispose();
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
