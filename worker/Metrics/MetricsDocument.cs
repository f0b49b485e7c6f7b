using System.Text;
using Contracts;

namespace Worker.Metrics;

// Pure: the table of fault sources as Markdown, for docs/metrics.md; a test keeps the two the same.
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
            text.Append($" | events{(source.Duration is null ? "" : "; seconds")} | {source.ObservedBy} | {source.Origins} | {source.Cost} | {string.Join(", ", source.NullReasons.Select(reason => $"`{reason}`"))} |\n");
        }
        return text.ToString();
    }
}
