using System.Diagnostics;
using System.Net.Http.Json;
using Contracts;
using Testing;

namespace Benchmarks;

/// <summary>Requests a second of create, get and list beside the bare endpoint, in turns, from eight connections of this process.
/// What is created is larger than any node and waits, so that no guest takes the processors; its refusal is stored with its event, as in production.</summary>
internal static class RequestRates
{
    private const int Connections = 8, Rounds = 5, Rows = 10_000, LargerThanAnyNode = 1 << 20;
    private static readonly TimeSpan Round = TimeSpan.FromSeconds(4);

    public static async Task RunAsync(Report report)
    {
        await using var service = new RunningService { Database = new PostgresServer { Durable = true } };
        await service.InitializeAsync();
        var url = $"http://127.0.0.1:{FreePort.Next()}";
        await using var bareProcess = ProcessUnderTest.Start("dotnet", [typeof(RequestRates).Assembly.Location, "bare-endpoint", service.Database.ConnectionFile, url]);
        using var bare = new HttpClient(new SocketsHttpHandler()) { BaseAddress = new Uri(url) };
        await Eventually.Async(async () => { using var health = await bare.GetAsync("/health"); return health.IsSuccessStatusCode; }, "the bare endpoint answers");

        var number = 0;
        Task<HttpResponseMessage> Insert() => bare.PostAsJsonAsync("/rows", new { name = $"r{Interlocked.Increment(ref number)}", image = "guest", memoryMib = 256 });
        Task<HttpResponseMessage> Create() => service.Client.PostAsJsonAsync("/v1/sandboxes", new { name = $"r{Interlocked.Increment(ref number)}", image = "guest", memoryMib = LargerThanAnyNode });
        await RateAsync(Insert);
        await RateAsync(Create);
        var inserts = new List<double>();
        var creates = new List<double>();
        for (var round = 0; round < Rounds; round++)
        {
            inserts.Add(await RateAsync(Insert));
            creates.Add(await RateAsync(Create));
        }
        var ids = new List<Guid>();
        while ((ids = await WalkAsync(service)).Count < Rows)
            await Task.WhenAll(Enumerable.Range(0, Connections).Select(_ => RepeatAsync(Create, (Rows - ids.Count + Connections - 1) / Connections)));

        var at = 0;
        Task<HttpResponseMessage> Get() => service.Client.GetAsync($"/v1/sandboxes/{ids[Interlocked.Increment(ref at) % ids.Count]}");
        Task<HttpResponseMessage> List() => service.Client.GetAsync("/v1/sandboxes?limit=100");
        await RateAsync(Get);
        await RateAsync(List);
        var gets = new List<double>();
        var lists = new List<double>();
        var insertsBeside = new List<double>();
        for (var round = 0; round < Rounds; round++)
        {
            insertsBeside.Add(await RateAsync(Insert));
            gets.Add(await RateAsync(Get));
            lists.Add(await RateAsync(List));
        }
        var walk = Stopwatch.StartNew();
        var walked = (await WalkAsync(service)).Count;
        report.Note($"{Connections} connections, {Rounds} rounds of {Round.TotalSeconds} s in turns, medians; a database that waits for its disk; {walked} sandboxes stored, a walk over all of them in pages of 1000 takes {walk.Elapsed.TotalSeconds:0.00} s.");
        report.Add("create", Report.Median(creates), "/s", "bare one-INSERT endpoint", Report.Median(inserts));
        report.Add("get one", Report.Median(gets), "/s", "bare one-INSERT endpoint", Report.Median(insertsBeside));
        report.Add($"list 100 of {walked}", Report.Median(lists), "/s", "bare one-INSERT endpoint", Report.Median(insertsBeside));
    }

    private static async Task<List<Guid>> WalkAsync(RunningService service)
    {
        var ids = new List<Guid>();
        string? cursor = null;
        do
        {
            var page = (await service.Client.GetFromJsonAsync<Page<SandboxView>>($"/v1/sandboxes?limit=1000{(cursor is null ? "" : "&after=" + cursor)}"))!;
            ids.AddRange(page.Items.Select(s => s.Id));
            cursor = page.Next;
        }
        while (cursor is not null);
        return ids;
    }

    private static async Task<double> RateAsync(Func<Task<HttpResponseMessage>> request)
    {
        var watch = Stopwatch.StartNew();
        var done = await Task.WhenAll(Enumerable.Range(0, Connections).Select(async _ =>
        {
            var count = 0;
            while (watch.Elapsed < Round)
            {
                using var response = (await request()).EnsureSuccessStatusCode();
                await response.Content.CopyToAsync(Stream.Null);
                count++;
            }
            return count;
        }));
        return done.Sum() / watch.Elapsed.TotalSeconds;
    }

    private static async Task RepeatAsync(Func<Task<HttpResponseMessage>> request, int times)
    {
        for (var time = 0; time < times; time++)
            (await request()).EnsureSuccessStatusCode().Dispose();
    }
}
