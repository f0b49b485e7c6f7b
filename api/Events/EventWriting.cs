using System.Text.Json;
using Api.Data;
using Microsoft.EntityFrameworkCore;
using Microsoft.EntityFrameworkCore.ChangeTracking;

namespace Api.Events;

/// <summary>How events are stored: after everything else of their transaction, in one statement.
/// Guarantees: a project's events are numbered 1, 2, 3 … in the order in which they become visible, and those of one transaction in the order in which they were added. The database's trigger takes
/// each number from its project's own counter row, which stays locked until the commit: projects do not wait for each other's transactions.
/// Assumes: nobody locks other rows after counters, and counters are locked in the order of their projects; so they are never part of a deadlock.
/// On a crash midway neither the change nor its events are stored.</summary>
public static class EventWriting
{
    /// <summary>Takes the added events out of what is to be saved otherwise.</summary>
    public static List<Event> Take(ChangeTracker tracker)
    {
        var added = tracker.Entries<Event>().Where(e => e.State == EntityState.Added).ToList();
        foreach (var entry in added) entry.State = EntityState.Detached;
        return added.ConvertAll(e => e.Entity);
    }

    public static Task<int> InsertAsync(SandboxDb db, List<Event> events, CancellationToken ct)
    {
        var project = events.ConvertAll(e => e.ProjectId).ToArray();
        var at = events.ConvertAll(e => e.At.ToUniversalTime()).ToArray();
        var type = events.ConvertAll(e => e.Type).ToArray();
        var subject = events.ConvertAll(e => e.SubjectId).ToArray();
        var name = events.ConvertAll(e => e.SubjectName).ToArray();
        var reason = events.ConvertAll(e => e.Reason).ToArray();
        var message = events.ConvertAll(e => e.Message).ToArray();
        var phase = events.ConvertAll(e => e.Phase?.ToString()).ToArray();
        var labels = events.ConvertAll(e => Json(e.Labels)).ToArray();
        var sandbox = events.ConvertAll(e => Json(e.Sandbox)).ToArray();
        return db.Database.ExecuteSqlAsync($"""
            INSERT INTO events (project_id, at, type, subject_id, subject_name, reason, message, phase, labels, sandbox)
            SELECT COALESCE(NULLIF(e.project_id, '00000000-0000-0000-0000-000000000000'), o.id), e.at, e.type, e.subject_id, e.subject_name, e.reason, e.message, e.phase, e.labels::jsonb, e.sandbox::jsonb
            FROM unnest({project}, {at}, {type}, {subject}, {name}, {reason}, {message}, {phase}, {labels}, {sandbox})
              WITH ORDINALITY AS e (project_id, at, type, subject_id, subject_name, reason, message, phase, labels, sandbox, place)
            LEFT JOIN projects o ON o.operates
            ORDER BY 1, e.place
            """, ct);
    }

    private static string? Json<T>(T? value) where T : class => value is null ? null : JsonSerializer.Serialize(value, JsonSerializerOptions.Web);
}
