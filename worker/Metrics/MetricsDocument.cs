using System.Text;
using Contracts;
using Worker.Faults;

namespace Worker.Metrics;

// Pure: the tables of fault sources and of the reasons why one is null as Markdown, for docs/metrics.md; a test keeps the two the same.
public static class MetricsDocument
{
    public static string Markdown()
    {
        var text = new StringBuilder("| source | metric | unit | observed by | origin | cost | null when |\n| --- | --- | --- | --- | --- | --- | --- |\n");
        foreach (var source in FaultMetrics.All)
        {
            var labels = string.Join(", ", source.Labels.Select(label => $"{label.Name}=\"{label.Value}\""));
            text.Append($"| `{source.Source}` | `{source.Name}{(labels.Length == 0 ? "" : $"{{{labels}}}")}`");
            if (source.ByType is { } byType)
                text.Append($", `{byType}{{type}}`");
            if (source.Duration is { } duration)
                text.Append($", `{duration}`");
            text.Append($" | {(source.IsTime ? "microseconds; the metric has seconds" : "events")}{(source.Duration is null ? "" : "; seconds")} | {source.ObservedBy} | {source.Origins} | {source.Cost} | {string.Join(", ", source.NullReasons.Select(reason => $"`{reason}`"))} |\n");
        }
        text.Append('\n');
        foreach (var types in FaultMetrics.All.Where(source => source.Types.Count > 0).GroupBy(source => string.Join(", ", source.Types.Select(type => $"`{type}`"))))
            text.Append($"Types of {string.Join(", ", types.Select(source => $"`{source.Source}`"))}, each a source of its own (`{types.First().Source}.{types.First().Types[0]}`): {types.Key}.\n\n");
        text.Append("### A fault count is null\n\n| code | meaning |\n| --- | --- |\n");
        foreach (var (code, meaning) in NullReasons.All)
            text.Append($"| `{code}` | {meaning} |\n");
        return text.ToString();
    }
}
