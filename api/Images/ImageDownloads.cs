using System.Collections.Concurrent;
using System.Data.Common;
using Api.Data;
using Api.Events;
using Api.Reconciliation;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Images;

/// <summary>Downloads the files of images that were registered by url.
/// Guarantees: a project has at most <see cref="ImageSettings.MostDownloadsOfProject"/> downloads on all replicas together (shared images are a project of their own), and those that have fewer come first; one replica at a time has the claim of an image, for <see cref="Lease"/>, and renews it while it downloads; who has lost it stores nothing of the image's phase. Whatever two replicas write at once
/// is content of each one's own (<see cref="ContentStore"/>), so neither corrupts the other's. What may pass is tried again when it is due (<see cref="DownloadSchedule"/>), and holds no place until then; what cannot is Failed at once, with its reason.
/// On a crash the claim ends by itself and the file is begun anew, by whichever replica is next; what brings the service down <see cref="MostClaims"/> times is Failed. When the service stops, claims are given back.</summary>
public sealed class ImageDownloads(IServiceScopeFactory scopes, ImageClient client, ImageSettings settings, TimeProvider time, ILogger<ImageDownloads> log) : Reconciler(time, TimeSpan.FromSeconds(5), log)
{
    public static readonly TimeSpan Lease = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan Renewal = TimeSpan.FromSeconds(15);
    public const int MostClaims = 5;
    private readonly ConcurrentDictionary<Guid, Task> running = new();
    private readonly TimeProvider clock = time;

    protected override async Task PassAsync(CancellationToken ct)
    {
        while (running.Count < settings.MostDownloads && await ClaimAsync(ct) is { } claimed)
        {
            // There before it begins, or one that has ended at once would never be taken away.
            running[claimed.Claim!.Value] = Task.CompletedTask;
            running.TryUpdate(claimed.Claim.Value, Task.Run(() => RunAsync(claimed, ct), CancellationToken.None), Task.CompletedTask);
        }
    }

