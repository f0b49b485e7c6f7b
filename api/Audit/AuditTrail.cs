using System.Security.Claims;
using Api.Data;
using Api.Http;
using Api.Replicas;
using Microsoft.EntityFrameworkCore;
using Microsoft.EntityFrameworkCore.ChangeTracking;
using Microsoft.EntityFrameworkCore.Diagnostics;

namespace Api.Audit;

/// <summary>Writes the audit log: whatever a request of a user changes is told in the transaction that changes it.
/// Guarantees: no change without its entry, no entry without its change. What reconcilers and nodes change by themselves is no user's doing: events tell it.
/// Assumes: users' changes go through SaveChanges (what is written past it, such as a key's last use, is bookkeeping); AuditTests asks every changing endpoint.</summary>
public sealed class AuditTrail(IHttpContextAccessor accessor, ForwardedCaller caller, TimeProvider time) : SaveChangesInterceptor
{
    public override async ValueTask<InterceptionResult<int>> SavingChangesAsync(DbContextEventData eventData, InterceptionResult<int> result, CancellationToken cancellationToken = default)
    {
        if (eventData.Context is SandboxDb db && accessor.HttpContext is { } http && await ActorAsync(db, http, cancellationToken) is { } actor)
            Tell(db, http, actor);
        return result;
    }

    /// <summary>Of libraries only, for what is not told: the log's own reading is asynchronous.</summary>
    public override InterceptionResult<int> SavingChanges(DbContextEventData eventData, InterceptionResult<int> result) =>
        eventData.Context is SandboxDb db && Changed(db).Any() ? throw new InvalidOperationException("Changes are saved asynchronously, or the audit log would miss them.") : result;

    /// <summary>Of what changes nothing that is stored here: a use of a guest.</summary>
    public async Task TellUseAsync(SandboxDb db, HttpContext http, string subjectType, string subjectId, string subjectName, object shown)
    {
        if (await ActorAsync(db, http, http.RequestAborted) is not { } actor) throw new InvalidOperationException("A use of a guest is some user's.");
        var entry = Entry(new(subjectType, subjectId, subjectName, null), null, AuditViews.Json(shown), http, actor, time.GetUtcNow());
        http.Items[typeof(AuditTrail)] = entry;
        try
        {
            await db.SaveChangesAsync(http.RequestAborted);
        }
        finally
        {
            http.Items.Remove(typeof(AuditTrail));
        }
    }

    private sealed record Actor(Guid Project, string Id, string Name);

    /// <summary>Null: not a user.</summary>
    private static async Task<Actor?> ActorAsync(SandboxDb db, HttpContext http, CancellationToken ct)
    {
        var name = http.User.FindFirstValue(ClaimTypes.Name);
        if (http.User.Role() is not null) return new(http.User.ProjectId(), http.User.ActorId(), name!);
        // A machine that joins acts for whoever has made its token.
        return http.User.FindFirstValue(Schemes.JoinTokenClaim) is { } token
            ? new(await db.Projects.Where(p => p.Operates).Select(p => p.Id).SingleAsync(ct), $"joinToken:{token}", name!)
            : null;
    }

    private void Tell(SandboxDb db, HttpContext http, Actor actor)
    {
        // Left over from an attempt that the database refused.
        foreach (var stale in db.ChangeTracker.Entries<AuditEntry>().Where(e => e.State == EntityState.Added).ToList()) stale.State = EntityState.Detached;
        if (http.Items.TryGetValue(typeof(AuditTrail), out var used)) db.AuditEntries.Add((AuditEntry)used!);
        foreach (var row in Changed(db).ToList()) db.AuditEntries.Add(Entry(row, http, actor, time.GetUtcNow()));
    }

    private static IEnumerable<EntityEntry> Changed(SandboxDb db) =>
        db.ChangeTracker.Entries().Where(e => e.State is EntityState.Added or EntityState.Modified or EntityState.Deleted && !AuditViews.NotTold.Contains(e.Metadata.ClrType));

    private AuditEntry Entry(EntityEntry row, HttpContext http, Actor actor, DateTimeOffset now)
    {
        var before = row.State == EntityState.Added ? null : AuditViews.Describe(row.OriginalValues.ToObject());
        var after = row.State == EntityState.Deleted ? null : AuditViews.Describe(row.Entity);
        return Entry((after ?? before)!, AuditViews.Json(before?.Shown), AuditViews.Json(after?.Shown), http, actor, now);
    }

    private AuditEntry Entry(AuditViews.Subject subject, string? before, string? after, HttpContext http, Actor actor, DateTimeOffset now) =>
        new()
        {
            At = now,
            ProjectId = actor.Project,
            ActorId = actor.Id,
            ActorName = actor.Name,
            RemoteAddress = caller.AddressOf(http)?.ToString(),
            Action = $"{http.Request.Method} {Route(http)}",
            SubjectType = subject.Type,
            SubjectId = subject.Id,
            SubjectName = subject.Name,
            Before = before,
            After = after,
        };

    /// <summary>As the documentation names it: without constraints, without a slash at its end.</summary>
    public static string Route(HttpContext http) =>
        http.GetEndpoint() is RouteEndpoint { RoutePattern: var pattern } ? "/" + string.Join('/', pattern.PathSegments.Select(s => s.Parts[0] switch
        {
            Microsoft.AspNetCore.Routing.Patterns.RoutePatternLiteralPart literal => literal.Content,
            Microsoft.AspNetCore.Routing.Patterns.RoutePatternParameterPart parameter => $"{{{parameter.Name}}}",
            _ => "?",
        })) : http.Request.Path;
}
