using System.Diagnostics;
using System.Net.Http.Json;
using System.Text.Json;
using Contracts;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Npgsql;
using Testing;

namespace Benchmarks;

/// <summary>Deliveries a second to receivers in this process, from the moment at which the events are stored to the last arrival, beside a bare loop of HttpClient that posts the same bytes to the same
/// receivers with as many connections; and the same while one more receiver never answers. Then how long a delivery takes from its event to its arrival when fewer are stored than could be delivered.</summary>
internal static class WebhookRates
{
    private const int Endpoints = 8, EventsOfARound = 2000, Subjects = 500, Rounds = 3, ConnectionsOfAnEndpoint = 8;
    private const int PacedPerSecond = 50, PacedSeconds = 6;
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    public static async Task RunAsync(Report report)
    {
        await using var service = new RunningService
        {
            HasWorker = false,
            Database = new PostgresServer { Durable = true },
            ApiSettings = new Dictionary<string, string?> { ["Webhooks__AllowHttp"] = "true", ["Webhooks__AllowedNetworks"] = "127.0.0.0/8" },
        };
        await service.InitializeAsync();
        await using var database = NpgsqlDataSource.Create(service.Database.ConnectionString);
        await using var receivers = new Receivers();
        await receivers.StartAsync();
        for (var n = 0; n < Endpoints; n++) await CreateAsync(service, $"{receivers.Address}/works/{n}", enabled: true);
        var hanging = await CreateAsync(service, $"{receivers.Address}/hangs", enabled: false);

        await DeliverAsync(database, receivers);
        await BareAsync(receivers);
        var (bare, delivered, besideOneThatHangs) = (new List<double>(), new List<double>(), new List<double>());
        var (latency, latencyBeside) = (new List<(double Median, double P99)>(), new List<(double Median, double P99)>());
        for (var round = 0; round < Rounds; round++)
        {
            bare.Add(await BareAsync(receivers));
            delivered.Add(await DeliverAsync(database, receivers));
            latency.Add(await PacedAsync(database, receivers));
            await EnableAsync(service, hanging, true);
            besideOneThatHangs.Add(await DeliverAsync(database, receivers));
            latencyBeside.Add(await PacedAsync(database, receivers));
            await EnableAsync(service, hanging, false);
            report.Say($"round {round + 1}: {delivered[^1]:0}/s, {besideOneThatHangs[^1]:0}/s while one hangs, bare {bare[^1]:0}/s; latency {latency[^1].Median:0} ms, {latencyBeside[^1].Median:0} ms while one hangs");
        }
        report.Note($"{Endpoints} endpoints, {EventsOfARound} events of {Subjects} subjects a round, {Rounds} rounds in turns, medians; API, receivers and a database that waits for its disk share this machine's {Environment.ProcessorCount} processors.");
        report.Add("deliveries", Report.Median(delivered), "/s", "bare HttpClient loop", Report.Median(bare), "1000 /s at least");
        report.Add("while one receiver hangs", Report.Median(besideOneThatHangs), "/s", "none hangs", Report.Median(delivered), "as many");
        report.Add($"from event to arrival at {PacedPerSecond * Endpoints}/s, median, while one hangs", Report.Median(latencyBeside.ConvertAll(l => l.Median)), "ms", "none hangs", Report.Median(latency.ConvertAll(l => l.Median)), "as short");
        report.Add($"from event to arrival at {PacedPerSecond * Endpoints}/s, 99 %, while one hangs", Report.Median(latencyBeside.ConvertAll(l => l.P99)), "ms", "none hangs", Report.Median(latency.ConvertAll(l => l.P99)), "as short");
    }

    private static readonly string[] Types = ["device.phaseChanged"];

    private static async Task<Guid> CreateAsync(RunningService service, string url, bool enabled)
    {
        using var response = await service.Client.PostAsJsonAsync("/v1/webhooks", new { url, enabled, types = Types });
        return (await response.EnsureSuccessStatusCode().Content.ReadFromJsonAsync<WebhookCreated>())!.Webhook.Id;
    }

    private static async Task EnableAsync(RunningService service, Guid id, bool enabled) =>
        (await service.Client.PatchAsJsonAsync($"/v1/webhooks/{id}", new { enabled })).EnsureSuccessStatusCode().Dispose();

    private static async Task<double> DeliverAsync(NpgsqlDataSource database, Receivers receivers)
    {
        var before = receivers.Works;
        await using (var insert = database.CreateCommand("""
            INSERT INTO events (project_id, at, type, subject_id, subject_name, reason, message)
            SELECT p.id, now(), 'device.phaseChanged', ('00000000-0000-0000-0000-' || lpad((n % $2)::text, 12, '0'))::uuid, '0000:01:00.0', 'Available', 'Something of the usual length happened to the device 0000:01:00.0 on a node.'
            FROM projects p, generate_series(1, $1) n WHERE p.operates
            """))
        {
            insert.Parameters.AddWithValue(EventsOfARound);
            insert.Parameters.AddWithValue(Subjects);
            await insert.ExecuteNonQueryAsync();
        }
        var watch = Stopwatch.StartNew();
        await Eventually.Async(() => receivers.Works - before >= EventsOfARound * Endpoints, "everything is delivered", Patience);
        return EventsOfARound * Endpoints / watch.Elapsed.TotalSeconds;
    }

