using System.Net;
using System.Text;
using Contracts;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Worker.Channels;
using Worker.Faults;
using Worker.Images;
using Worker.Sync;

namespace Worker.Metrics;

// GET /metrics for Prometheus, where Worker__MetricsAddress says; nowhere without it. Read only and without sign-in, as exporters are: whoever reaches the address
// reads counts by sandbox id. Guarantees: a request that fails costs nobody else anything; one is answered at a time, and
// who does not read its answer in time gets none. A crash of the listener ends no guest.
public sealed class MetricsListener(WorkerOptions options, FaultSampling sampling, SampleOutbox outbox, ImageCache images, TimeProvider time, ILogger<MetricsListener> log) : BackgroundService
{
    private static readonly TimeSpan ReadLimit = TimeSpan.FromSeconds(10);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        if (options.MetricsEndPoint() is not { } address)
            return;
        using var listener = new HttpListener();
        listener.Prefixes.Add(Prefix(address));
        try
        {
            listener.Start();
        }
        catch (HttpListenerException problem)
        {
            log.LogError("Nobody can read metrics at {Address}: {Problem}", address, problem.Message);
            return;
        }
        using var stop = stoppingToken.Register(listener.Stop);
        while (!stoppingToken.IsCancellationRequested)
            await AnswerAsync(listener, stoppingToken);
    }

    /// <summary>Any name that the host is called by will do where it listens on every address.</summary>
    internal static string Prefix(IPEndPoint address) =>
        $"http://{(address.Address.Equals(IPAddress.Any) || address.Address.Equals(IPAddress.IPv6Any) ? "*" : address.Address.AddressFamily == System.Net.Sockets.AddressFamily.InterNetworkV6 ? $"[{address.Address}]" : address.Address.ToString())}:{address.Port}/";

    /// <summary>Closing an answer waits for its reader too: only an aborted one does not.</summary>
    internal static async Task WriteAsync(HttpListenerResponse response, byte[] bytes, TimeProvider time, CancellationToken ct)
    {
        try
        {
            await response.OutputStream.WriteAsync(bytes, ct).AsTask().WaitAsync(ReadLimit, time, ct);
        }
        catch (Exception problem) when (problem is TimeoutException or OperationCanceledException)
        {
            response.Abort();
        }
    }

    private async Task AnswerAsync(HttpListener listener, CancellationToken ct)
    {
        try
        {
            var context = await listener.GetContextAsync();
            using var response = context.Response;
            if (context.Request.HttpMethod is not ("GET" or "HEAD") || context.Request.Url?.AbsolutePath != "/metrics")
            {
                response.StatusCode = context.Request.Url?.AbsolutePath == "/metrics" ? 405 : 404;
                return;
            }
            var text = new MetricText();
            FaultMetrics.Write(text, sampling.Latest);
            StormMetrics.Write(text, sampling.LatestStorms);
            text.Begin(NodeMetrics.SamplesLost);
            text.Add(outbox.SamplesLost);
            text.Begin(NodeMetrics.ImageCacheBytes);
            text.Add(images.Bytes);
            text.Begin(NodeMetrics.ImageFetches);
            text.Add(images.FetchedFiles, ("result", "fetched"));
            text.Add(images.FailedFetches, ("result", "failed"));
            text.Begin(NodeMetrics.ImageEvictions);
            text.Add(images.EvictedFiles);
            text.Begin(NodeMetrics.RefusedInput);
            foreach (var peer in Enum.GetValues<UntrustedPeer>())
                text.Add(RefusedInput.Of(peer), ("from", peer.ToString().ToLowerInvariant()));
            var bytes = Encoding.UTF8.GetBytes(text.ToString());
            response.ContentType = MetricText.ContentType;
            response.ContentLength64 = bytes.Length;
            if (context.Request.HttpMethod == "GET")
                await WriteAsync(response, bytes, time, ct);
        }
        catch (Exception problem) when (problem is HttpListenerException or IOException or ObjectDisposedException or InvalidOperationException or OperationCanceledException)
        {
            if (!ct.IsCancellationRequested)
                log.LogDebug("A request for metrics failed: {Problem}", problem.Message);
        }
    }
}
