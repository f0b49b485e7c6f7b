using System.Globalization;
using System.Text;

namespace Contracts;

/// <summary>Kinds of Prometheus' text format.</summary>
public enum MetricKind { Counter, Gauge, Histogram }

/// <summary>One metric as Prometheus knows it. <c>Name</c> by its conventions: base units, <c>_total</c> at the end of a counter.</summary>
public sealed record Metric(string Name, MetricKind Kind, string Help);

/// <summary>Writes Prometheus' text format 0.0.4. All samples of a metric follow its <see cref="Begin"/>.</summary>
public sealed class MetricText
{
    public const string ContentType = "text/plain; version=0.0.4; charset=utf-8";
    private readonly StringBuilder _text = new();
    private Metric? _metric;

    public void Begin(Metric metric)
    {
        _metric = metric;
        _text.Append("# HELP ").Append(metric.Name).Append(' ').Append(metric.Help.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal)).Append('\n');
        _text.Append("# TYPE ").Append(metric.Name).Append(' ').Append(metric.Kind switch { MetricKind.Counter => "counter", MetricKind.Gauge => "gauge", _ => "histogram" }).Append('\n');
    }

    public void Add(long value, params ReadOnlySpan<(string Name, string Value)> labels) => Line("", labels, null, value.ToString(CultureInfo.InvariantCulture));

    /// <summary>In seconds, as Prometheus wants times. Any count has a decimal fraction, where a TimeSpan ends at 292 thousand years.</summary>
    public void AddMicroseconds(long microseconds, params ReadOnlySpan<(string Name, string Value)> labels) => Line("", labels, null, (microseconds / 1_000_000m).ToString(CultureInfo.InvariantCulture));

    public void Add(LatencyHistogram histogram, params ReadOnlySpan<(string Name, string Value)> labels)
    {
        var upTo = 0L;
        for (var bucket = 0; bucket < LatencyHistogram.Buckets; bucket++)
        {
            upTo += histogram.Counts[bucket];
            Line("_bucket", labels, LatencyHistogram.UpperBoundSeconds(bucket) is { } bound ? Of(bound) : "+Inf", upTo.ToString(CultureInfo.InvariantCulture));
        }
        Line("_sum", labels, null, Of(histogram.SumNanoseconds / 1e9));
        Line("_count", labels, null, upTo.ToString(CultureInfo.InvariantCulture));
    }

    public override string ToString() => _text.ToString();

    /// <summary>As Prometheus' own libraries write it: 1e-06.</summary>
    private static string Of(double value) => value.ToString(CultureInfo.InvariantCulture).Replace('E', 'e');

    private void Line(string suffix, ReadOnlySpan<(string Name, string Value)> labels, string? upTo, string value)
    {
        _text.Append((_metric ?? throw new InvalidOperationException("no metric has begun")).Name).Append(suffix);
        var separator = '{';
        foreach (var (name, text) in labels)
        {
            _text.Append(separator).Append(name).Append("=\"");
            foreach (var c in text)
                _ = c switch { '\\' => _text.Append("\\\\"), '"' => _text.Append("\\\""), '\n' => _text.Append("\\n"), _ => _text.Append(c) };
            _text.Append('"');
            separator = ',';
        }
        if (upTo is not null)
        {
            _text.Append(separator).Append("le=\"").Append(upTo).Append('"');
            separator = ',';
        }
        _text.Append(separator == '{' ? " " : "} ").Append(value).Append('\n');
    }
}