    public override async Task StopAsync(CancellationToken cancellationToken)
    {
        await base.StopAsync(cancellationToken);
        await Task.WhenAll(running.Values).WaitAsync(cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    private async Task<ImageDownload?> ClaimAsync(CancellationToken ct)
    {
        await using var scope = scopes.CreateAsyncScope();
        var db = scope.ServiceProvider.GetRequiredService<SandboxDb>();
        await using var transaction = await db.BeginAsync(ct);
        // Two who claim at once would each count without the other.
        await db.Database.ExecuteSqlAsync($"SELECT pg_advisory_xact_lock(hashtextextended('claims of image downloads', 0))", ct);
        var (claim, now) = (Guid.NewGuid(), clock.GetUtcNow());
        var claimed = await db.ImageDownloads.FromSql($"""
            UPDATE image_downloads SET claim = {claim}, claimed_until = {now + Lease}, claims = claims + 1
            WHERE image_id = (SELECT d.image_id FROM image_downloads d JOIN registered_images i ON i.id = d.image_id
              CROSS JOIN LATERAL (SELECT count(*) AS downloads FROM image_downloads o JOIN registered_images p ON p.id = o.image_id
                WHERE o.claimed_until > {now} AND p.project_id IS NOT DISTINCT FROM i.project_id) own
              WHERE d.claimed_until <= {now} AND d.due_at <= {now} AND own.downloads < {settings.MostDownloadsOfProject}
              ORDER BY own.downloads, d.due_at LIMIT 1 FOR UPDATE OF d SKIP LOCKED) RETURNING *
            """).AsNoTracking().ToListAsync(ct);
        await transaction.CommitAsync(ct);
        return claimed is [var one] ? one : null;
    }

    private async Task RunAsync(ImageDownload claimed, CancellationToken stopping)
    {
        using var lost = CancellationTokenSource.CreateLinkedTokenSource(stopping);
        var renewing = RenewAsync(claimed, lost);
        try
        {
            await DownloadAsync(claimed, lost.Token);
        }
        catch (OperationCanceledException) when (lost.IsCancellationRequested)
        {
            if (stopping.IsCancellationRequested) await GiveBackAsync(claimed);
        }
        catch (Exception e)
        {
            log.LogError(e, "The download of image {ImageId} ended; it is begun anew once its claim has ended", claimed.ImageId);
        }
        finally
        {
            await lost.CancelAsync();
            await renewing;
            running.TryRemove(claimed.Claim!.Value, out _);
            Wake();
        }
    }

    private async Task DownloadAsync(ImageDownload claimed, CancellationToken ct)
    {
        if (claimed.Claims > MostClaims)
        {
            await EndAsync(claimed, ImageReasons.Failure(ImageReasons.Interrupted, clock.GetUtcNow()), ct);
            return;
        }
        if (await BeginAsync(claimed, ct) is not { } image) return;
        var failed = claimed.Attempts;
        foreach (var file in image.Files.Where(f => f.Url is not null))
        {
            if (await IsStoredAsync(image.Id, file.Role, ct)) continue;
            var attempt = await client.AttemptAsync(file, image.DiskFormat, ct);
            if (attempt.Content is not { } content)
            {
                log.LogInformation("Image {ImageId} could not be downloaded: {Reason} {Detail}", image.Id, attempt.Reason, attempt.Detail);
                await FailAsync(claimed, file, attempt, failed + 1, ct);
                return;
            }
            await using var scope = scopes.CreateAsyncScope();
            if (await scope.ServiceProvider.GetRequiredService<ImageFiles>().AttachAsync(image.Id, file.Role, content, ct) is null) return;
            failed = 0;
        }
        await EndAsync(claimed, null, ct);
    }

    /// <summary>Null: the image is gone, or another has the claim.</summary>
    private Task<RegisteredImage?> BeginAsync(ImageDownload claimed, CancellationToken ct) => ChangeAsync(claimed, own => own.CountAsync(ct), (_, image) =>
    {
        if (image.Phase != ImagePhase.Waiting) return;
        (image.Phase, image.Failure, image.UpdatedAt) = (ImagePhase.Downloading, null, clock.GetUtcNow());
    }, ct);

    private Task<RegisteredImage?> FailAsync(ImageDownload claimed, RegisteredFile file, DownloadAttempt attempt, int failed, CancellationToken ct)
    {
        var (now, detail) = (clock.GetUtcNow(), $"It is the {file.Role.ToString().ToLowerInvariant()}. {attempt.Detail}".TrimEnd());
        if (!attempt.MayPass || DownloadSchedule.After(failed, Random.Shared.NextDouble(), attempt.RetryAfter) is not { } pause) return EndAsync(claimed, ImageReasons.Failure(attempt.Reason!, now, detail), ct);
        var due = now + pause;
        var failure = ImageReasons.Failure(attempt.Reason!, now, $"{detail} It is tried again at {due.UtcDateTime:yyyy-MM-dd'T'HH:mm:ss'Z'} (attempt {failed + 1} of {DownloadSchedule.MaxAttempts}).");
        return ChangeAsync(claimed, own => own.ExecuteUpdateAsync(u => u.SetProperty(d => d.Claim, (Guid?)null).SetProperty(d => d.ClaimedUntil, now).SetProperty(d => d.Claims, 0)
            .SetProperty(d => d.Attempts, failed).SetProperty(d => d.DueAt, due), ct), (_, image) =>
        {
            if (image.Phase == ImagePhase.Ready) return;
            (image.Phase, image.Failure, image.UpdatedAt) = (ImagePhase.Waiting, failure, now);
        }, ct);
    }

    /// <summary>Without a failure: what was to be downloaded is here; what is not, is uploaded.</summary>
    private Task<RegisteredImage?> EndAsync(ImageDownload claimed, Failure? failure, CancellationToken ct) => ChangeAsync(claimed, own => own.ExecuteDeleteAsync(ct), (db, image) =>
    {
        if (image.Phase == ImagePhase.Ready) return;
        (image.Phase, image.Failure, image.UpdatedAt) = (failure is null ? ImagePhase.Waiting : ImagePhase.Failed, failure, clock.GetUtcNow());
        if (failure is not null) db.Events.Add(Event.Of(image.ProjectId ?? Guid.Empty, EventType.ImageChanged, image.Id, image.Name, failure.Reason, $"Image {image.Name} could not be downloaded. {failure.Message}", image.UpdatedAt));
    }, ct);

    private async Task<RegisteredImage?> ChangeAsync(ImageDownload claimed, Func<IQueryable<ImageDownload>, Task<int>> take, Action<SandboxDb, RegisteredImage> change, CancellationToken ct)
    {
        await using var scope = scopes.CreateAsyncScope();
        var db = scope.ServiceProvider.GetRequiredService<SandboxDb>();
        await using var transaction = await db.BeginAsync(ct);
        if (await ImageFiles.LockAsync(db, claimed.ImageId, ct) is not { } image) return null;
        if (await take(db.ImageDownloads.Where(d => d.ImageId == claimed.ImageId && d.Claim == claimed.Claim)) == 0) return null;
        change(db, image);
        await db.SaveChangesAsync(ct);
        await transaction.CommitAsync(ct);
        return image;
    }

    private async Task<bool> IsStoredAsync(Guid image, ImageFileRole role, CancellationToken ct)
    {
        await using var scope = scopes.CreateAsyncScope();
        return await scope.ServiceProvider.GetRequiredService<SandboxDb>().StoredImageFiles.AnyAsync(f => f.ImageId == image && f.Role == role, ct);
    }

    private async Task RenewAsync(ImageDownload claimed, CancellationTokenSource lost)
    {
        var until = claimed.ClaimedUntil;
        // A database that is away for a moment costs nothing as long as the claim holds.
        while (clock.GetUtcNow() < until)
        {
            try
            {
                await Task.Delay(Renewal, clock, lost.Token);
                var next = clock.GetUtcNow() + Lease;
                if (!await SetAsync(claimed, next, claims: 0, lost.Token)) break;
                until = next;
            }
            catch (OperationCanceledException) when (lost.IsCancellationRequested)
            {
                return;
            }
            catch (Exception e)
            {
                log.LogWarning(e, "The claim of image {ImageId} could not be renewed yet", claimed.ImageId);
            }
        }
        // The image is gone, or another replica has taken it for dead.
        await lost.CancelAsync();
    }

    private async Task GiveBackAsync(ImageDownload claimed)
    {
        try
        {
            await SetAsync(claimed, clock.GetUtcNow(), claims: -1, CancellationToken.None);
        }
        catch (Exception e) when (e is DbException or InvalidOperationException)
        {
            log.LogWarning(e, "The claim of image {ImageId} was not given back; it ends by itself", claimed.ImageId);
        }
    }

    private async Task<bool> SetAsync(ImageDownload claimed, DateTimeOffset until, int claims, CancellationToken ct)
    {
        await using var scope = scopes.CreateAsyncScope();
        return await scope.ServiceProvider.GetRequiredService<SandboxDb>().ImageDownloads.Where(d => d.ImageId == claimed.ImageId && d.Claim == claimed.Claim)
            .ExecuteUpdateAsync(u => u.SetProperty(d => d.ClaimedUntil, until).SetProperty(d => d.Claims, d => d.Claims + claims), ct) == 1;
    }
}
