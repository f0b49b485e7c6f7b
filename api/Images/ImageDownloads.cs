using System.Collections.Concurrent;
using Api.Data;
using Api.Events;
using Api.Reconciliation;
using Contracts;
using Microsoft.EntityFrameworkCore;
using Polly;
using Polly.Retry;

namespace Api.Images;

/// <summary>Downloads the files of images that were registered by url.
/// Guarantees: projects whose images are downloaded now come after others; one replica at a time has the claim of an image, for <see cref="Lease"/>, and renews it while it downloads; who has lost it stores nothing of the image's phase. Whatever two replicas write at once
/// is content of each one's own (<see cref="ContentStore"/>), so neither corrupts the other's. What may pass is tried again (<see cref="Attempts"/>), what cannot is Failed at once, with its reason.
/// On a crash the claim ends by itself and the file is begun anew, by whichever replica is next; what brings the service down <see cref="MostClaims"/> times is Failed. When the service stops, claims are given back.</summary>
public sealed class ImageDownloads(IServiceScopeFactory scopes, ImageClient client, TimeProvider time, ILogger<ImageDownloads> log) : Reconciler(time, TimeSpan.FromSeconds(5), log)
{
    public static readonly TimeSpan Lease = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan Renewal = TimeSpan.FromSeconds(15);
    public const int MostAtOnce = 2, MostClaims = 5, Attempts = 4;
    private readonly ConcurrentDictionary<Guid, Task> running = new();
    private readonly TimeProvider clock = time;

    private readonly ResiliencePipeline<DownloadAttempt> pipeline = new ResiliencePipelineBuilder<DownloadAttempt> { TimeProvider = time }
        .AddRetry(new RetryStrategyOptions<DownloadAttempt>
        {
            MaxRetryAttempts = Attempts - 1,
            BackoffType = DelayBackoffType.Exponential,
            Delay = TimeSpan.FromSeconds(1),
            UseJitter = true,
            ShouldHandle = static a => ValueTask.FromResult(a.Outcome.Result is { MayPass: true }),
        }).Build();

    protected override async Task PassAsync(CancellationToken ct)
    {
        while (running.Count < MostAtOnce && await ClaimAsync(ct) is { } claimed)
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
        var (claim, now) = (Guid.NewGuid(), clock.GetUtcNow());
        var claimed = await scope.ServiceProvider.GetRequiredService<SandboxDb>().ImageDownloads.FromSql($"""
            UPDATE image_downloads SET claim = {claim}, claimed_until = {now + Lease}, claims = claims + 1
            WHERE image_id = (SELECT d.image_id FROM image_downloads d JOIN registered_images i ON i.id = d.image_id WHERE d.claimed_until <= {now}
              ORDER BY (SELECT count(*) FROM image_downloads o JOIN registered_images p ON p.id = o.image_id WHERE o.claimed_until > {now} AND p.project_id IS NOT DISTINCT FROM i.project_id), d.claimed_until
              LIMIT 1 FOR UPDATE OF d SKIP LOCKED) RETURNING *
            """).AsNoTracking().ToListAsync(ct);
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
        foreach (var file in image.Files.Where(f => f.Url is not null))
        {
            if (await IsStoredAsync(image.Id, file.Role, ct)) continue;
            var attempt = await pipeline.ExecuteAsync(static async (state, token) => await state.client.AttemptAsync(state.file, state.format, token), (client, file, format: image.DiskFormat), ct);
            if (attempt.Content is not { } content)
            {
                log.LogInformation("Image {ImageId} could not be downloaded: {Reason} {Detail}", image.Id, attempt.Reason, attempt.Detail);
                await EndAsync(claimed, ImageReasons.Failure(attempt.Reason!, clock.GetUtcNow(), $"It is the {file.Role.ToString().ToLowerInvariant()}. {attempt.Detail}".TrimEnd()), ct);
                return;
            }
            await using var scope = scopes.CreateAsyncScope();
            if (await scope.ServiceProvider.GetRequiredService<ImageFiles>().AttachAsync(image.Id, file.Role, content, ct) is null) return;
        }
        await EndAsync(claimed, null, ct);
    }

    /// <summary>Null: the image is gone, or another has the claim.</summary>
    private Task<RegisteredImage?> BeginAsync(ImageDownload claimed, CancellationToken ct) => ChangeAsync(claimed, ends: false, (_, image) =>
    {
        if (image.Phase != ImagePhase.Waiting) return;
        (image.Phase, image.UpdatedAt) = (ImagePhase.Downloading, clock.GetUtcNow());
    }, ct);

    /// <summary>Without a failure: what was to be downloaded is here; what is not, is uploaded.</summary>
    private Task<RegisteredImage?> EndAsync(ImageDownload claimed, Failure? failure, CancellationToken ct) => ChangeAsync(claimed, ends: true, (db, image) =>
    {
        if (image.Phase == ImagePhase.Ready) return;
        (image.Phase, image.Failure, image.UpdatedAt) = (failure is null ? ImagePhase.Waiting : ImagePhase.Failed, failure, clock.GetUtcNow());
        if (failure is not null) db.Events.Add(Event.Of(image.ProjectId ?? Guid.Empty, EventType.ImageChanged, image.Id, image.Name, failure.Reason, $"Image {image.Name} could not be downloaded. {failure.Message}", image.UpdatedAt));
    }, ct);

    private async Task<RegisteredImage?> ChangeAsync(ImageDownload claimed, bool ends, Action<SandboxDb, RegisteredImage> change, CancellationToken ct)
    {
        await using var scope = scopes.CreateAsyncScope();
        var db = scope.ServiceProvider.GetRequiredService<SandboxDb>();
        await using var transaction = await db.BeginAsync(ct);
        if (await ImageFiles.LockAsync(db, claimed.ImageId, ct) is not { } image) return null;
        var own = db.ImageDownloads.Where(d => d.ImageId == claimed.ImageId && d.Claim == claimed.Claim);
        if (ends ? await own.ExecuteDeleteAsync(ct) == 0 : !await own.AnyAsync(ct)) return null;
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
        catch (Exception e)
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
