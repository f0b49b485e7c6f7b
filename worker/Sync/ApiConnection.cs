using System.Net;
using System.Net.WebSockets;
using Contracts;
using Microsoft.AspNetCore.SignalR.Client;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Polly;
using Polly.Retry;

namespace Worker.Sync;

// How the worker reaches the API's hub: by its token, which is read at each attempt, so that one that was rotated or written by an operator is taken up.
// Guarantees: an API that cannot be reached is asked again without end, at most two seconds apart; a token that the API says is worth nothing is shown no more than once in ten minutes.
internal sealed class ApiConnection(Uri hub, NodeToken token, TimeProvider time, ILogger log)
{
    private static readonly TimeSpan LookPeriod = TimeSpan.FromSeconds(2);
    /// <summary>A token that is known to be worth nothing is tried so rarely, unless its file is written anew.</summary>
    private static readonly TimeSpan RefusedPause = TimeSpan.FromMinutes(10);

    /// <summary>Null: connected. Else why the token never will be taken.</summary>
    public async Task<Reason?> OpenAsync(HubConnection connection, CancellationToken ct) => await Reconnect().ExecuteAsync(async each => await ConnectAsync(connection, each), ct);

    // What may be taken later, or is one of two tokens, is the exception's. A WebSocket's client does not tell a refusal from a network's failure, so the API is asked.
    private async Task<Reason?> ConnectAsync(HubConnection connection, CancellationToken ct)
    {
        try
        {
            await connection.StartAsync(ct);
            return null;
        }
        catch (Exception problem) when (problem is HttpRequestException or WebSocketException)
        {
            if (await TokenRefusal.AskAsync(hub, await token.ReadAsync(), ct) is not { } reason)
                throw;
            if (token.Refused() || reason == JoinReasons.TokenUnknown)
                throw new HttpRequestException(problem.Message, problem, HttpStatusCode.Unauthorized);
            return reason;
        }
    }

    public async Task WaitForAnotherTokenAsync(CancellationToken ct)
    {
        var (began, written) = (time.GetTimestamp(), token.WrittenAt);
        while (time.GetElapsedTime(began) < RefusedPause && token.WrittenAt == written)
            await Task.Delay(LookPeriod, time, ct);
    }

    public HubConnection Build() => new HubConnectionBuilder()
        .WithUrl(hub, http =>
        {
            http.AccessTokenProvider = async () => await token.ReadAsync();
            http.SkipNegotiation = true;
            // An API on this machine is never reached through a proxy.
            if (http.Url!.IsLoopback)
                http.WebSocketConfiguration = socket => socket.Proxy = null;
            http.Transports = Microsoft.AspNetCore.Http.Connections.HttpTransportType.WebSockets;
        })
        .AddJsonProtocol(json => json.PayloadSerializerOptions.TypeInfoResolverChain.Insert(0, NodeJson.Default))
        .Build();

    private ResiliencePipeline Reconnect() => new ResiliencePipelineBuilder { TimeProvider = time }
        .AddRetry(new RetryStrategyOptions
        {
            MaxRetryAttempts = int.MaxValue,
            BackoffType = DelayBackoffType.Exponential,
            Delay = TimeSpan.FromMilliseconds(100),
            MaxDelay = TimeSpan.FromSeconds(2),
            UseJitter = true,
            ShouldHandle = new PredicateBuilder().Handle<Exception>(problem => problem is not OperationCanceledException { CancellationToken.IsCancellationRequested: true }),
            OnRetry = attempt =>
            {
                // The first attempts and then one a minute: an API that is being restarted is no news.
                if (attempt.AttemptNumber is 0 or 5 || attempt.AttemptNumber % 30 == 29)
                    log.LogWarning("{What}, trying on: {Problem}", attempt.Outcome.Exception is HttpRequestException { StatusCode: HttpStatusCode.Unauthorized }
                        ? $"{JoinReasons.TokenUnknown.Message} {JoinReasons.TokenUnknown.Remedy}" : "The API cannot be reached", attempt.Outcome.Exception?.Message);
                return ValueTask.CompletedTask;
            },
        })
        .Build();
}
