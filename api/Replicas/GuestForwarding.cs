using System.Net;
using Api.Data;
using Api.Guests;
using Api.Http;
using Contracts;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.EntityFrameworkCore;
using Yarp.ReverseProxy.Forwarder;

namespace Api.Replicas;

/// <summary>What is done in a guest, and so only at the replica to which its node is connected.</summary>
public sealed record InGuest;

/// <summary>Passes requests for guests on to the replica to which the guest's node is connected, streams and WebSockets included, as the caller sent them: with the caller's own secret, by which the other replica
/// decides anew, so that replicas need not trust each other.
/// Guarantees: passed on once at most; only to a replica that has said lately that it is there, and given up when it says so no more; who cannot be reached is told as 503, and an answer that was cut off is cut off here.
/// A connection is never used again, so one that could not be made has begun nothing. Assumes: a node's row names the replica that took its last stored report.
/// On a crash of either replica the request ends, and with it what it had open in the guest.</summary>
public sealed class GuestForwarding : IDisposable
{
    private static readonly TimeSpan ConnectLimit = TimeSpan.FromSeconds(3);

    // A command may be silent for as long as it may run.
    private static readonly ForwarderRequestConfig Request = new() { Version = HttpVersion.Version11, VersionPolicy = HttpVersionPolicy.RequestVersionExact, ActivityTimeout = TimeSpan.FromSeconds(GuestSessions.MaxTimeoutSeconds + 60) };
    private readonly HttpMessageInvoker client = new(new SocketsHttpHandler
    {
        UseProxy = false,
        UseCookies = false,
        AllowAutoRedirect = false,
        AutomaticDecompression = DecompressionMethods.None,
        ActivityHeadersPropagator = null,
        ConnectTimeout = ConnectLimit,
        PooledConnectionLifetime = TimeSpan.Zero,
    });
    private readonly IHttpForwarder forwarder;
    private readonly GuestRelay relay;
    private readonly ReplicaPresence presence;
    private readonly ReplicaSettings own;
    private readonly GuestSettings limits;
    private readonly IHostApplicationLifetime host;
    private readonly Passing passing;

    public GuestForwarding(IHttpForwarder forwarder, GuestRelay relay, ReplicaPresence presence, ReplicaSettings own, ForwardedCaller caller, GuestSettings limits, IHostApplicationLifetime host) =>
        (this.forwarder, this.relay, this.presence, this.own, this.limits, this.host, passing) = (forwarder, relay, presence, own, limits, host, new Passing(caller));

    /// <summary>Before the body is read, and after it is known who asks.</summary>
    public static Task AnswerWhereItsNodeIs(HttpContext http, RequestDelegate next) =>
        http.GetEndpoint()?.Metadata.GetMetadata<InGuest>() is null || ForwardedCaller.IsForwarded(http) || !Guid.TryParse(http.GetRouteValue("id")?.ToString(), out var sandbox)
            ? next(http)
            : http.RequestServices.GetRequiredService<GuestForwarding>().AnswerAsync(sandbox, http, next);

    private sealed record Holder(Guid NodeId, bool Runs, Guid? ReplicaId, string? Url, bool Lives);

    private async Task AnswerAsync(Guid sandbox, HttpContext http, RequestDelegate next)
    {
        var project = http.User.ProjectId();
        var holder = (await http.RequestServices.GetRequiredService<SandboxDb>().Database.SqlQuery<Holder>($"""
            SELECT n.id AS node_id, s.phase = 'Running' AS runs, r.id AS replica_id, r.url, COALESCE(r.seen_at > now() - {ReplicaPresence.Fresh}, false) AS lives
            FROM sandboxes s JOIN nodes n ON n.id = s.node_id LEFT JOIN replicas r ON r.id = n.replica_id
            WHERE s.id = {sandbox} AND s.project_id = {project}
            """).ToListAsync(http.RequestAborted)).SingleOrDefault();
        // A node that has gone from here, and from nowhere else yet, is refused as such here.
        if (holder is null || relay.IsHere(holder.NodeId) || holder.ReplicaId == own.Id) await next(http);
        else if (holder is { Lives: true, ReplicaId: { } replica, Url: { } url }) await PassOnAsync(http, replica, url);
        // What nobody could do there anyway is refused as such.
        else if (!holder.Runs) await next(http);
        else await (holder.Lives ? GuestProblems.NoAddress(http) : GuestProblems.NodeElsewhere(http)).ExecuteAsync(http);
    }

    private async Task PassOnAsync(HttpContext http, Guid replica, string url)
    {
        if (HttpMethods.IsPut(http.Request.Method) && http.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } limit) limit.MaxRequestBodySize = limits.MaxFileBytes;
        using var ends = CancellationTokenSource.CreateLinkedTokenSource(http.RequestAborted, host.ApplicationStopping, presence.LossOf(replica));
        var error = await forwarder.SendAsync(http, url, client, Request, passing, ends.Token);
        if (error == ForwarderError.None || http.Response.HasStarted || http.RequestAborted.IsCancellationRequested) return;
        // The caller's own body could not be read; the status says why.
        if (error == ForwarderError.RequestBodyClient) return;
        http.Response.Clear();
        var begunNothing = http.Features.Get<IForwarderErrorFeature>()?.Exception is HttpRequestException { HttpRequestError: HttpRequestError.ConnectionError or HttpRequestError.NameResolutionError or HttpRequestError.SecureConnectionError };
        await (begunNothing ? GuestProblems.ReplicaNotReached(http) : GuestProblems.NotAnswering(http)).ExecuteAsync(http);
    }

    public void Dispose() => client.Dispose();

    private sealed class Passing(ForwardedCaller caller) : HttpTransformer
    {
        public override async ValueTask TransformRequestAsync(HttpContext httpContext, HttpRequestMessage proxyRequest, string destinationPrefix, CancellationToken cancellationToken)
        {
            await base.TransformRequestAsync(httpContext, proxyRequest, destinationPrefix, cancellationToken);
            // A certificate is held against the host that is asked for, which is the replica's own.
            proxyRequest.Headers.Host = null;
            // Compared with the host here; there it would be foreign.
            proxyRequest.Headers.Remove("Origin");
            proxyRequest.Headers.TryAddWithoutValidation(ForwardedCaller.Header, caller.Seal(httpContext));
            // As a GET without a body by now (Headers.AnswerHead).
            if (httpContext.Response.Body == Stream.Null) proxyRequest.Method = HttpMethod.Head;
        }

        public override ValueTask<bool> TransformResponseAsync(HttpContext httpContext, HttpResponseMessage? proxyResponse, CancellationToken cancellationToken)
        {
            // The other replica sets the same ones, and they would stand there twice.
            if (proxyResponse is not null) httpContext.Response.Headers.Clear();
            return base.TransformResponseAsync(httpContext, proxyResponse, cancellationToken);
        }
    }
}
