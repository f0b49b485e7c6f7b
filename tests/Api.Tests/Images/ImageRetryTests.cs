using System.Net;
using System.Net.Sockets;
using Api.Data;
using Api.Images;
using Api.Tests.NodeLife;
using Api.Webhooks;
using Contracts;
using Microsoft.AspNetCore.Mvc.Testing;
using Microsoft.AspNetCore.TestHost;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;
using Testing;
using Xunit;
using static Api.Tests.Images.ImageCalls;

namespace Api.Tests.Images;

/// <summary>Servers of images that fail for a while, by a clock that the tests move.</summary>
public sealed class ImageRetryTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    private readonly FakeTimeProvider time = new(TimeProvider.System.GetUtcNow());

    private WebApplicationFactory<SandboxDb> NewReplica() => service.NewReplica(("Images:AllowedNetworks", "127.0.0.0/8"), ("Images:AllowHttp", "true"))
        .WithWebHostBuilder(b => b.ConfigureTestServices(s => s.AddSingleton<TimeProvider>(time).AddSingleton<ResolveName>((_, _) => throw new SocketException((int)SocketError.HostNotFound))));

    /// <summary>When it is tried again after it has failed so often, as it stands in the database: nobody has its claim.</summary>
    private async Task<DateTimeOffset> DueAsync(Guid id, int attempts)
    {
        await Eventually.Async(async () => await service.ScalarAsync($"SELECT count(*) FROM image_downloads WHERE image_id = '{id}' AND attempts = {attempts} AND claim IS NULL AND claims = 0") == 1, $"it has failed {attempts} times", Patience);
        return DateTimeOffset.FromUnixTimeMilliseconds(await service.ScalarAsync($"SELECT ceil(extract(epoch FROM due_at) * 1000) FROM image_downloads WHERE image_id = '{id}'"));
    }

    [Theory]
    [InlineData("busy", "StatusRefused", 1200, 1200)]
    [InlineData("patient", "StatusRefused", 3600, 3600)]
    [InlineData("hasty", "StatusRefused", 2, 2.2)]
    [InlineData("broken", "StatusRefused", 2, 2.2)]
    [InlineData("late", "StatusRefused", 2, 2.2)]
    [InlineData("cut", "ConnectFailed", 2, 2.2)]
    [InlineData("reset", "ConnectFailed", 2, 2.2)]
    [InlineData("closed", "ConnectFailed", 2, 2.2)]
    [InlineData("unresolved", "NameNotResolved", 2, 2.2)]
    public async Task Download_ThatMayPass_WaitsAndSaysWhy_AndIsTriedAgainWhenDue_AlsoByAnotherReplica(string name, string reason, double leastSeconds, double mostSeconds)
    {
        await using var server = await FileServer.StartAsync();
        var kernel = Random(1000);
        void Answer(string path, int status, string? retryAfter = null) => server.Answers[path] = http =>
        {
            http.Response.StatusCode = status;
            if (retryAfter is not null) http.Response.Headers.RetryAfter = retryAfter;
            return Task.CompletedTask;
        };
        Answer("busy", 429, "1200");
        Answer("patient", 503, "100000");
        Answer("hasty", 503, "1");
        Answer("broken", 500);
        Answer("late", 408);
        server.Answers["cut"] = async http =>
        {
            http.Response.ContentLength = kernel.Length;
            await http.Response.Body.WriteAsync(kernel.AsMemory(0, 500));
            await http.Response.Body.FlushAsync();
            http.Abort();
        };
        server.Answers["reset"] = http => { http.Abort(); return Task.CompletedTask; };
        var url = name switch { "closed" => $"http://127.0.0.1:{ClosedPort()}/kernel", "unresolved" => "http://nowhere.test:8080/kernel", _ => $"{server.Url}/{name}" };
        Guid id;
        string key;
        DateTimeOffset due;
        await using (var first = NewReplica())
        {
            using var client = await service.TenantClientAsync($"passing-{name}", first);
            key = client.DefaultRequestHeaders.Authorization!.Parameter!;
            id = (await client.RegisterAsync(OfKernel("own", kernel, url))).Id!.Value;
            due = await DueAsync(id, 1);
            var waiting = await client.ImageAsync(id);
            Assert.Equal((ImagePhase.Waiting, reason), (waiting.Phase, waiting.Failure!.Reason));
            Assert.InRange((due - waiting.Failure.At).TotalSeconds, leastSeconds, mostSeconds + 0.002);
            Assert.Contains($"It is tried again at {due.UtcDateTime:yyyy-MM-dd'T'HH:mm}", waiting.Failure.Message, StringComparison.Ordinal);
        }
        await using var second = NewReplica();
        using var other = service.ClientOf(key, second);
        if (name is not ("closed" or "unresolved")) server.Give(name, kernel);
        time.Advance(due - time.GetUtcNow() - TimeSpan.FromSeconds(1));
        await second.PassAsync<ImageDownloads>(time);
        Assert.Equal(due, await DueAsync(id, 1));
        time.Advance(TimeSpan.FromSeconds(1));
        await second.PassAsync<ImageDownloads>(time);
        if (name is "closed" or "unresolved")
        {
            await DueAsync(id, 2);
            // Uploading helps always.
            Assert.Equal("200", await other.UploadAsync(id, "kernel", kernel));
        }
        Assert.Null((await other.UntilAsync(id, ImagePhase.Ready)).Failure);
        Assert.Equal(0, await service.ScalarAsync($"SELECT count(*) FROM image_downloads WHERE image_id = '{id}'"));
    }

    [Fact]
    public async Task Download_OfAServerThatStaysBroken_IsTriedWithGrowingPauses_ForMoreThanAQuarterOfAnHour()
    {
        await using var server = await FileServer.StartAsync();
        await using var replica = NewReplica();
        using var client = await service.TenantClientAsync("stays-broken", replica);
        server.Answers["kernel"] = http => { http.Response.StatusCode = 502; return Task.CompletedTask; };
        var began = time.GetUtcNow();
        var id = (await client.RegisterAsync(OfKernel("own", Random(1000), $"{server.Url}/kernel"))).Id!.Value;
        var last = TimeSpan.Zero;
        for (var attempts = 1; attempts < DownloadSchedule.MaxAttempts; attempts++)
        {
            var pause = await DueAsync(id, attempts) - time.GetUtcNow();
            Assert.True(pause > last, $"{pause} after {last}");
            Assert.Equal(attempts, server.Asked.Count);
            last = pause;
            time.Advance(pause);
            await replica.PassAsync<ImageDownloads>(time);
        }
        var failed = await client.UntilAsync(id, ImagePhase.Failed);
        Assert.Equal(("StatusRefused", "The server does not give the file. It is the kernel. It answers 502."), (failed.Failure!.Reason, failed.Failure.Message));
        Assert.Equal(DownloadSchedule.MaxAttempts, server.Asked.Count);
        Assert.True(failed.Failure.At - began > TimeSpan.FromMinutes(15), $"{failed.Failure.At - began}");
    }

    private static int ClosedPort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
