using System.Net;
using System.Net.Http.Json;
using Api.Faults;
using Contracts;
using Microsoft.AspNetCore.SignalR.Client;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Npgsql;
using NpgsqlTypes;
using Testing;
using Xunit;

namespace Api.Tests.Faults;

/// <summary>Samples and minutes in the real database, asked for at the front door.</summary>
public sealed class FaultHistoryTests(ServiceFixture service) : IClassFixture<ServiceFixture>, IAsyncLifetime
{
    private static readonly FaultRetention _retention = new(2, 30);
    private readonly DateTimeOffset _begin = FaultRollups.Minute(TimeProvider.System.GetUtcNow()).AddMinutes(-20);
    private readonly NpgsqlDataSource _source = NpgsqlDataSource.Create(service.ConnectionString);
    private StandInNode? _node;

    public async ValueTask InitializeAsync()
    {
        _node = await service.NodeAsync();
        await Eventually.Async(async () => await service.ScalarAsync("SELECT count(*) FROM pg_inherits WHERE inhparent = 'fault_minutes'::regclass") >= 5, "the partitions are there");
    }

    public async ValueTask DisposeAsync()
    {
        await _node!.DisposeAsync();
        await _source.DisposeAsync();
    }

    private async Task<Guid> RunningAsync(HttpClient client, string name)
    {
        var id = (await client.CreateAsync(name)).Id;
        await Eventually.Async(async () => (await _node!.SyncAsync()).Sandboxes.Any(s => s.Id == id), "it is planned");
        await _node!.SayAsync(id, VmState.Running);
        return id;
    }

    /// <summary>A sample a second, each with one more fault of 3 µs, as if they had been stored in time.</summary>
    private Task StoreAsync(Guid id, int seconds, int incarnation = 1, DateTimeOffset? begin = null, int first = 0) => StoreAsync(id, incarnation, begin, Enumerable.Range(0, seconds).Select(second => (SourceReading[])[
        new("guest.minorFaults", first + second, null, second > 90, Origin.Emulated, new LatencyHistogram([0, 0, first + second, .. new long[19]], (first + second) * 3000L)),
        new("smmu.tlbHits", null, "TraceCostTooHigh", false, Origin.Emulated)]));

    private Task StoreAsync(Guid id, params SourceReading[][] samples) => StoreAsync(id, 1, null, samples);

    private async Task StoreAsync(Guid id, int incarnation, DateTimeOffset? begin, IEnumerable<SourceReading[]> samples)
    {
        await using var connection = await _source.OpenConnectionAsync();
        await using var import = await connection.BeginBinaryImportAsync("COPY fault_samples (sandbox_id, at, incarnation, readings) FROM STDIN (FORMAT BINARY)");
        var at = begin ?? _begin;
        foreach (var readings in samples)
        {
            await import.StartRowAsync();
            await import.WriteAsync(id, NpgsqlDbType.Uuid);
            await import.WriteAsync(at.UtcDateTime, NpgsqlDbType.TimestampTz);
            await import.WriteAsync(incarnation, NpgsqlDbType.Integer);
            await import.WriteAsync(FaultSamplesEncoding.EncodeReadings(readings), NpgsqlDbType.Bytea);
            at = at.AddSeconds(1);
        }
        await import.CompleteAsync();
    }

    private async Task<FaultHistoryView> GetAsync(HttpClient client, Guid id, string query = "step=60") =>
        (await client.GetFromJsonAsync<FaultHistoryView>($"/v1/sandboxes/{id}/faults?from={Uri.EscapeDataString(_begin.AddMinutes(-1).ToString("O"))}&{query}"))!;

