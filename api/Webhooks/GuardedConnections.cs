using System.Net;
using System.Net.Sockets;

namespace Api.Webhooks;

/// <summary>The addresses of a name; tests put another one in.</summary>
public delegate Task<IPAddress[]> ResolveName(string host, CancellationToken ct);

/// <summary>Thrown while connecting; <c>Reason</c> is a code of <see cref="WebhookReasons"/>.</summary>
public sealed class ConnectionNotMade(string reason, Exception? inner = null) : IOException(reason, inner)
{
    public string Reason { get; } = reason;
}

/// <summary>Makes the connections of webhooks and of downloads of images, so that a tenant's url does not reach what only this machine can.
/// Guarantees: a connection goes to an address that was judged itself (<see cref="AddressRules"/>), after its name was resolved: a name that resolves to something else the next time gains nothing.</summary>
public sealed class GuardedConnections(ConnectionRules rules, ResolveName resolve)
{
    private const int MostAddresses = 4;

    /// <summary>Its connections are these. It follows no redirect, keeps no cookie, asks no proxy, and unpacks nothing; the caller disposes of it.</summary>
    public HttpMessageInvoker NewClient() => new(new SocketsHttpHandler
    {
        ConnectCallback = ConnectAsync,
        ConnectTimeout = TimeSpan.FromSeconds(10),
        AllowAutoRedirect = false,
        UseCookies = false,
        UseProxy = false,
        AutomaticDecompression = DecompressionMethods.None,
        ActivityHeadersPropagator = null,
        MaxResponseHeadersLength = 16,
        MaxResponseDrainSize = 0,
        // A name that moves is asked for again.
        PooledConnectionLifetime = TimeSpan.FromMinutes(2),
        PooledConnectionIdleTimeout = TimeSpan.FromSeconds(30),
    });

    private async ValueTask<Stream> ConnectAsync(SocketsHttpConnectionContext context, CancellationToken ct)
    {
        var host = context.DnsEndPoint.Host;
        var addresses = IPAddress.TryParse(host, out var literal) ? [literal] : await ResolveAsync(host, ct);
        var allowed = addresses.Where(a => AddressRules.Allows(a, rules.AllowedNetworks)).Take(MostAddresses).ToList();
        if (allowed.Count == 0) throw new ConnectionNotMade(addresses.Length == 0 ? WebhookReasons.NameNotResolved : WebhookReasons.AddressRefused);
        SocketException? last = null;
        foreach (var address in allowed)
        {
            var socket = new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
            try
            {
                await socket.ConnectAsync(new IPEndPoint(address, context.DnsEndPoint.Port), ct);
                return new NetworkStream(socket, ownsSocket: true);
            }
            catch (SocketException e)
            {
                socket.Dispose();
                last = e;
            }
            catch (OperationCanceledException)
            {
                socket.Dispose();
                throw;
            }
        }
        throw new ConnectionNotMade(WebhookReasons.ConnectFailed, last);
    }

    private async Task<IPAddress[]> ResolveAsync(string host, CancellationToken ct)
    {
        try
        {
            return await resolve(host, ct);
        }
        catch (SocketException e)
        {
            throw new ConnectionNotMade(WebhookReasons.NameNotResolved, e);
        }
    }
}
