using System.Text;
using System.Text.Json;
using Api.Faults;
using Contracts;
using CsCheck;
using Microsoft.AspNetCore.Http;
using Xunit;

namespace Api.Tests.Faults;

public sealed class FaultHistoryAnswerTests
{
    private static readonly Gen<long?> _number = Gen.OneOf(Gen.Const((long?)null), Gen.Long[0, long.MaxValue].Select(n => (long?)n));
    private static readonly Gen<string> _text = Gen.OneOf(Gen.Int[0, FaultWords.All.Count - 1].Select(n => FaultWords.All[n]), Gen.String[0, 20]);
    private static readonly Gen<LatencyHistogram?> _latency = Gen.OneOf(Gen.Const((LatencyHistogram?)null), Gen.Long[0, 1L << 53].Array[LatencyHistogram.Buckets].Select(counts => (LatencyHistogram?)new LatencyHistogram(counts, counts[0])));
    private static readonly Gen<LatencyIncreaseView?> _increase = _latency.Select(latency =>
        latency is null ? null : new LatencyIncreaseView(latency, latency.Total, latency.Quantile(0.5), latency.Quantile(1), latency.Counts[1] % 2 == 0 ? null : new LatencyQuantile(0.1, null)));
    private static readonly Gen<FaultReadingView> _reading = Gen.Select(_text, _number, Gen.OneOf(Gen.Const((string?)null), _text.Select(t => (string?)t)), Gen.Bool, Gen.Enum<Origin>(), _latency, _number, Gen.Double[0, 1e12],
        (source, value, reason, bound, origin, latency, increase, rate) => new FaultReadingView(source, value, reason, bound, origin, latency, increase, increase is null ? null : rate, null))
        .Select(_increase, (reading, increase) => reading with { LatencyIncrease = increase });
    private static readonly Gen<FaultHistoryView> _history = Gen.Select(Gen.Select(Gen.Long[0, 4_000_000_000_000_000], Gen.Int[0, 9], _reading.Array[0, 4]).Array[0, 4], Gen.OneOf(Gen.Const((string?)null), Gen.String.Select(s => (string?)s)), Gen.Int[1, 86400],
        (samples, next, step) => new FaultHistoryView([.. samples.Select(s => new FaultSampleView(DateTimeOffset.UnixEpoch.AddTicks(s.Item1 * 10), s.Item2, s.Item3))], next, step));

    [Fact]
    public Task Answer_OfAnyHistory_IsTheSerializersText() => _history.SampleAsync(async history =>
    {
        var http = new DefaultHttpContext();
        using var body = new MemoryStream();
        http.Response.Body = body;
        await new FaultHistoryAnswer(history).ExecuteAsync(http);
        await http.Response.CompleteAsync();
        Assert.Equal(JsonSerializer.Serialize(history, JsonSerializerOptions.Web), Encoding.UTF8.GetString(body.ToArray()));
    });
}
