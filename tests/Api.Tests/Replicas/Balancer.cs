using System.Collections.Concurrent;
using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace Api.Tests.Replicas;

/// <summary>Passes TCP connections on to replicas in turn, each to the first that takes it; both sides of a connection end together.</summary>
public sealed class Balancer : IAsyncDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly CancellationTokenSource _ends = new();
    private readonly ConcurrentDictionary<Task, bool> _passing = new();
    private readonly Task _accepting;
    private volatile int[] _ports = [];
    private int _turn;

    public Balancer()
    {
        _listener.Start(512);
        Url = new Uri($"http://127.0.0.1:{((IPEndPoint)_listener.LocalEndpoint).Port.ToString(CultureInfo.InvariantCulture)}");
        _accepting = AcceptAsync();
    }

    public Uri Url { get; }

    public void To(IEnumerable<ReplicaProcess> replicas) => _ports = [.. replicas.Select(r => r.Port)];

    private async Task AcceptAsync()
    {
        try
        {
            while (true)
            {
                var passing = PassAsync(await _listener.AcceptSocketAsync(_ends.Token));
                _passing[passing] = true;
                _ = passing.ContinueWith(p => _passing.TryRemove(p, out _), TaskScheduler.Default);
            }
        }
        catch (OperationCanceledException) when (_ends.IsCancellationRequested)
        {
            // The test is over.
        }
    }

    private async Task PassAsync(Socket from)
    {
        using var near = from;
        var (ports, turn) = (_ports, Interlocked.Increment(ref _turn));
        for (var i = 0; i < ports.Length; i++)
        {
            using var far = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
            try
            {
                await far.ConnectAsync(IPAddress.Loopback, ports[(turn + i) % ports.Length], _ends.Token);
            }
            catch (SocketException)
            {
                continue;
            }
            catch (OperationCanceledException)
            {
                return;
            }
            near.NoDelay = true;
            using var both = CancellationTokenSource.CreateLinkedTokenSource(_ends.Token);
            await Task.WhenAll(CopyAsync(near, far, both), CopyAsync(far, near, both));
            return;
        }
    }

    private static async Task CopyAsync(Socket from, Socket to, CancellationTokenSource both)
    {
        var buffer = new byte[16 * 1024];
        try
        {
            for (int read; (read = await from.ReceiveAsync(buffer, both.Token)) > 0;)
                for (var sent = 0; sent < read;) sent += await to.SendAsync(buffer.AsMemory(sent, read - sent), both.Token);
        }
        catch (Exception e) when (e is SocketException or OperationCanceledException or ObjectDisposedException)
        {
            // One side has gone, and so does the other.
        }
        await both.CancelAsync();
    }

    public async ValueTask DisposeAsync()
    {
        await _ends.CancelAsync();
        await _accepting;
        await Task.WhenAll(_passing.Keys);
        _listener.Dispose();
        _ends.Dispose();
    }
}
