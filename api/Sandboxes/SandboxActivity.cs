using System.Collections.Concurrent;
using Api.Data;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Sandboxes;

/// <summary>Stores when a sandbox was last used: somebody typed into its console, or its user data script worked. To read of it is no use of it.
/// Guarantees: a write at most every <see cref="Period"/> for a sandbox and replica, and never a time before the stored one; whoever uses it never waits for the database.
/// On a crash at most the last period is forgotten.</summary>
public sealed class SandboxActivity(IServiceScopeFactory scopes, TimeProvider time, ILogger<SandboxActivity> log)
{
    public static readonly TimeSpan Period = TimeSpan.FromSeconds(30);
    private const int MaxRemembered = 100_000;
    private static readonly string[] Work = [FaultSource.WorkloadMinor, FaultSource.WorkloadMajor];
    private readonly ConcurrentDictionary<Guid, DateTimeOffset> written = new();
    private readonly ConcurrentDictionary<Guid, (DateTimeOffset At, int Incarnation, long Sum)> looked = new();

    /// <summary>Somebody uses it now.</summary>
    public void Used(Guid sandbox)
    {
        var now = time.GetUtcNow();
        Forget(written, now, at => at);
        if (written.TryGetValue(sandbox, out var at) ? now - at < Period || !written.TryUpdate(sandbox, now, at) : !written.TryAdd(sandbox, now)) return;
        _ = StoreAsync(sandbox, now);
    }

    /// <summary>Its script works when what it counts has grown; that is looked at once a period.</summary>
    public void Sampled(EncodedSample sample)
    {
        var now = time.GetUtcNow();
        Forget(looked, now, l => l.At);
        var known = looked.TryGetValue(sample.SandboxId, out var last);
        if (known && now - last.At < Period && last.Incarnation == sample.Incarnation) return;
        var sum = FaultSamplesEncoding.Decode(sample.Readings.Span, Work).Sum(r => r.Value);
        looked[sample.SandboxId] = (now, sample.Incarnation, sum ?? 0);
        if (known && last.Incarnation == sample.Incarnation && sum > last.Sum) Used(sample.SandboxId);
    }

    private static void Forget<T>(ConcurrentDictionary<Guid, T> of, DateTimeOffset now, Func<T, DateTimeOffset> at)
    {
        if (of.Count < MaxRemembered) return;
        foreach (var old in of.Where(o => now - at(o.Value) > Period).ToList()) of.TryRemove(old);
    }

    private async Task StoreAsync(Guid sandbox, DateTimeOffset now)
    {
        try
        {
            await using var scope = scopes.CreateAsyncScope();
            var db = scope.ServiceProvider.GetRequiredService<SandboxDb>();
            await db.Sandboxes.Where(s => s.Id == sandbox && (s.LastActivityAt == null || s.LastActivityAt < now)).ExecuteUpdateAsync(s => s.SetProperty(x => x.LastActivityAt, now));
        }
        catch (Exception e) when (e is DbUpdateException or System.Data.Common.DbException or InvalidOperationException or ObjectDisposedException)
        {
            log.LogWarning(e, "The use of sandbox {SandboxId} could not be stored; the next one is tried", sandbox);
            written.TryRemove(sandbox, out _);
        }
    }
}
