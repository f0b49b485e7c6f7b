using System.Net;
using System.Net.Sockets;
using System.Text;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Worker.Faults;
using Worker.Images;
using Worker.Metrics;
using Worker.Sync;
using Worker.Tests.Images;
using Xunit;

namespace Worker.Tests.Metrics;

public sealed class MetricsListenerTests
{
    private static int FreePort()
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return ((IPEndPoint)socket.LocalEndPoint!).Port;
    }

    private static bool CanConnect(int port)
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            socket.Connect(IPAddress.Loopback, port);
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    [Theory]
    [InlineData("127.0.0.1:9464", "http://127.0.0.1:9464/")]
    [InlineData("0.0.0.0:9464", "http://*:9464/")]
    [InlineData("[::]:9464", "http://*:9464/")]
    [InlineData("[::1]:9464", "http://[::1]:9464/")]
    public void Prefix_OfAnAddress_IsThis(string address, string prefix) => Assert.Equal(prefix, MetricsListener.Prefix(IPEndPoint.Parse(address)));

    [Theory]
    [InlineData("localhost:9464")]
    [InlineData("127.0.0.1")]
    [InlineData("9464")]
    [InlineData("")]
    public void Problems_WhenTheAddressIsNone_SaysSo(string address) =>
        Assert.Contains(new WorkerOptions { MetricsAddress = address }.LocalProblems(), p => p.Contains("Worker__MetricsAddress", StringComparison.Ordinal));

    [Fact]
    public async Task Get_OnlyMetricsAreAnswered()
    {
        var ct = TestContext.Current.CancellationToken;
        var address = $"127.0.0.1:{FreePort()}";
        using var sampling = new FaultSampling(null!, TimeProvider.System, NullLogger<FaultSampling>.Instance);
        using var directory = new TemporaryDirectory();
        await using var images = new ImageCache(directory.FullPath, 1 << 20, new StandInSource(), TimeProvider.System, NullLogger.Instance);
        using var listener = new MetricsListener(new WorkerOptions { MetricsAddress = address }, sampling, new SampleOutbox(TimeProvider.System, NullLogger<SampleOutbox>.Instance), images, TimeProvider.System, NullLogger<MetricsListener>.Instance);
        await listener.StartAsync(ct);
        using var client = new HttpClient(new SocketsHttpHandler()) { BaseAddress = new Uri($"http://{address}") };
        await Eventually.TrueAsync(() => CanConnect(client.BaseAddress.Port), "it listens");
        using var metrics = await client.GetAsync("/metrics", ct);
        Assert.Equal(("text/plain", HttpStatusCode.OK), (metrics.Content.Headers.ContentType!.MediaType, metrics.StatusCode));
        Assert.Contains("# TYPE sandbox_guest_page_faults_total counter\n", await metrics.Content.ReadAsStringAsync(ct), StringComparison.Ordinal);
        Assert.Contains("# TYPE sandbox_fault_storm gauge\n", await metrics.Content.ReadAsStringAsync(ct), StringComparison.Ordinal);
        Assert.Contains("\nsandbox_fault_samples_lost_total 0\n", await metrics.Content.ReadAsStringAsync(ct), StringComparison.Ordinal);
        using var elsewhere = await client.GetAsync("/etc/passwd", ct);
        using var posted = await client.PostAsync("/metrics", null, ct);
        Assert.Equal((HttpStatusCode.NotFound, HttpStatusCode.MethodNotAllowed), (elsewhere.StatusCode, posted.StatusCode));
        await listener.StopAsync(ct);
        await Assert.ThrowsAsync<HttpRequestException>(() => client.GetAsync("/metrics", ct));
    }

    /// <summary>More than the kernel holds for a reader.</summary>
    [Fact]
    public async Task Write_ToOneWhoDoesNotRead_EndsAfterTenSeconds()
    {
        var ct = TestContext.Current.CancellationToken;
        var (port, time, answer) = (FreePort(), new FakeTimeProvider(), new byte[64 << 20]);
        using var listener = new HttpListener { Prefixes = { $"http://127.0.0.1:{port}/" } };
        listener.Start();
        using var deaf = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        await deaf.ConnectAsync(IPAddress.Loopback, port, ct);
        await deaf.SendAsync(Encoding.ASCII.GetBytes($"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"), ct);
        var context = await listener.GetContextAsync().WaitAsync(ct);
        context.Response.ContentLength64 = answer.Length;
        var writing = MetricsListener.WriteAsync(context.Response, answer, time, ct);
        time.Advance(TimeSpan.FromSeconds(9));
        Assert.False(writing.IsCompleted);
        time.Advance(TimeSpan.FromSeconds(1));
        await writing.WaitAsync(TimeSpan.FromSeconds(30), ct);
    }
}
