using System.Text.Json;
using Contracts;

namespace Api.Faults;

/// <summary>A history as JSON, written by hand: a day by minutes is three megabytes, for which the serializer takes several times as long. The same text as the serializer's.</summary>
public sealed class FaultHistoryAnswer(FaultHistoryView history) : IResult
{
    private const int FlushBytes = 64 * 1024;
    private static readonly JsonEncodedText
        Source = JsonEncodedText.Encode("source"), Value = JsonEncodedText.Encode("value"), NullReason = JsonEncodedText.Encode("nullReason"), LowerBound = JsonEncodedText.Encode("lowerBound"),
        Origin = JsonEncodedText.Encode("origin"), Latency = JsonEncodedText.Encode("latency"), Increase = JsonEncodedText.Encode("increase"), PerSecond = JsonEncodedText.Encode("perSecond"),
        LatencyIncrease = JsonEncodedText.Encode("latencyIncrease"), Counts = JsonEncodedText.Encode("counts"), SumNanoseconds = JsonEncodedText.Encode("sumNanoseconds"), Histogram = JsonEncodedText.Encode("histogram");
    private static readonly Dictionary<Origin, JsonEncodedText> Origins = Enum.GetValues<Origin>().ToDictionary(o => o, o => JsonEncodedText.Encode(o.ToString()));
    private static readonly Dictionary<string, JsonEncodedText> Words = FaultWords.All.ToDictionary(w => w, w => JsonEncodedText.Encode(w), StringComparer.Ordinal);

    public async Task ExecuteAsync(HttpContext httpContext)
    {
        var (response, ct) = (httpContext.Response, httpContext.RequestAborted);
        response.ContentType = "application/json; charset=utf-8";
        await using var json = new Utf8JsonWriter(response.BodyWriter, new JsonWriterOptions { SkipValidation = true });
        json.WriteStartObject();
        json.WriteStartArray("items");
        foreach (var sample in history.Items)
        {
            Write(json, sample);
            if (json.BytesPending < FlushBytes) continue;
            await json.FlushAsync(ct);
            await response.BodyWriter.FlushAsync(ct);
        }
        json.WriteEndArray();
        json.WriteString("next", history.Next);
        json.WriteNumber("stepSeconds", history.StepSeconds);
        json.WriteEndObject();
        await json.FlushAsync(ct);
    }

    private static void Write(Utf8JsonWriter json, FaultSampleView sample)
    {
        json.WriteStartObject();
        json.WriteString("at", sample.At);
        json.WriteNumber("incarnation", sample.Incarnation);
        json.WriteStartArray("readings");
        foreach (var reading in sample.Readings) Write(json, reading);
        json.WriteEndArray();
        json.WriteEndObject();
    }

    private static void Write(Utf8JsonWriter json, FaultReadingView reading)
    {
        json.WriteStartObject();
        Write(json, Source, reading.Source);
        Write(json, Value, reading.Value);
        Write(json, NullReason, reading.NullReason);
        json.WriteBoolean(LowerBound, reading.LowerBound);
        json.WriteString(Origin, Origins[reading.Origin]);
        Write(json, Latency, reading.Latency);
        Write(json, Increase, reading.Increase);
        if (reading.PerSecond is { } perSecond) json.WriteNumber(PerSecond, perSecond);
        else json.WriteNull(PerSecond);
        if (reading.LatencyIncrease is { } latency)
        {
            json.WriteStartObject(LatencyIncrease);
            Write(json, Histogram, latency.Histogram);
            json.WriteNumber("count", latency.Count);
            Write(json, "p50", latency.P50);
            Write(json, "p90", latency.P90);
            Write(json, "p99", latency.P99);
            json.WriteEndObject();
        }
        else
        {
            json.WriteNull(LatencyIncrease);
        }
        json.WriteEndObject();
    }

    private static void Write(Utf8JsonWriter json, JsonEncodedText name, string? text)
    {
        if (text is null) json.WriteNull(name);
        else if (Words.TryGetValue(text, out var word)) json.WriteString(name, word);
        else json.WriteString(name, text);
    }

    private static void Write(Utf8JsonWriter json, JsonEncodedText name, long? number)
    {
        if (number is { } value) json.WriteNumber(name, value);
        else json.WriteNull(name);
    }

    private static void Write(Utf8JsonWriter json, JsonEncodedText name, LatencyHistogram? histogram)
    {
        if (histogram is null)
        {
            json.WriteNull(name);
            return;
        }
        json.WriteStartObject(name);
        json.WriteStartArray(Counts);
        for (var bucket = 0; bucket < histogram.Counts.Count; bucket++) json.WriteNumberValue(histogram.Counts[bucket]);
        json.WriteEndArray();
        json.WriteNumber(SumNanoseconds, histogram.SumNanoseconds);
        json.WriteEndObject();
    }

    private static void Write(Utf8JsonWriter json, string name, LatencyQuantile? quantile)
    {
        if (quantile is null)
        {
            json.WriteNull(name);
            return;
        }
        json.WriteStartObject(name);
        json.WriteNumber("aboveSeconds", quantile.AboveSeconds);
        if (quantile.UpToSeconds is { } upTo) json.WriteNumber("upToSeconds", upTo);
        else json.WriteNull("upToSeconds");
        json.WriteEndObject();
    }
}