    private async Task RollAsync(TimeSpan? after = null)
    {
        await service.ScalarAsync($"WITH r AS (UPDATE fault_rollup SET rolled_until = '{_begin:O}' RETURNING 1) SELECT count(*) FROM r");
        using var rollups = new FaultRollups(_source, new FakeTimeProvider(TimeProvider.System.GetUtcNow() + (after ?? TimeSpan.Zero)), _retention, NullLogger<FaultRollups>.Instance);
        await rollups.StartAsync(CancellationToken.None);
        await Eventually.Async(() => rollups.LastPassAt is not null, "a pass ended");
        await rollups.StopAsync(CancellationToken.None);
    }

    [Fact]
    public async Task Get_ByMinutes_IsTheLastSampleOfEachWithWhatItAdded()
    {
        using var client = service.Client();
        var id = await RunningAsync(client, "minutes");
        // What is older than what was rolled up is there by minutes only, whatever another test has put back.
        await RollAsync();
        await StoreAsync(id, 150);
        Assert.Empty((await GetAsync(client, id)).Items);
        await RollAsync();
        var history = await GetAsync(client, id);
        Assert.Equal(60, history.StepSeconds);
        Assert.Equal([59, 119, 149], history.Items.Select(i => i.Readings[0].Value!.Value));
        Assert.Equal([59, 60, 30], history.Items.Select(i => i.Readings[0].Increase));
        Assert.Equal([null, 1.0, 1.0], history.Items.Select(i => i.Readings[0].PerSecond));
        Assert.Equal([false, true, true], history.Items.Select(i => i.Readings[0].LowerBound));
        Assert.Equal(new LatencyQuantile(2e-6, 4e-6), history.Items[1].Readings[0].LatencyIncrease!.P99);
        Assert.Equal((null, "TraceCostTooHigh", null), (history.Items[1].Readings[1].Value, history.Items[1].Readings[1].NullReason, history.Items[1].Readings[1].Increase));
        Assert.Equal([149L], (await GetAsync(client, id, "step=3600&source=guest.minorFaults")).Items.Where(i => i.At.Hour == _begin.AddSeconds(149).Hour).Select(i => i.Readings.Single().Value!.Value));
    }

    /// <summary>Ten minutes, then the clock goes back by four and a half: the count grows by one a second all the time.</summary>
    [Theory]
    [InlineData("step=60")]
    [InlineData("step=120")]
    public async Task Get_ByMinutes_WhereAClockWasSetBack_TellsNoGrowthThatWasNot(string query)
    {
        using var client = service.Client();
        var id = await RunningAsync(client, $"mixed-{query[^3..].Trim('=')}");
        await RollAsync();
        await StoreAsync(id, 600);
        await StoreAsync(id, 600, begin: _begin.AddSeconds(600 - 270.5), first: 600);
        await RollAsync();
        var steps = (await GetAsync(client, id, query)).Items.Select(i => (i.Readings[0].Increase, i.Readings[0].PerSecond)).ToList();
        Assert.All(steps, step => Assert.True(step.PerSecond is null or (> 0.9 and < 1.1), $"{step.Increase}: {step.PerSecond}"));
        Assert.InRange(steps.Count(step => step.Increase is null), 4, steps.Count - 1);
    }

    [Fact]
    public async Task Get_ByMinutes_OfWhatIsNotRolledUpYet_ReadsTheSamples()
    {
        using var client = service.Client();
        var id = await RunningAsync(client, "fresh");
        await StoreAsync(id, 150);
        await RollAsync();
        // As if only the first minute had been rolled up, and the rest not yet.
        await service.ScalarAsync($"WITH r AS (UPDATE fault_rollup SET rolled_until = '{_begin.AddMinutes(1):O}' RETURNING 1) SELECT count(*) FROM r");
        await service.ScalarAsync($"WITH r AS (DELETE FROM fault_minutes WHERE sandbox_id = '{id}' AND minute >= '{_begin.AddMinutes(1):O}' RETURNING 1) SELECT count(*) FROM r");
        Assert.Equal([(59, 59L), (119, 60L), (149, 30L)], (await GetAsync(client, id)).Items.Select(i => ((int)i.Readings[0].Value!, i.Readings[0].Increase)));
    }

