using System.Net;

namespace Worker.Metrics;

/// <summary>The verb <c>health</c>, for whatever watches a container: asks for the metrics of the worker that runs with the same settings on this machine.
/// 0 says that the worker runs and samples its guests, not that the API knows its node as Ready: <c>GET /v1/nodes</c> says that.</summary>
public static class HealthProbe
{
    public const string Verb = "health";
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(4);

    /// <summary>Null when it is healthy, else what is wrong.</summary>
    public static async Task<string?> ProblemAsync(IPEndPoint? metrics)
    {
        if (metrics is null)
            return "Worker__MetricsAddress is not set: there is nothing to ask";
        using var client = new HttpClient(new SocketsHttpHandler { UseProxy = false }) { Timeout = Limit };
        try
        {
            using var answer = await client.GetAsync(new Uri($"http://{Loopback(metrics)}/metrics"));
            return answer.IsSuccessStatusCode ? null : $"{metrics} answers {(int)answer.StatusCode}";
        }
        catch (Exception problem) when (problem is HttpRequestException or OperationCanceledException)
        {
            return $"{metrics} does not answer: {problem.Message}";
        }
    }

    internal static IPEndPoint Loopback(IPEndPoint address) =>
        address.Address.Equals(IPAddress.Any) ? new IPEndPoint(IPAddress.Loopback, address.Port)
        : address.Address.Equals(IPAddress.IPv6Any) ? new IPEndPoint(IPAddress.IPv6Loopback, address.Port)
        : address;
}
