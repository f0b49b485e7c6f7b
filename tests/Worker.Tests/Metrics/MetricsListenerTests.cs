using System.Net;
using System.Net.Sockets;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Worker.Faults;
using Worker.Metrics;
using Worker.Sync;
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

    private static MetricsListener New(string address, FaultSampling sampling, TimeProvider time) => new(
        new WorkerOptions { MetricsAddress = address }, sampling, new SampleOutbox(TimeProvider.System, NullLogger<SampleOutbox>.Instance), time, NullLogger<MetricsListener>.Instance);

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
        using var listener = New(address, sampling, TimeProvider.System);
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

    /// <summary>It asks again and again and takes no answer, until the kernel holds no more of them.</summary>
    [Fact]
    public async Task Get_ByOneWhoDoesNotRead_CostsOthersTenSecondsAtMost()
    {
        var ct = TestContext.Current.CancellationToken;
        var (port, time) = (FreePort(), new FakeTimeProvider());
        using var sampling = new FaultSampling(null!, TimeProvider.System, NullLogger<FaultSampling>.Instance);
        using var listener = New($"127.0.0.1:{port}", sampling, time);
        await listener.StartAsync(ct);
        await Eventually.TrueAsync(() => CanConnect(port), "it listens");
        using var deaf = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { ReceiveBufferSize = 4096 };
        await deaf.ConnectAsync(IPAddress.Loopback, port, ct);
        var asking = AskWithoutEndAsync(deaf, ct);
        await Eventually.TrueAsync(() =>
        {
            time.Advance(TimeSpan.FromSeconds(10));
            return asking.IsCompleted;
        }, "who does not read is let go");
        Assert.IsType<SocketException>(await asking);
        using var client = new HttpClient(new SocketsHttpHandler());
        using var answer = await client.GetAsync(new Uri($"http://127.0.0.1:{port}/metrics"), ct);
        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        await listener.StopAsync(ct);
    }

    private static async Task<Exception?> AskWithoutEndAsync(Socket socket, CancellationToken ct)
    {
        var request = "GET /metrics HTTP/1.1\r\nHost: metrics\r\n\r\n"u8.ToArray();
        return await Record.ExceptionAsync(async () =>
        {
            while (true)
                await socket.SendAsync(request, ct);
        });
    }
}
