using Api.Data;
using Api.Reconciliation;
using Microsoft.EntityFrameworkCore;
using Npgsql;

namespace Api.Images;

/// <summary>Removes content that belongs to no image: what was begun and never completed, and what was of images that are gone.
/// Guarantees: content that a file refers to stays, for the database refuses to remove it, whatever is added meanwhile. Assumes: who still writes has written a chunk within <see cref="Patience"/>
/// (<see cref="ContentStore.ChunkPatience"/> is much less). Idempotent: several replicas and a crash do no harm.</summary>
public sealed class ImageSweep(IServiceScopeFactory scopes, TimeProvider time, ILogger<ImageSweep> log) : Reconciler(time, TimeSpan.FromMinutes(1), log)
{
    public static readonly TimeSpan Patience = TimeSpan.FromMinutes(10);
    private const int MostAtOnce = 100;
    private readonly TimeProvider clock = time;

    protected override async Task PassAsync(CancellationToken ct)
    {
        await using var scope = scopes.CreateAsyncScope();
        var db = scope.ServiceProvider.GetRequiredService<SandboxDb>();
        var before = clock.GetUtcNow() - Patience;
        var left = await db.ImageContents.Where(c => c.TouchedAt < before && !db.StoredImageFiles.Any(f => f.ContentId == c.Id)).OrderBy(c => c.TouchedAt).Select(c => c.Id).Take(MostAtOnce).ToListAsync(ct);
        foreach (var id in left)
        {
            try
            {
                await db.ImageContents.Where(c => c.Id == id && c.TouchedAt < before).ExecuteDeleteAsync(ct);
            }
            catch (PostgresException e) when (e.SqlState == PostgresErrorCodes.ForeignKeyViolation)
            {
                log.LogDebug("Content {ContentId} has become a file's meanwhile", id);
            }
        }
        if (left.Count == MostAtOnce) Wake();
    }
}
