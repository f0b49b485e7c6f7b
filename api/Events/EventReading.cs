using Api.Data;
using Microsoft.EntityFrameworkCore;

namespace Api.Events;

/// <summary>A project's events after a number, in order.
/// Guarantees: a reader that goes on after the last number it got misses nothing: what is no longer kept is told (<see cref="Reading.Expired"/>), never skipped.</summary>
public static class EventReading
{
    public abstract record Reading
    {
        public sealed record Rows(List<Event> Events) : Reading;
        /// <summary><c>Oldest</c>: the number that is kept or comes next. <c>Last</c>: the last that was given.</summary>
        public sealed record Expired(long Oldest, long Last) : Reading;
    }

    /// <summary><c>after</c> null: from the oldest that is kept; <c>like</c>: see <see cref="EventFilter.Like"/>, null for every type.</summary>
    public static async Task<Reading> ReadAsync(SandboxDb db, Guid project, long? after, string[]? like, Guid? subject, int most, CancellationToken ct)
    {
        var query = db.Events.AsNoTracking().Where(e => e.ProjectId == project && e.Number > (after ?? 0));
        if (subject is not null) query = query.Where(e => e.SubjectId == subject);
        if (like is not null) query = query.Where(e => like.Any(l => EF.Functions.Like(e.Type, l)));
        var rows = await query.OrderBy(e => e.Number).Take(most).ToListAsync(ct);
        // Asked afterwards: what was removed meanwhile is missed by nobody.
        return after is { } from && await LostAsync(db, project, from, ct) is { } lost ? lost : new Reading.Rows(rows);
    }

    /// <summary>Null when everything after the number is kept. A number that was never given is of another numbering, so nothing can be said about what came after it.</summary>
    private static async Task<Reading.Expired?> LostAsync(SandboxDb db, Guid project, long after, CancellationToken ct)
    {
        var (oldest, last) = await EndsAsync(db, project, ct);
        return after + 1 < oldest || after > last ? new(oldest, last) : null;
    }

    /// <summary>The oldest number that is kept (or comes next, when none is) and the last that was given.</summary>
    public static async Task<(long Oldest, long Last)> EndsAsync(SandboxDb db, Guid project, CancellationToken ct)
    {
        var last = await LastNumberAsync(db, project, ct);
        var oldest = await db.Events.Where(e => e.ProjectId == project).MinAsync(e => (long?)e.Number, ct);
        return (oldest ?? last + 1, last);
    }

    public static async Task<long> LastNumberAsync(SandboxDb db, Guid project, CancellationToken ct) =>
        await db.EventCounters.Where(c => c.ProjectId == project).Select(c => (long?)c.LastNumber).SingleOrDefaultAsync(ct) ?? 0;
}