    [Theory]
    [InlineData("after=9999-12-31T23:59:59.9999999Z", "after")]
    [InlineData("to=9999-12-31T23:59:59.9999999Z", "to")]
    [InlineData("from=0001-01-01T00:00:00Z", "from")]
    [InlineData("source=nope", "source")]
    [InlineData("source=smmu.events.F_BOGUS", "source")]
    [InlineData("source=virtioIommu.events.F_TRANSLATION", "source")]
    public async Task Get_OfATimeOrSourceThatIsNone_Returns422(string query, string field)
    {
        using var client = service.Client();
        var id = (await client.CreateAsync($"times-{field}-{query.Length}")).Id;
        using var response = await client.GetAsync($"/v1/sandboxes/{id}/faults?{query}");
        Assert.Equal(HttpStatusCode.UnprocessableEntity, response.StatusCode);
        Assert.Contains($"\"{field}\"", await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Get_BySamples_CanTakeOneOfEachStep()
    {
        using var client = service.Client();
        var id = await RunningAsync(client, "steps");
        await StoreAsync(id, 60);
        var history = await GetAsync(client, id, "step=30");
        Assert.Equal([(29, 29L), (59, 30L)], history.Items.Select(i => ((int)i.Readings[0].Value!, i.Readings[0].Increase)));
        Assert.Equal(60, (await GetAsync(client, id, "step=1")).Items.Count);
        var second = await GetAsync(client, id, $"step=1&limit=1&after={Uri.EscapeDataString((await GetAsync(client, id, "step=1&limit=10")).Next!)}");
        Assert.Equal((10, 1L), ((int)second.Items.Single().Readings[0].Value!, second.Items.Single().Readings[0].Increase));
    }

    /// <summary>150 s from a whole minute on; a count a second.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(30)]
    [InlineData(60)]
    [InlineData(120)]
    [InlineData(3600)]
    [InlineData(86_400)]
    public async Task Get_WhateverTheStep_GrowthSinceTheStartAddsUp_ToWhatWasCountedBeforeTo(int step)
    {
        using var client = service.Client();
        var id = await RunningAsync(client, $"adds-{step}");
        await StoreAsync(id, 150);
        // Whole minutes, as the rollups have them.
        await RollAsync();
        foreach (var (to, last) in ((int, long)[])[(600, 149), (120, 119)])
        {
            var items = (await GetAsync(client, id, $"step={step}&source=guest.minorFaults&to={Uri.EscapeDataString(_begin.AddSeconds(to).ToString("O"))}")).Items;
            Assert.Equal((last, last), (items[^1].Readings.Single().Value!.Value, items.Sum(i => i.Readings.Single().Increase ?? 0)));
            Assert.Null(items[0].Readings.Single().PerSecond);
        }
    }

    [Fact]
    public async Task Get_OfATypeOfEvents_IsToldBeforeItsFirst_AndItsFirstIsGrowth()
    {
        using var client = service.Client();
        var id = await RunningAsync(client, "types");
        await StoreAsync(id,
            [new("smmu.events", null, "TraceOff", false, Origin.Emulated)],
            [new("smmu.events", 0, null, false, Origin.Emulated)],
            [new("smmu.events", 2, null, false, Origin.Emulated), new("smmu.events.F_TRANSLATION", 2, null, false, Origin.Emulated)]);
        var asked = (await GetAsync(client, id, "step=1&source=smmu.events.F_TRANSLATION")).Items.Select(i => i.Readings.Single()).ToList();
        Assert.Equal([(null, "TraceOff", null), (0L, null, null), (2L, null, 2L)], asked.Select(r => (r.Value, r.NullReason, r.Increase)));
        Assert.All(asked, r => Assert.Equal("smmu.events.F_TRANSLATION", r.Source));
        Assert.Equal([2L, 2L], (await GetAsync(client, id, "step=1")).Items[2].Readings.Select(r => r.Increase));
        Assert.Equal([("smmu.events", 2L), ("smmu.events.F_ACCESS", 0L)], (await GetAsync(client, id, "step=1&source=smmu.events&source=smmu.events.F_ACCESS")).Items[2].Readings.Select(r => (r.Source, r.Increase ?? -1)));
    }

    /// <summary>A guest that is older than what is kept: its first kept sample is not its first.</summary>
    [Fact]
    public async Task Get_OfAGuestOlderThanItsHistory_TellsNoGrowthOfTheFirst()
    {
        using var client = service.Client();
        var id = await RunningAsync(client, "older");
        await StoreAsync(id, 30);
        Assert.Equal(29, (await GetAsync(client, id, "step=30")).Items[0].Readings[0].Increase);
        await service.ScalarAsync($"WITH r AS (UPDATE sandboxes SET created_at = created_at - interval '60 days' WHERE id = '{id}' RETURNING 1) SELECT count(*) FROM r");
        Assert.Null((await GetAsync(client, id, "step=30")).Items[0].Readings[0].Increase);
        // Of a minute long before, of the same start of the guest, as of another.
        await service.ScalarAsync($"WITH r AS (INSERT INTO fault_minutes (sandbox_id, minute, incarnation, at, readings, samples) SELECT sandbox_id, date_trunc('minute', at - interval '3 hours'), 0, at - interval '3 hours', readings, 1 FROM fault_samples WHERE sandbox_id = '{id}' ORDER BY at LIMIT 1 RETURNING 1) SELECT count(*) FROM r");
        Assert.Equal(29, (await GetAsync(client, id, "step=30")).Items[0].Readings[0].Increase);
        await service.ScalarAsync($"WITH r AS (UPDATE fault_minutes SET incarnation = 1 WHERE sandbox_id = '{id}' RETURNING 1) SELECT count(*) FROM r");
        Assert.Null((await GetAsync(client, id, "step=30")).Items[0].Readings[0].Increase);
    }

    [Fact]
    public async Task Get_WhenTheGuestBeganAnew_EachIncarnationHasItsOwnPoint()
    {
        using var client = service.Client();
        var id = await RunningAsync(client, "anew");
        await StoreAsync(id, 20);
        await StoreAsync(id, 20, incarnation: 2, begin: _begin.AddSeconds(30));
        await RollAsync();
        Assert.Equal([(1, 19L, 19L), (2, 19L, 19L)], (await GetAsync(client, id)).Items.Select(i => (i.Incarnation, i.Readings[0].Value!.Value, i.Readings[0].Increase)));
    }

    [Fact]
    public async Task Rollups_RunTwiceAtOnceAndStoppedMidway_StoreTheSame()
    {
        using var client = service.Client();
        var id = await RunningAsync(client, "twice");
        await StoreAsync(id, 300);
        await service.ScalarAsync($"WITH r AS (UPDATE fault_rollup SET rolled_until = '{_begin:O}' RETURNING 1) SELECT count(*) FROM r");
        var time = new FakeTimeProvider(TimeProvider.System.GetUtcNow());
        for (var round = 0; round < 5; round++)
        {
            using var killed = new FaultRollups(_source, time, _retention, NullLogger<FaultRollups>.Instance);
            using var other = new FaultRollups(_source, time, _retention, NullLogger<FaultRollups>.Instance);
            await killed.StartAsync(CancellationToken.None);
            await other.StartAsync(CancellationToken.None);
            await killed.StopAsync(new CancellationToken(canceled: true));
            await Eventually.Async(() => other.LastPassAt is not null, "a pass ended");
            await other.StopAsync(CancellationToken.None);
        }
        await RollAsync();
        await RollAsync();
        Assert.Equal([59, 119, 179, 239, 299], (await GetAsync(client, id)).Items.Select(i => i.Readings[0].Value!.Value));
        Assert.Equal(5, await service.ScalarAsync($"SELECT count(*) FROM fault_minutes WHERE sandbox_id = '{id}'"));
    }

    [Fact]
    public async Task Faults_WhenTheyArriveAfterTheirMinuteWasRolledUp_AreInItAllTheSame()
    {
        using var client = service.Client();
        var id = await RunningAsync(client, "late");
        FaultSample At(int second, long value) => new(id, 1, _begin.AddSeconds(second), [new("guest.minorFaults", value, null, false, Origin.Emulated)]);
        await _node!.TellAsync(At(10, 1), At(50, 5), At(70, 7));
        await Eventually.Async(async () => (await GetAsync(client, id)).Items.Count == 2, "both minutes are there");
        await _node.TellAsync(At(40, 4), At(80, 8));
        await Eventually.Async(async () => (await GetAsync(client, id)).Items[^1].Readings[0].Value == 8, "the later one counts");
        Assert.Equal([5, 8], (await GetAsync(client, id)).Items.Select(i => i.Readings[0].Value!.Value));
    }

    [Fact]
    public async Task Faults_ToldAgainBecauseTheAnswerWasLost_AreStoredOnce()
    {
        using var client = service.Client();
        var id = await RunningAsync(client, "again");
        FaultSample[] batch = [new(id, 1, TimeProvider.System.GetUtcNow(), [new("guest.minorFaults", 1, null, false, Origin.Emulated)])];
        Assert.Equal((true, true), (await _node!.TellAsync(batch), await _node.TellAsync(batch)));
        Assert.True(await _node.TellAsync(batch[0] with { At = batch[0].At.AddSeconds(1) }));
        await Eventually.Async(async () => (await GetAsync(client, id, "step=1")).Items.Count >= 2, "both seconds are stored");
        Assert.Equal(2, await service.ScalarAsync($"SELECT count(*) FROM fault_samples WHERE sandbox_id = '{id}'"));
    }

    [Theory]
    [InlineData("step=0", "step")]
    [InlineData("step=86401", "step")]
    [InlineData("source=a%2Fb", "source")]
    [InlineData("source=", "source")]
    [InlineData("to=2020-01-01T00:00:00Z", "from")]
    [InlineData("limit=0", "limit")]
    [InlineData("limit=1501", "limit")]
    [InlineData("resolution=60", "resolution")]
    public async Task Get_WithAWrongParameter_Returns422(string query, string parameter)
    {
        using var client = service.Client();
        using var response = await client.GetAsync($"/v1/sandboxes/{Guid.NewGuid()}/faults?{query}");
        Assert.Equal(HttpStatusCode.UnprocessableEntity, response.StatusCode);
        Assert.Contains($"\"{parameter}\"", await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Faults_WithAnImpossibleLatency_AreRefused()
    {
        using var client = service.Client();
        var id = await RunningAsync(client, "latency");
        var now = TimeProvider.System.GetUtcNow();
        byte[] Latency(int second, params byte[] rest) => FaultBytes.Sample(id, now.AddSeconds(second), FaultBytes.Readings(FaultBytes.Reading("io.pageFaults", rest[0], rest[1..])));
        await _node!.TellAsync(FaultBytes.Batch(
            Latency(-3, [26, 1, 1, .. FaultBytes.Varint(1 << 22), 1]), Latency(-2, [26, 1, 1, 1, 0]), Latency(-1, [18, .. FaultBytes.Name("AgentSilent"), 0, 0]), Latency(0, 26, 1, 1, 1, 1)));
        await Eventually.Async(async () => (await GetAsync(client, id, "step=1")).Items.Count > 0, "one is stored");
        Assert.Equal([1, .. new long[21]], (await GetAsync(client, id, "step=1")).Items.Single().Readings.Single().Latency!.Counts);
    }
}
