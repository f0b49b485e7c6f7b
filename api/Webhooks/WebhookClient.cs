using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Text;

namespace Api.Webhooks;

/// <summary>What came of one attempt. <c>Reason</c>: a code of <see cref="WebhookReasons"/>, null when it was answered with 2xx.</summary>
public sealed record Attempt(int? Status, string? Reason, TimeSpan? RetryAfter, string? Excerpt)
{
    public bool Succeeded => Reason is null;
}

/// <summary>Posts one delivery by Standard Webhooks.
/// Guarantees: no redirect is followed, no cookie kept, no proxy asked; of an answer at most <see cref="MaxAnswerBytes"/> are read, for at most <see cref="AnswerPatience"/> after its status, which alone counts.
/// Whoever calls limits the whole by the token.</summary>
public sealed class WebhookClient : IDisposable
{
    public const int MaxAnswerBytes = 16 * 1024, MaxExcerptBytes = 1024;
    public static readonly TimeSpan AnswerPatience = TimeSpan.FromSeconds(2);
    private static readonly ProductInfoHeaderValue Agent = new("Sandbox-Webhooks", "1");
    private static readonly MediaTypeHeaderValue JsonUtf8 = new("application/json", "utf-8");
    private readonly TimeProvider time;
    private readonly HttpMessageInvoker http;

    public WebhookClient(WebhookSettings settings, ResolveName resolve, TimeProvider time)
    {
        this.time = time;
        http = new GuardedConnections(settings.Rules, resolve).NewClient();
    }

    public async Task<Attempt> PostAsync(Uri url, string id, IReadOnlyList<byte[]> keys, byte[] body, CancellationToken ct)
    {
        var timestamp = time.GetUtcNow().ToUnixTimeSeconds().ToString(CultureInfo.InvariantCulture);
        using var request = new HttpRequestMessage(HttpMethod.Post, url) { Content = new ByteArrayContent(body) };
        request.Content.Headers.ContentType = JsonUtf8;
        request.Headers.UserAgent.Add(Agent);
        request.Headers.Add("webhook-id", id);
        request.Headers.Add("webhook-timestamp", timestamp);
        request.Headers.Add("webhook-signature", WebhookSecret.Sign(keys, id, timestamp, body));
        try
        {
            using var response = await http.SendAsync(request, ct);
            return new Attempt((int)response.StatusCode, ReasonOf(response.StatusCode), RetryAfter(response.Headers.RetryAfter, time.GetUtcNow()), await ExcerptAsync(response.Content, ct));
        }
        catch (HttpRequestException e)
        {
            return new Attempt(null, ReasonOf(e), null, null);
        }
        catch (OperationCanceledException) when (!ct.IsCancellationRequested)
        {
            // Connecting took too long.
            return new Attempt(null, WebhookReasons.Timeout, null, null);
        }
    }

    private static string? ReasonOf(HttpStatusCode status) => (int)status switch
    {
        >= 200 and < 300 => null,
        >= 300 and < 400 => WebhookReasons.Redirected,
        410 => WebhookReasons.Gone,
        _ => WebhookReasons.StatusRefused,
    };

    private static string ReasonOf(HttpRequestException error)
    {
        for (Exception? inner = error; inner is not null; inner = inner.InnerException)
            if (inner is ConnectionNotMade notMade) return notMade.Reason;
        return error.HttpRequestError switch
        {
            HttpRequestError.NameResolutionError => WebhookReasons.NameNotResolved,
            HttpRequestError.SecureConnectionError => WebhookReasons.TlsFailed,
            HttpRequestError.InvalidResponse or HttpRequestError.ConfigurationLimitExceeded or HttpRequestError.HttpProtocolError => WebhookReasons.NotHttp,
            _ => WebhookReasons.ConnectFailed,
        };
    }

    /// <summary>How long a server asks to be left alone; null: it does not say, or it is over.</summary>
    internal static TimeSpan? RetryAfter(RetryConditionHeaderValue? asked, DateTimeOffset now)
    {
        var wait = asked?.Delta ?? (asked?.Date is { } at ? at - now : null);
        return wait is { } span && span > TimeSpan.Zero ? span : null;
    }

    private async Task<string?> ExcerptAsync(HttpContent content, CancellationToken ct)
    {
        using var patience = new CancellationTokenSource(AnswerPatience, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(patience.Token, ct);
        var bytes = new byte[MaxExcerptBytes];
        var (kept, read) = (0, 0);
        try
        {
            await using var stream = await content.ReadAsStreamAsync(either.Token);
            var rest = new byte[4096];
            // Read to the end where that is near, so that the connection can be used again.
            while (read < MaxAnswerBytes && await stream.ReadAsync(rest, either.Token) is > 0 and var count)
            {
                var more = Math.Min(count, MaxExcerptBytes - kept);
                rest.AsSpan(0, more).CopyTo(bytes.AsSpan(kept));
                (kept, read) = (kept + more, read + count);
            }
        }
        catch (Exception e) when (e is IOException or HttpRequestException or OperationCanceledException)
        {
            // The status has been told; what follows it is for people only.
        }
        return kept == 0 ? null : Readable(bytes.AsSpan(0, kept));
    }

    private static string Readable(ReadOnlySpan<byte> bytes) => string.Concat(Encoding.UTF8.GetString(bytes).Select(c => char.IsControl(c) && c is not ('\n' or '\t') ? ' ' : c));

    public void Dispose() => http.Dispose();
}
