using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Json;
using Contracts;
using Npgsql;
using NpgsqlTypes;
using Testing;

namespace Benchmarks;

/// <summary>Ten nodes that send samples of a thousand sandboxes each, once a second, for ten minutes (SANDBOX_BENCH_SECONDS: for another time): what the API's process takes
/// of one core beside a bare COPY of the same rows, how many of them are stored, and how long a question about one sandbox's day takes.</summary>
internal static class FaultHistory
{
    private const int Nodes = 10, SandboxesOfANode = 1000, Creators = 8, Questions = 200, BareSeconds = 5;

    private static int Seconds => int.TryParse(Environment.GetEnvironmentVariable("SANDBOX_BENCH_SECONDS"), CultureInfo.InvariantCulture, out var seconds) ? seconds : 600;

    public static async Task RunAsync(Report report)
    {
        await using var service = new RunningService { HasWorker = false, Database = new PostgresServer { Durable = true } };
        await service.InitializeAsync();
        await using var database = NpgsqlDataSource.Create(service.Database.ConnectionString);
        var nodes = new List<LoadNode>();
        for (var n = 0; n < Nodes; n++)
            nodes.Add(await LoadNode.JoinAsync(service, $"load-{n}", SandboxesOfANode));
        report.Say($"{Nodes} nodes have joined");
        var number = 0;
        await Task.WhenAll(Enumerable.Range(0, Creators).Select(async _ =>
        {
            while (Interlocked.Increment(ref number) is var i && i <= Nodes * SandboxesOfANode)
                (await service.Client.PostAsJsonAsync("/v1/sandboxes", new { name = $"s{i}", image = "guest", memoryMib = 256 })).EnsureSuccessStatusCode().Dispose();
        }));
        report.Say("the sandboxes are created");
        await Eventually.Async(async () =>
        {
            foreach (var node in nodes)
                await node.SyncAsync();
            return nodes.Sum(node => node.Running.Count) == Nodes * SandboxesOfANode;
        }, "all are placed", TimeSpan.FromMinutes(10));

        var before = CpuSeconds(service.Api.Id);
        var watch = Stopwatch.StartNew();
        using var end = new CancellationTokenSource();
        var sent = await Task.WhenAll(nodes.Select(node => node.SendAsync(Seconds, end.Token)));
        var elapsed = watch.Elapsed.TotalSeconds;
        var cpu = (CpuSeconds(service.Api.Id) - before) / elapsed;
        var load = Report.LoadAverage;
        var stored = await StoredAsync(database, sent.Sum());

        var bare = await BareCopyAsync(database, nodes[0]);
        var (asked, health) = (await QuestionAsync(service, database, nodes[0].Running.First()), await MillisecondsAsync(async () => (await service.Client.GetAsync("/health")).Dispose()));
        report.Note($"{Nodes * SandboxesOfANode} sandboxes of {Nodes} nodes for {elapsed:0} s, {sent.Sum() / elapsed:0} samples a second; a database that waits for its disk; {load}.");
        report.Add("samples stored", stored, "", "sent", sent.Sum(), $"all; {sent.Sum() - stored} lost");
        report.Add("API's share of one core", cpu * 100, "%", "bare COPY of as many rows a second", bare * 100, "below 50 %");
        report.Add("one sandbox's day by minutes, median", Report.Median(asked), "ms", "the least answer (GET /health)", Report.Median(health), "below 50 ms");
        report.Add("its 99th percentile", Report.Quantile(asked, 0.99), "ms", "that of the least answer", Report.Quantile(health, 0.99));
        foreach (var node in nodes)
            await node.DisposeAsync();
    }

    private static async Task<long> CountAsync(NpgsqlDataSource database)
    {
        await using var count = database.CreateCommand("SELECT count(*) FROM fault_samples");
        return (long)(await count.ExecuteScalarAsync())!;
    }

