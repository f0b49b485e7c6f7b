using System.Net;
using Worker.Metrics;
using Xunit;

namespace Worker.Tests.Metrics;

public sealed class HealthProbeTests
{
    [Theory]
    [InlineData("0.0.0.0:9464", "127.0.0.1:9464")]
    [InlineData("[::]:9464", "[::1]:9464")]
    [InlineData("10.1.2.3:9464", "10.1.2.3:9464")]
    public void Loopback_OfAnAddress_IsThis(string address, string asked) => Assert.Equal(IPEndPoint.Parse(asked), HealthProbe.Loopback(IPEndPoint.Parse(address)));

    [Theory]
    [InlineData(200, null)]
    [InlineData(404, "answers 404")]
    public async Task Problem_IsWhatTheAnswerSays(int status, string? problem)
    {
        using var socket = new System.Net.Sockets.TcpListener(IPAddress.Loopback, 0);
        socket.Start();
        var answer = Task.Run(async () =>
        {
            using var client = await socket.AcceptTcpClientAsync(TestContext.Current.CancellationToken);
            var stream = client.GetStream();
            _ = await stream.ReadAsync(new byte[4096], TestContext.Current.CancellationToken);
            await stream.WriteAsync(System.Text.Encoding.ASCII.GetBytes($"HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"), TestContext.Current.CancellationToken);
        }, TestContext.Current.CancellationToken);
        var found = await HealthProbe.ProblemAsync((IPEndPoint)socket.LocalEndpoint);
        await answer;
        if (problem is null) Assert.Null(found);
        else Assert.Contains(problem, found, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Problem_WhenNobodyListens_IsThat() =>
        Assert.Contains("does not answer", await HealthProbe.ProblemAsync(IPEndPoint.Parse("127.0.0.1:1")), StringComparison.Ordinal);

    [Fact]
    public async Task Problem_WithoutAnAddress_NamesTheSetting() => Assert.Contains("Worker__MetricsAddress", await HealthProbe.ProblemAsync(null), StringComparison.Ordinal);
}
