using System.Collections.Concurrent;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using Contracts;

namespace Api.Tests.Replicas;

/// <summary>Asks as the documentation says: each POST with an Idempotency-Key of its own, and again, the same, until there is an answer. Keeps what it was answered.</summary>
public sealed class CarefulClient(HttpClient http) : IDisposable
{
    private static readonly TimeSpan _pause = TimeSpan.FromMilliseconds(50);

    /// <summary>Answers that nobody may get: 500, a 503 that is no problem or does not say when to come again.</summary>
    public ConcurrentQueue<string> Bad { get; } = new();
    public ConcurrentBag<string> Unavailable { get; } = [];
    public TimeSpan Slowest { get; private set; }
    private int _again, _done;
    /// <summary>How often it had to ask once more.</summary>
    public int Again => _again;
    public int Done => _done;

    public static CarefulClient Of(Uri address, string secret)
    {
        // Short connections, so that requests go to all the replicas.
        var client = new HttpClient(new SocketsHttpHandler { PooledConnectionLifetime = TimeSpan.FromSeconds(1), ConnectTimeout = TimeSpan.FromSeconds(5) }) { BaseAddress = address, Timeout = TimeSpan.FromSeconds(40) };
        client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", secret);
        return new CarefulClient(client);
    }

    public HttpClient Http => http;

    /// <summary>The answer's status, code and sandbox. <paramref name="ct"/>: nobody wants it any more.</summary>
    public async Task<(int Status, string? Code, SandboxView? View)> AskAsync(HttpMethod method, string path, object? body, CancellationToken ct)
    {
        var key = Guid.NewGuid().ToString();
        using var timer = new PeriodicTimer(_pause);
        while (true)
        {
            var began = TimeProvider.System.GetTimestamp();
            try
            {
                using var request = new HttpRequestMessage(method, path) { Content = body is null ? null : JsonContent.Create(body) };
                if (method == HttpMethod.Post) request.Headers.Add("Idempotency-Key", key);
                using var response = await http.SendAsync(request, ct);
                Keep(TimeProvider.System.GetElapsedTime(began));
                var code = response.IsSuccessStatusCode ? null : await CodeAsync(method, path, response);
                if (response.StatusCode != HttpStatusCode.ServiceUnavailable && code is not ("idempotency_in_progress" or "changed_meanwhile"))
                {
                    Interlocked.Increment(ref _done);
                    return ((int)response.StatusCode, code, response.IsSuccessStatusCode && response.StatusCode != HttpStatusCode.NoContent ? await response.Content.ReadFromJsonAsync<SandboxView>(ct) : null);
                }
            }
            catch (Exception e) when (e is HttpRequestException or IOException || e is TaskCanceledException && !ct.IsCancellationRequested)
            {
                Keep(TimeProvider.System.GetElapsedTime(began));
                if (e is TaskCanceledException) Bad.Enqueue($"{method} {path}: no answer");
            }
            Interlocked.Increment(ref _again);
            await timer.WaitForNextTickAsync(ct);
        }
    }

    private void Keep(TimeSpan took) => Slowest = took > Slowest ? took : Slowest;

    private async Task<string> CodeAsync(HttpMethod method, string path, HttpResponseMessage response)
    {
        var code = response.Content.Headers.ContentType?.MediaType == "application/problem+json" ? await response.CodeAsync() : $"no problem: {await response.Content.ReadAsStringAsync()}";
        var what = $"{method} {path}: {(int)response.StatusCode} {code}";
        if ((int)response.StatusCode == 503) Unavailable.Add(code);
        if ((int)response.StatusCode is >= 500 and not 503 || code.StartsWith("no problem", StringComparison.Ordinal) || (int)response.StatusCode == 503 && response.Headers.RetryAfter is null) Bad.Enqueue(what);
        return code;
    }

    public void Dispose() => http.Dispose();
}
