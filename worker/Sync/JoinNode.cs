using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Text.Json;
using Contracts;
using Microsoft.Extensions.Logging;
using Polly;
using Polly.Retry;

namespace Worker.Sync;

/// <summary>How joining ended.</summary>
public abstract record JoinOutcome
{
    /// <summary>The token file was there: this machine is a node already.</summary>
    public sealed record HasToken : JoinOutcome;

    public sealed record Joined(Guid NodeId, string Name) : JoinOutcome;

    /// <summary>Trying again would not help. <c>Remedy</c>: what a person can do.</summary>
    public sealed record Refused(string Code, string Message, string Remedy) : JoinOutcome
    {
        // said: The API's own words, where it has some.
        public static Refused For(Reason reason, string? said = null) => new(reason.Code, said ?? reason.Message, reason.Remedy);
    }
}

// Redeems a join token for the node's own token, once in a machine's life.
// Guarantees: the token file appears whole, with mode 0600, or not at all; an API that cannot be reached or that fails is asked again without end.
// On a crash before the file is written the next start redeems the same join token again: the API takes it from the same installation until it expires,
// and the token that was lost is worth nothing any more.
public sealed class JoinNode(string apiUrl, string joinTokenFile, string tokenFile, Guid installation, TimeProvider time, ILogger log)
{
    private const int MaxAnswerBytes = 16 * 1024, MaxTokenChars = 128;
    private const string JoinTokenPrefix = "sbj_";
    private static readonly TimeSpan AttemptLimit = TimeSpan.FromSeconds(15);

    public async Task<JoinOutcome> RunAsync(CancellationToken ct)
    {
        if (File.Exists(tokenFile))
            return new JoinOutcome.HasToken();
        if (ReadJoinToken() is not { } joinToken)
            return JoinOutcome.Refused.For(JoinReasons.TokenUnreadable, JoinReasons.TokenUnreadable.Say($"It is {joinTokenFile}."));
        var address = new Uri(new Uri(apiUrl), "/v1/nodes/join");
        using var handler = new SocketsHttpHandler
        {
            // The token goes to the configured address and nowhere else; an API on this machine is never reached through a proxy.
            AllowAutoRedirect = false,
            UseCookies = false,
            UseProxy = !address.IsLoopback,
            ConnectTimeout = AttemptLimit,
            MaxResponseHeadersLength = 16,
        };
        using var http = new HttpMessageInvoker(handler);
        var answer = await Retry().ExecuteAsync(async token => await AskAsync(http, address, joinToken, token), ct);
        if (answer.Joined is not { } joined)
            return Refusal(answer);
        if (!NodeToken.HasForm(joined.Token, out var secret))
            return Unexpected(answer.Status);
        NodeToken.Write(tokenFile, secret);
        log.LogInformation("This machine is node {Node} now ({NodeId})", joined.Name, joined.NodeId);
        return new JoinOutcome.Joined(joined.NodeId, joined.Name);
    }

    private readonly record struct Answer(HttpStatusCode Status, NodeJoined? Joined, string? Code, string? Detail);

    private async Task<Answer> AskAsync(HttpMessageInvoker http, Uri address, string joinToken, CancellationToken ct)
    {
        using var limit = new CancellationTokenSource(AttemptLimit, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(limit.Token, ct);
        using var request = new HttpRequestMessage(HttpMethod.Post, address);
        request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", joinToken);
        request.Content = new ByteArrayContent(JsonSerializer.SerializeToUtf8Bytes(new NodeJoin(installation), NodeJson.Default.NodeJoin));
        request.Content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
        using var response = await http.SendAsync(request, either.Token);
        var body = await ReadAsync(response.Content, either.Token);
        try
        {
            if (response.StatusCode == HttpStatusCode.Created)
                return new Answer(response.StatusCode, JsonSerializer.Deserialize(body.Span, NodeJson.Default.NodeJoined), null, null);
            using var problem = JsonDocument.Parse(body);
            return new Answer(response.StatusCode, null, Text(problem.RootElement, "code"), Text(problem.RootElement, "detail"));
        }
        catch (JsonException)
        {
            return new Answer(response.StatusCode, null, null, null);
        }
    }

    // At most so much of the answer; the rest is not read.
    private static async Task<ReadOnlyMemory<byte>> ReadAsync(HttpContent content, CancellationToken ct)
    {
        var buffer = new byte[MaxAnswerBytes];
        await using var stream = await content.ReadAsStreamAsync(ct);
        return buffer.AsMemory(0, await stream.ReadAtLeastAsync(buffer, buffer.Length, throwOnEndOfStream: false, ct));
    }

    private static string? Text(JsonElement element, string name) =>
        element.ValueKind == JsonValueKind.Object && element.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;

    private static JoinOutcome.Refused Refusal(Answer answer) => (answer.Status, answer.Code) switch
    {
        (HttpStatusCode.Unauthorized, _) => JoinOutcome.Refused.For(JoinReasons.TokenInvalid, answer.Detail),
        (HttpStatusCode.Conflict, { } code) when code == JoinReasons.TokenUsed.Code => JoinOutcome.Refused.For(JoinReasons.TokenUsed, answer.Detail),
        (HttpStatusCode.Conflict, { } code) when code == JoinReasons.NodeInUse.Code => JoinOutcome.Refused.For(JoinReasons.NodeInUse, answer.Detail),
        (HttpStatusCode.Conflict, { } code) => JoinOutcome.Refused.For(JoinReasons.NodeExists with { Code = code }, answer.Detail),
        _ => Unexpected(answer.Status),
    };

    private static JoinOutcome.Refused Unexpected(HttpStatusCode status) =>
        JoinOutcome.Refused.For(JoinReasons.UnexpectedAnswer, JoinReasons.UnexpectedAnswer.Say($"Its status is {(int)status}."));

    private string? ReadJoinToken()
    {
        try
        {
            var file = new FileInfo(joinTokenFile);
            if (!file.Exists || file.Length > 4 * MaxTokenChars)
                return null;
            var text = File.ReadAllText(joinTokenFile).Trim();
            return text.Length <= MaxTokenChars && text.StartsWith(JoinTokenPrefix, StringComparison.Ordinal) && text.All(NodeToken.IsTokenChar) ? text : null;
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    private ResiliencePipeline<Answer> Retry() => new ResiliencePipelineBuilder<Answer> { TimeProvider = time }
        .AddRetry(new RetryStrategyOptions<Answer>
        {
            MaxRetryAttempts = int.MaxValue,
            BackoffType = DelayBackoffType.Exponential,
            Delay = TimeSpan.FromMilliseconds(200),
            MaxDelay = TimeSpan.FromSeconds(15),
            UseJitter = true,
            ShouldHandle = new PredicateBuilder<Answer>()
                .Handle<Exception>(problem => problem is HttpRequestException or IOException or SocketException or OperationCanceledException)
                .HandleResult(answer => answer.Status is HttpStatusCode.RequestTimeout or HttpStatusCode.TooManyRequests or >= HttpStatusCode.InternalServerError),
            OnRetry = attempt =>
            {
                // The first attempts and then one in some minutes: an API that is being started is no news.
                if (attempt.AttemptNumber is 0 or 5 || attempt.AttemptNumber % 30 == 29)
                    log.LogWarning("Not joined yet, trying on: {Problem}", attempt.Outcome.Exception?.Message ?? $"the API answers {(int)attempt.Outcome.Result.Status}");
                return ValueTask.CompletedTask;
            },
        })
        .Build();
}
