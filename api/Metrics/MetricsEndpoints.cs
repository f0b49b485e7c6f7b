using Api.Data;
using Api.Devices;
using Api.Faults;
using Api.Http;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Metrics;

public static class MetricsEndpoints
{
    public static void MapMetrics(this IEndpointRouteBuilder routes) =>
        routes.MapGet("/metrics", GetAsync).Requires(Role.Viewer).WithTags("Metrics")
            .WithSummary("For Prometheus (text format 0.0.4, with an API key as bearer token): the faults of the project's sandboxes, as their nodes last told this replica, and, for those who run the service, what the API manages.")
            .Produces<string>(contentType: MetricText.ContentType);

    private static async Task<IResult> GetAsync(HttpContext http, SandboxDb db, FaultLatest latest, FaultIntake intake, FaultStore store, CancellationToken ct)
    {
        var project = http.User.ProjectId();
        var own = await db.Sandboxes.Where(s => s.ProjectId == project).Select(s => new { s.Id, s.Phase, s.FaultStorm, s.Conditions }).ToListAsync(ct);
        var text = new MetricText();
        text.Begin(ServiceMetrics.Sandboxes);
        foreach (var phase in Enum.GetValues<Phase>()) text.Add(own.Count(s => s.Phase == phase), ("phase", phase.ToString()));
        if (http.User.Operates()) await WriteServiceAsync(text, db, intake, store, ct);
        var told = own.Select(s => (Sandbox: s, Sample: latest.Of(s.Id))).Where(s => s.Sample is not null).ToList();
        StormMetrics.Write(text, told.Select(s => (s.Sample!, s.Sandbox.FaultStorm, s.Sandbox.Conditions.Find(c => c.Type == ConditionType.FaultStorm))));
        FaultMetrics.Write(text, [.. told.Select(s => s.Sample!)]);
        return Results.Text(text.ToString(), MetricText.ContentType);
    }

    /// <summary>What belongs to those who run the service.</summary>
    private static async Task WriteServiceAsync(MetricText text, SandboxDb db, FaultIntake intake, FaultStore store, CancellationToken ct)
    {
        var nodes = await db.Nodes.GroupBy(n => n.Phase).Select(g => new { Phase = g.Key, Count = g.Count() }).ToListAsync(ct);
        var devices = await db.Devices.Where(DeviceViews.Shown).Select(d => new { d.Class, d.Phase, d.Verdict, d.Origin }).ToListAsync(ct);
        text.Begin(ServiceMetrics.Nodes);
        foreach (var phase in Enum.GetValues<NodePhase>()) text.Add(nodes.FirstOrDefault(n => n.Phase == phase)?.Count ?? 0, ("phase", phase.ToString()));
        text.Begin(ServiceMetrics.Devices);
        foreach (var group in devices.GroupBy(d => (d.Class, d.Phase, d.Verdict?.Class ?? VerdictClass.Unknown, d.Origin)).OrderBy(g => g.Key.Item1, StringComparer.Ordinal))
            text.Add(group.Count(), ("class", group.Key.Item1), ("phase", group.Key.Phase.ToString()), ("verdict", group.Key.Item3.ToString()), ("origin", group.Key.Origin.ToString().ToLowerInvariant()));
        foreach (var (metric, value) in ((Metric, long)[])[(ServiceMetrics.SamplesAccepted, intake.Accepted), (ServiceMetrics.SamplesRefused, intake.Refused), (ServiceMetrics.SamplesDropped, store.Dropped), (ServiceMetrics.SamplesTurnedBack, intake.TurnedBack)])
        {
            text.Begin(metric);
            text.Add(value);
        }
    }
}