    /// <summary>One event at a time, evenly: milliseconds from its time, which is the moment before it is stored, to each arrival.</summary>
    private static async Task<(double Median, double P99)> PacedAsync(NpgsqlDataSource database, Receivers receivers)
    {
        receivers.Begin();
        using var timer = new PeriodicTimer(TimeSpan.FromSeconds(1.0 / PacedPerSecond));
        for (var n = 0; n < PacedPerSecond * PacedSeconds; n++)
        {
            await timer.WaitForNextTickAsync();
            await using var insert = database.CreateCommand("""
                INSERT INTO events (project_id, at, type, subject_id, subject_name, reason, message)
                SELECT p.id, clock_timestamp(), 'device.phaseChanged', ('00000000-0000-0000-0000-' || lpad(($1 % $2)::text, 12, '0'))::uuid, '0000:01:00.0', 'Available', 'Something of the usual length happened.' FROM projects p WHERE p.operates
                """);
            insert.Parameters.AddWithValue(n);
            insert.Parameters.AddWithValue(Subjects);
            await insert.ExecuteNonQueryAsync();
        }
        await Eventually.Async(() => receivers.Latencies.Count >= PacedPerSecond * PacedSeconds * Endpoints, "everything is delivered", Patience);
        var told = receivers.Latencies.Order().ToList();
        return (told[told.Count / 2], told[told.Count * 99 / 100]);
    }

    private static async Task<double> BareAsync(Receivers receivers)
    {
        using var http = new HttpClient(new SocketsHttpHandler { UseProxy = false });
        var body = receivers.LastBody;
        var left = EventsOfARound * Endpoints;
        var watch = Stopwatch.StartNew();
        await Task.WhenAll(Enumerable.Range(0, Endpoints * ConnectionsOfAnEndpoint).Select(async n =>
        {
            while (Interlocked.Decrement(ref left) >= 0)
            {
                using var request = new HttpRequestMessage(HttpMethod.Post, $"{receivers.Address}/bare/{n % Endpoints}") { Content = new ByteArrayContent(body) };
                request.Headers.Add("webhook-id", "msg_0");
                request.Headers.Add("webhook-timestamp", "0");
                request.Headers.Add("webhook-signature", "v1,0");
                (await http.SendAsync(request)).EnsureSuccessStatusCode().Dispose();
            }
        }));
        return EventsOfARound * Endpoints / watch.Elapsed.TotalSeconds;
    }

    private sealed class Receivers : IAsyncDisposable
    {
        private readonly WebApplication _app;
        private int _works;
        private byte[] _last = [];
        private System.Collections.Concurrent.ConcurrentBag<double> _latencies = new();
        private DateTimeOffset _begun = DateTimeOffset.MaxValue;

        public Receivers()
        {
            var builder = WebApplication.CreateSlimBuilder();
            builder.Logging.SetMinimumLevel(LogLevel.Error);
            Address = $"http://127.0.0.1:{FreePort.Next()}";
            builder.WebHost.UseUrls(Address);
            _app = builder.Build();
            _app.MapPost("/works/{n}", async http =>
            {
                using var body = new MemoryStream();
                await http.Request.Body.CopyToAsync(body, http.RequestAborted);
                _last = body.ToArray();
                using var told = JsonDocument.Parse(body.ToArray());
                if (told.RootElement.GetProperty("timestamp").GetDateTimeOffset() is var at && at >= _begun)
                    _latencies.Add((TimeProvider.System.GetUtcNow() - at).TotalMilliseconds);
                Interlocked.Increment(ref _works);
            });
            _app.MapPost("/bare/{n}", http => http.Request.Body.CopyToAsync(Stream.Null, http.RequestAborted));
            _app.MapPost("/hangs", http => Task.Delay(Timeout.Infinite, http.RequestAborted));
        }

        public string Address { get; }
        /// <summary>Milliseconds, of events since <see cref="Begin"/>.</summary>
        public System.Collections.Concurrent.ConcurrentBag<double> Latencies => _latencies;

        public void Begin() => (_latencies, _begun) = (new(), TimeProvider.System.GetUtcNow());

        public int Works => Volatile.Read(ref _works);
        public byte[] LastBody => _last;

        public Task StartAsync() => _app.StartAsync();

        public async ValueTask DisposeAsync()
        {
            using var now = new CancellationTokenSource();
            await now.CancelAsync();
            await _app.StopAsync(now.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await _app.DisposeAsync();
        }
    }
}
