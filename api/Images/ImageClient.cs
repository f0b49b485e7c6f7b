using System.Net;
using System.Net.Http.Headers;
using System.Security.Authentication;
using Api.Webhooks;
using Contracts;

namespace Api.Images;

/// <summary>What came of one attempt to download a file. <c>Reason</c>: a code of <see cref="ImageReasons"/>, null when it is written; <c>MayPass</c>: another attempt may do better, after <c>RetryAfter</c> if the server says so.</summary>
public sealed record DownloadAttempt(Guid? Content, string? Reason, string? Detail, bool MayPass, TimeSpan? RetryAfter = null);

/// <summary>Downloads one file.
/// Guarantees: each connection, also of each redirect, goes to an address that was judged itself (<see cref="GuardedConnections"/>), and each url is one that a registration might name; no cookie is kept, no proxy asked;
/// no more is read than the file has, and a server that gives less than a chunk in a minute is left.</summary>
public sealed class ImageClient : IDisposable
{
    public const int MaxRedirects = 5;
    private static readonly TimeSpan AnswerPatience = TimeSpan.FromSeconds(30);
    private static readonly ProductInfoHeaderValue Agent = new("Sandbox-Images", "1");
    private readonly HttpMessageInvoker http;
    private readonly ImageSettings settings;
    private readonly ContentStore store;
    private readonly TimeProvider time;

    public ImageClient(ImageSettings settings, ResolveName resolve, ContentStore store, TimeProvider time)
    {
        (this.settings, this.store, this.time) = (settings, store, time);
        http = new GuardedConnections(settings.Downloads, resolve).NewClient();
    }

    public async Task<DownloadAttempt> AttemptAsync(RegisteredFile file, DiskFormat? format, CancellationToken ct)
    {
        try
        {
            return await FollowAsync(file, format, ct);
        }
        catch (HttpRequestException e)
        {
            return Failed(e);
        }
        catch (IOException e) when (e is not ConnectionNotMade)
        {
            return new(null, ImageReasons.ConnectFailed, null, MayPass: true);
        }
        catch (OperationCanceledException) when (!ct.IsCancellationRequested)
        {
            return new(null, ImageReasons.TooSlow, "It did not answer in time.", MayPass: true);
        }
    }

    private async Task<DownloadAttempt> FollowAsync(RegisteredFile file, DiskFormat? format, CancellationToken ct)
    {
        var url = new Uri(file.Url!);
        for (var redirects = 0; redirects <= MaxRedirects; redirects++)
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, url);
            request.Headers.UserAgent.Add(Agent);
            using var response = await SendAsync(request, ct);
            var status = (int)response.StatusCode;
            if (status is 301 or 302 or 303 or 307 or 308)
            {
                if (response.Headers.Location is not { } location || !Uri.TryCreate(url, location, out var next) || GuardedUrl.Problem(next.AbsoluteUri, settings.Downloads) is not null)
                    return new(null, ImageReasons.RedirectRefused, null, MayPass: false);
                url = next;
                continue;
            }
            if (status != 200) return new(null, ImageReasons.StatusRefused, $"It answers {status}.", status is 408 or 429 or >= 500, WebhookClient.RetryAfter(response.Headers.RetryAfter, time.GetUtcNow()));
            if (response.Content.Headers.ContentLength is { } told && told != file.Bytes) return new(null, ImageReasons.SizeDiffers, $"It has {told} bytes instead of {file.Bytes}.", MayPass: false);
            await using var bytes = await response.Content.ReadAsStreamAsync(ct);
            return Of(await store.WriteAsync(bytes, file, format, keeps: true, ct));
        }
        return new(null, ImageReasons.TooManyRedirects, null, MayPass: false);
    }

    private async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken ct)
    {
        using var patience = new CancellationTokenSource(AnswerPatience, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(patience.Token, ct);
        return await http.SendAsync(request, either.Token);
    }

    private static DownloadAttempt Of(ContentWritten written) => written.Problem switch
    {
        ContentProblem.None => new(written.Content, null, null, MayPass: false),
        ContentProblem.SizeDiffers => new(null, ImageReasons.SizeDiffers, written.Detail, MayPass: false),
        ContentProblem.DigestDiffers => new(null, ImageReasons.DigestDiffers, written.Detail, MayPass: false),
        ContentProblem.DiskRefused => new(null, ImageReasons.DiskRefused, written.Detail, MayPass: false),
        _ => new(null, ImageReasons.TooSlow, written.Detail, MayPass: true),
    };

    private static DownloadAttempt Failed(HttpRequestException error)
    {
        for (Exception? inner = error; inner is not null; inner = inner.InnerException)
        {
            // A connection that broke during the handshake is none of these.
            if (inner is AuthenticationException) return new(null, ImageReasons.TlsFailed, null, MayPass: false);
            if (inner is ConnectionNotMade notMade) return notMade.Reason switch
            {
                WebhookReasons.AddressRefused => new(null, ImageReasons.AddressRefused, null, MayPass: false),
                WebhookReasons.NameNotResolved => new(null, ImageReasons.NameNotResolved, null, MayPass: true),
                _ => new(null, ImageReasons.ConnectFailed, null, MayPass: true),
            };
        }
        return new(null, ImageReasons.ConnectFailed, null, MayPass: true);
    }

    public void Dispose() => http.Dispose();
}