    /// <summary>Once it is all that was sent, or does not grow any more.</summary>
    private static async Task<long> StoredAsync(NpgsqlDataSource database, long sent)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromSeconds(5));
        for (var stored = -1L; ;)
        {
            if (await CountAsync(database) is var now && (now == sent || now == stored))
                return now;
            stored = now;
            await timer.WaitForNextTickAsync();
        }
    }

    internal static double CpuSeconds(int pid)
    {
        var fields = File.ReadAllText($"/proc/{pid}/stat").Split(')')[^1].Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return (double.Parse(fields[11], CultureInfo.InvariantCulture) + double.Parse(fields[12], CultureInfo.InvariantCulture)) / 100;
    }

    /// <summary>The share of one core that this process takes to COPY a second's rows, nothing else done with them.</summary>
    private static async Task<double> BareCopyAsync(NpgsqlDataSource database, LoadNode node)
    {
        await using (var table = database.CreateCommand("CREATE TABLE bare_samples (sandbox_id uuid, at timestamptz, incarnation integer, readings bytea)"))
            await table.ExecuteNonQueryAsync();
        var rows = node.Samples(0).Select(s => (s.SandboxId, s.At.UtcDateTime, FaultSamplesEncoding.EncodeReadings(s.Readings))).ToList();
        using var self = Process.GetCurrentProcess();
        var before = self.TotalProcessorTime;
        for (var second = 0; second < BareSeconds; second++)
        {
            await using var connection = await database.OpenConnectionAsync();
            await using var import = await connection.BeginBinaryImportAsync("COPY bare_samples (sandbox_id, at, incarnation, readings) FROM STDIN (FORMAT BINARY)");
            foreach (var (sandbox, at, readings) in Enumerable.Repeat(rows, Nodes).SelectMany(r => r))
            {
                await import.StartRowAsync();
                await import.WriteAsync(sandbox, NpgsqlDbType.Uuid);
                await import.WriteAsync(at, NpgsqlDbType.TimestampTz);
                await import.WriteAsync(1, NpgsqlDbType.Integer);
                await import.WriteAsync(readings, NpgsqlDbType.Bytea);
            }
            await import.CompleteAsync();
        }
        self.Refresh();
        return (self.TotalProcessorTime - before).TotalSeconds / BareSeconds;
    }

    /// <summary>How long the question takes, when a day of minutes of that sandbox is stored among those of the others.</summary>
    private static async Task<List<double>> QuestionAsync(RunningService service, NpgsqlDataSource database, Guid sandbox)
    {
        await using (var fill = database.CreateCommand("""
            INSERT INTO fault_minutes (sandbox_id, minute, incarnation, at, readings)
            SELECT $1, m, 1, m + interval '59 s', (SELECT readings FROM fault_samples WHERE sandbox_id = $1 LIMIT 1)
            FROM generate_series(date_trunc('minute', now() - interval '1 day'), now() - interval '2 minutes', interval '1 minute') AS m ON CONFLICT DO NOTHING
            """))
        {
            fill.Parameters.Add(new() { Value = sandbox });
            await fill.ExecuteNonQueryAsync();
        }
        var from = Uri.EscapeDataString(TimeProvider.System.GetUtcNow().AddDays(-1).ToString("O"));
        var question = $"/v1/sandboxes/{sandbox}/faults?from={from}&limit=1500";
        if ((await service.Client.GetFromJsonAsync<FaultHistoryView>(question))!.Items.Count is < 1400 and var minutes)
            throw new InvalidOperationException($"a day has {minutes} minutes");
        return await MillisecondsAsync(async () =>
        {
            using var answer = await service.Client.GetAsync(question);
            await answer.EnsureSuccessStatusCode().Content.CopyToAsync(Stream.Null);
        });
    }

    internal static async Task<List<double>> MillisecondsAsync(Func<Task> request, int questions = Questions)
    {
        var times = new List<double>();
        for (var i = 0; i < questions; i++)
        {
            var watch = Stopwatch.StartNew();
            await request();
            times.Add(watch.Elapsed.TotalMilliseconds);
        }
        return times;
    }
}
