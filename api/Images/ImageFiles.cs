using Api.Data;
using Api.Events;
using Api.Sandboxes;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Images;

/// <summary>Makes content that has come whole a file of its image, and the image Ready with its last one.
/// Guarantees: one transaction that holds the image's row, so that of two files that come at the same time the second sees the first; of one digest one content stays, whoever brought it, and an
/// image's file is here only when its content is complete (the database keeps content that a file refers to). On a crash: all of it or nothing, and then the content is swept.</summary>
public sealed class ImageFiles(SandboxDb db, ContentStore store, SandboxScheduler scheduler, TimeProvider time)
{
    /// <summary>The image; null: it is gone.</summary>
    public async Task<RegisteredImage?> AttachAsync(Guid imageId, ImageFileRole role, Guid content, CancellationToken ct)
    {
        try
        {
            await using var transaction = await db.BeginAsync(ct);
            if (await LockAsync(db, imageId, ct) is not { } image) return null;
            if (!await db.StoredImageFiles.AnyAsync(f => f.ImageId == imageId && f.Role == role, ct))
            {
                var now = time.GetUtcNow();
                db.StoredImageFiles.Add(new() { ImageId = imageId, Role = role, ContentId = await CompleteAsync(image.Files.Find(f => f.Role == role)!.Sha256, content, now, ct) });
                image.UpdatedAt = now;
                if (await db.StoredImageFiles.CountAsync(f => f.ImageId == imageId, ct) + 1 == image.Files.Count)
                {
                    (image.Phase, image.Failure) = (ImagePhase.Ready, null);
                    await db.ImageDownloads.Where(d => d.ImageId == imageId).ExecuteDeleteAsync(ct);
                    db.Events.Add(Event.Of(image.ProjectId ?? Guid.Empty, EventType.ImageChanged, image.Id, image.Name, "ImageReady", $"Image {image.Name} is ready.", now));
                }
                await db.SaveChangesAsync(ct);
            }
            await transaction.CommitAsync(ct);
            await db.AfterCommitAsync(scheduler.Wake);
            return image;
        }
        finally
        {
            // Nothing, unless another content stays, or the transaction was not stored.
            await store.DropAsync(content);
        }
    }

    /// <summary>Until the transaction ends nobody else changes where the image stands. Sandboxes may refer to it meanwhile.</summary>
    public static Task<RegisteredImage?> LockAsync(SandboxDb db, Guid id, CancellationToken ct) =>
        db.RegisteredImages.FromSql($"SELECT *, xmin FROM registered_images WHERE id = {id} FOR NO KEY UPDATE").SingleOrDefaultAsync(ct);

    /// <summary>The one content of that digest, which is this one if there was none.</summary>
    private async Task<Guid> CompleteAsync(string sha256, Guid content, DateTimeOffset now, CancellationToken ct)
    {
        await db.Database.ExecuteSqlAsync($"SELECT pg_advisory_xact_lock(hashtextextended({"image content " + sha256}, 0))", ct);
        // Held against the sweep until a file refers to it.
        var same = await db.Database.SqlQuery<Guid>($"SELECT id AS \"Value\" FROM image_contents WHERE sha256 = {sha256} AND complete FOR KEY SHARE").ToListAsync(ct);
        if (same is [var there, ..]) return there;
        var completed = await db.ImageContents.Where(c => c.Id == content && !c.Complete).ExecuteUpdateAsync(u => u.SetProperty(c => c.Complete, true).SetProperty(c => c.TouchedAt, now), ct);
        return completed == 1 ? content : throw new InvalidOperationException($"content {content} was removed before it was complete");
    }
}
