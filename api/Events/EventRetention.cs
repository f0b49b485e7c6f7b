using Api.Data;
using Api.Reconciliation;
using Microsoft.EntityFrameworkCore;

namespace Api.Events;

/// <summary>How long events are kept: setting <c>Events__Days</c>, 90 by default.</summary>
public sealed record EventSettings(int Days)
{
    public static EventSettings Read(IConfiguration configuration)
    {
        var settings = new EventSettings(configuration.GetValue("Events:Days", 90));
        return settings.Days is >= 1 and <= 3660 ? settings : throw new InvalidOperationException("Events:Days takes 1 to 3660.");
    }
}

/// <summary>Removes events that are too old, and what is left of projects that are gone.
/// Guarantees: what is kept of a project is without gaps: only the oldest go, up to the first that is young enough. Several replicas and a crash do no harm: it is one statement at a time.</summary>
public sealed class EventRetention(IServiceScopeFactory scopes, EventSettings settings, TimeProvider time, ILogger<EventRetention> log) : Reconciler(time, TimeSpan.FromHours(1), log)
{
    private const int BatchRows = 10_000;
    private readonly TimeProvider clock = time;

    protected override async Task PassAsync(CancellationToken ct)
    {
        await using var scope = scopes.CreateAsyncScope();
        var db = scope.ServiceProvider.GetRequiredService<SandboxDb>();
        var young = clock.GetUtcNow().AddDays(-settings.Days);
        foreach (var counter in await db.EventCounters.Select(c => new { c.ProjectId, IsLeftOver = !db.Projects.Any(p => p.Id == c.ProjectId) }).ToListAsync(ct))
        {
            var project = counter.ProjectId;
            var oldest = counter.IsLeftOver ? DateTimeOffset.MaxValue : young;
            int removed;
            do
            {
                removed = await db.Database.ExecuteSqlAsync($"""
                    DELETE FROM events WHERE project_id = {project} AND number < (
                      SELECT LEAST(
                        COALESCE((SELECT e.number FROM events e WHERE e.project_id = {project} AND e.at >= {oldest} ORDER BY e.number LIMIT 1), 9223372036854775807),
                        (SELECT min(e.number) + {BatchRows} FROM events e WHERE e.project_id = {project})))
                    """, ct);
            }
            while (removed == BatchRows);
            if (counter.IsLeftOver) await db.EventCounters.Where(c => c.ProjectId == project).ExecuteDeleteAsync(ct);
        }
    }
}
