using Api.Http;
using Testing;
using Xunit;

namespace Api.Tests.Http;

public sealed class HealthProbeTests
{
    [Theory]
    [InlineData(null, "http://localhost:5000/health")]
    [InlineData("http://*:8080", "http://127.0.0.1:8080/health")]
    [InlineData("http://+:8080/", "http://127.0.0.1:8080/health")]
    [InlineData("http://0.0.0.0:8080", "http://127.0.0.1:8080/health")]
    [InlineData("http://[::]:8080", "http://[::1]:8080/health")]
    [InlineData("https://*:8443; http://10.0.0.2:80", "http://10.0.0.2/health")]
    [InlineData("https://*:8443", null)]
    [InlineData("nonsense", null)]
    public void Address_OfUrls_IsThis(string? urls, string? asked) => Assert.Equal(asked, HealthProbe.AddressOf(urls)?.ToString());

    [Fact]
    public async Task Run_WhenTheServiceEndsOrNeverWas_FailsWithASentence()
    {
        using var problems = new StringWriter();
        Assert.Equal(1, await HealthProbe.RunAsync($"http://127.0.0.1:{FreePort.Next()}", problems));
        Assert.Contains("does not answer", problems.ToString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("200 OK", 0)]
    [InlineData("503 Service Unavailable", 1)]
    public async Task Run_EndsAsTheServiceAnswers(string status, int exit)
    {
        using var socket = new System.Net.Sockets.TcpListener(System.Net.IPAddress.Loopback, 0);
        socket.Start();
        var answer = Task.Run(async () =>
        {
            using var client = await socket.AcceptTcpClientAsync();
            var stream = client.GetStream();
            var request = new byte[4096];
            var read = await stream.ReadAsync(request);
            await stream.WriteAsync(System.Text.Encoding.ASCII.GetBytes($"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
            return System.Text.Encoding.ASCII.GetString(request, 0, read);
        });
        using var problems = new StringWriter();
        Assert.Equal(exit, await HealthProbe.RunAsync($"http://{socket.LocalEndpoint}", problems));
        Assert.StartsWith("GET /health HTTP/1.1", await answer, StringComparison.Ordinal);
        Assert.Equal(exit == 0, problems.ToString().Length == 0);
    }
}
