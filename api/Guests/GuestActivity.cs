using System.Collections.Concurrent;
using Api.Data;
using Microsoft.EntityFrameworkCore;

namespace Api.Guests;

/// <summary>When a sandbox's guest was last used through the API: a command, a file, a tunnel or keys on its console. A row of its own: a sandbox's version would change with each use.</summary>
public sealed class SandboxActivity
{
    public Guid SandboxId { get; init; }
    public DateTimeOffset LastAt { get; init; }
}

/// <summary>Notes uses. Guarantees: the stored time is at most <see cref="Precision"/> behind the last use, and never goes back, whichever replica notes it; a sandbox that is deleted meanwhile is no error.
/// Assumes that memory of lately noted ones is a shortcut only: it is emptied when it grows.</summary>
public sealed class GuestActivity(IServiceScopeFactory scopes, TimeProvider time)
{
    public static readonly TimeSpan Precision = TimeSpan.FromSeconds(30);
    private const int MostRemembered = 10_000;
    private readonly ConcurrentDictionary<Guid, DateTimeOffset> noted = new();

    public async Task NoteAsync(Guid sandbox, CancellationToken ct)
    {
        var now = time.GetUtcNow();
        if (noted.TryGetValue(sandbox, out var last) && now - last < Precision) return;
        if (noted.Count >= MostRemembered) noted.Clear();
        noted[sandbox] = now;
        await using var scope = scopes.CreateAsyncScope();
        await scope.ServiceProvider.GetRequiredService<SandboxDb>().Database.ExecuteSqlAsync($"""
            INSERT INTO sandbox_activities (sandbox_id, last_at) SELECT id, {now} FROM sandboxes WHERE id = {sandbox}
            ON CONFLICT (sandbox_id) DO UPDATE SET last_at = greatest(sandbox_activities.last_at, excluded.last_at)
            """, ct);
    }
}
