using Api.Data;
using Api.Reconciliation;
using Microsoft.EntityFrameworkCore;

namespace Api.Images;

/// <summary>Removes content that belongs to no image: what was begun and never completed, and what was of images that are gone.
/// Guarantees: content that a file refers to stays, whatever is added meanwhile; one that cannot be removed holds up no other. Assumes: who still writes has written a chunk within <see cref="Patience"/>
/// (<see cref="ContentStore.ChunkPatience"/> is much less). Idempotent: several replicas and a crash do no harm.</summary>
public sealed class ImageSweep(IServiceScopeFactory scopes, ContentStore store, TimeProvider time, ILogger<ImageSweep> log) : Reconciler(time, TimeSpan.FromMinutes(1), log)
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
                if (await CloseAsync(db, id, before, ct)) await store.RemoveAsync(id, ct);
            }
            catch (Exception e) when (!ct.IsCancellationRequested)
            {
                log.LogWarning(e, "Content {ContentId} was not removed; it is tried again", id);
            }
        }
        if (left.Count == MostAtOnce) Wake();
    }

    /// <summary>False: it is a file's, or was touched. Once it is not complete, it becomes nobody's file (<see cref="ImageFiles"/>); one that is becoming a file's now is waited for by its row.</summary>
    private static async Task<bool> CloseAsync(SandboxDb db, Guid id, DateTimeOffset before, CancellationToken ct)
    {
        await using var transaction = await db.Database.BeginTransactionAsync(ct);
        await db.Database.ExecuteSqlAsync($"SELECT id FROM image_contents WHERE id = {id} FOR UPDATE", ct);
        var closed = await db.ImageContents.Where(c => c.Id == id && c.TouchedAt < before && !db.StoredImageFiles.Any(f => f.ContentId == id)).ExecuteUpdateAsync(u => u.SetProperty(c => c.Complete, false), ct);
        await transaction.CommitAsync(ct);
        return closed == 1;
    }
}
