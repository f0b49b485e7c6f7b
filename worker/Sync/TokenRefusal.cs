using System.Net;
using System.Net.Http.Headers;
using System.Text.Json;

namespace Worker.Sync;

// Why the API refuses a node's token: it says so in the body of the refusal, which a WebSocket's client does not show. Asks once; whatever is not understood is an unknown token.
public static class TokenRefusal
{
    private const int MaxAnswerBytes = 16 * 1024;
    private static readonly TimeSpan AttemptLimit = TimeSpan.FromSeconds(15);
    private static readonly Reason[] Known = [JoinReasons.TokenReplaced, JoinReasons.TokenRevoked, JoinReasons.Decommissioned];

    /// <summary>Null: it is not refused, or the API does not answer.</summary>
    public static async Task<Reason?> AskAsync(Uri hub, string token, CancellationToken ct)
    {
        using var handler = new SocketsHttpHandler { AllowAutoRedirect = false, UseCookies = false, UseProxy = !hub.IsLoopback, ConnectTimeout = AttemptLimit, MaxResponseHeadersLength = 16 };
        using var http = new HttpMessageInvoker(handler);
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(ct);
        limit.CancelAfter(AttemptLimit);
        using var request = new HttpRequestMessage(HttpMethod.Post, new Uri($"{hub}/negotiate?negotiateVersion=1"));
        request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", token);
        try
        {
            using var answer = await http.SendAsync(request, limit.Token);
            if (answer.StatusCode != HttpStatusCode.Unauthorized)
                return null;
            var buffer = new byte[MaxAnswerBytes];
            await using var stream = await answer.Content.ReadAsStreamAsync(limit.Token);
            return ReasonOf(buffer.AsMemory(0, await stream.ReadAtLeastAsync(buffer, buffer.Length, throwOnEndOfStream: false, limit.Token)));
        }
        catch (Exception problem) when (problem is HttpRequestException or IOException || (problem is OperationCanceledException && !ct.IsCancellationRequested))
        {
            return null;
        }
    }

    public static Reason ReasonOf(ReadOnlyMemory<byte> body)
    {
        try
        {
            using var json = JsonDocument.Parse(body);
            var code = json.RootElement.ValueKind == JsonValueKind.Object && json.RootElement.TryGetProperty("code", out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;
            return Known.FirstOrDefault(reason => reason.Code == code) ?? JoinReasons.TokenUnknown;
        }
        catch (JsonException)
        {
            return JoinReasons.TokenUnknown;
        }
    }
}
