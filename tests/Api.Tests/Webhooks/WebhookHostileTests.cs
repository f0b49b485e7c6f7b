using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using System.Text;
using Api.Webhooks;
using Contracts;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.TestHost;
using Microsoft.Extensions.DependencyInjection;
using Testing;
using Xunit;

namespace Api.Tests.Webhooks;

/// <summary>Receivers that want to do harm, and addresses that are none of a tenant's business.</summary>
public sealed class WebhookHostileTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;
    private static readonly TimeSpan _patience = TimeSpan.FromSeconds(40);

    [Fact]
    public async Task Deliver_WhenTheAnswerNeverEnds_CountsItsStatusAndReadsNoMore()
    {
        await using var bench = await WebhookBench.StartAsync(service);
        await using var endless = await WebhookReceiver.StartAsync();
        await using var drip = await WebhookReceiver.StartAsync();
        long sent = 0;
        var (endlessEnded, dripEnded) = (new TaskCompletionSource(), new TaskCompletionSource());
        endless.Answer = async (http, _) =>
        {
            var chunk = new byte[64 * 1024];
            try
            {
                while (true) { await http.Response.Body.WriteAsync(chunk, http.RequestAborted); Interlocked.Add(ref sent, chunk.Length); }
            }
            catch (Exception e) when (e is OperationCanceledException or IOException)
            {
                endlessEnded.TrySetResult();
            }
        };
        drip.Answer = async (http, _) =>
        {
            using var second = new PeriodicTimer(TimeSpan.FromMilliseconds(200));
            try
            {
                while (await second.WaitForNextTickAsync(http.RequestAborted)) { await http.Response.WriteAsync("."); await http.Response.Body.FlushAsync(http.RequestAborted); }
            }
            catch (Exception e) when (e is OperationCanceledException or IOException)
            {
                dripEnded.TrySetResult();
            }
        };
        var ids = new[] { (await bench.CreateAsync(endless.Url)).Webhook.Id, (await bench.CreateAsync(drip.Url)).Webhook.Id };
        await bench.HappenAsync(Guid.NewGuid());
        foreach (var id in ids) await bench.UntilAsync(id, d => d.State == DeliveryState.Succeeded, "its status counts");
        // The connection is closed in the middle of it.
        await Task.WhenAll(endlessEnded.Task, dripEnded.Task).WaitAsync(_patience, Ct);
        Assert.StartsWith("..", (await bench.DeliveriesAsync(ids[1]))[0].ResponseExcerpt, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("HTTP/1.1 200 OK\r\nx: ", true, "NotHttp")]
    [InlineData("220 mail.example ESMTP\r\n", false, "NotHttp")]
    [InlineData("", false, "ConnectFailed")]
    public async Task Deliver_WhenWhatListensIsNoHttp_SaysSo(string says, bool endlessHeader, string reason)
    {
        await using var bench = await WebhookBench.StartAsync(service);
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var serving = Task.Run(async () =>
        {
            using var peer = await listener.AcceptTcpClientAsync(Ct);
            await using var stream = peer.GetStream();
            await stream.ReadAtLeastAsync(new byte[4096], 1, cancellationToken: Ct);
            await stream.WriteAsync(Encoding.ASCII.GetBytes(says), Ct);
            try
            {
                for (var n = 0; endlessHeader && n < 1000; n++) await stream.WriteAsync(new byte[4096].Select(_ => (byte)'x').ToArray(), Ct);
            }
            catch (IOException)
            {
                // Cut off, as it should be.
            }
        }, Ct);
        var id = (await bench.CreateAsync($"http://127.0.0.1:{((IPEndPoint)listener.LocalEndpoint).Port}/")).Webhook.Id;
        await bench.HappenAsync(Guid.NewGuid());
        var failed = await bench.UntilAsync(id, d => d.Attempts == 1, "it failed");
        Assert.Equal((reason, (int?)null, DeliveryState.Pending), (failed.LastFailure!.Reason, failed.LastStatus, failed.State));
        await serving;
    }

    [Fact]
    public async Task Deliver_WhenReceiversHang_OthersGetEverything_AndTheHangingAreCutOff()
    {
        await using var bench = await WebhookBench.StartAsync(service);
        await using var hangs = await WebhookReceiver.StartAsync();
        await using var works = await WebhookReceiver.StartAsync();
        hangs.Answer = (http, _) => Task.Delay(Timeout.Infinite, http.RequestAborted);
        var hanging = new List<Guid>();
        for (var n = 0; n < 20; n++) hanging.Add((await bench.CreateAsync(hangs.Url)).Webhook.Id);
        await bench.HappenAsync([.. Enumerable.Range(0, 30).Select(_ => Guid.NewGuid())]);
        await Eventually.Async(() => hangs.Received.Count >= SendingRooms.SlowPlaces, "they hold what they can", _patience);
        var working = (await bench.CreateAsync(works.Url)).Webhook.Id;
        for (var n = 0; n < 5; n++) await bench.HappenAsync([.. Enumerable.Range(0, 40).Select(_ => Guid.NewGuid())]);
        await Eventually.Async(() => works.Received.Count == 200, "the other has got everything", TimeSpan.FromSeconds(60));
        await Eventually.Async(async () => (await bench.DeliveriesAsync(working, "&state=Succeeded")).Count == 200, "and it is recorded", _patience);
        var cut = await Eventually.GetAsync(async () => (await bench.DeliveriesAsync(hanging[0])).FirstOrDefault(d => d.Attempts > 0), "one is cut off", _patience);
        Assert.Equal("Timeout", cut.LastFailure!.Reason);
    }

    [Fact]
    public async Task Deliver_ToANameThatTurnsInward_IsRefusedWhenItConnects()
    {
        var answers = new ConcurrentQueue<IPAddress[]>();
        var asked = 0;
        Task<IPAddress[]> Resolve(string host, CancellationToken ct)
        {
            Interlocked.Increment(ref asked);
            return host == "nowhere.test" ? throw new SocketException((int)SocketError.HostNotFound) : Task.FromResult(answers.TryDequeue(out var next) ? next : [IPAddress.Loopback]);
        }
        await using var bench = await WebhookBench.StartAsync(service, fakeTime: true, b =>
        {
            b.UseSetting("Webhooks:AllowedNetworks", "127.0.0.2/32");
            b.ConfigureTestServices(s => s.AddSingleton<ResolveName>(Resolve));
        });
        await using var outside = await WebhookReceiver.StartAsync("127.0.0.2");
        await using var inside = await WebhookReceiver.StartAsync("127.0.0.1", outside.Port);
        outside.Answer = (http, _) => { http.Response.Headers.Connection = "close"; return Task.CompletedTask; };
        var id = (await bench.CreateAsync($"http://rebinds.test:{outside.Port}/hook")).Webhook.Id;

        // One good address among bad ones is the only one that is connected to.
        answers.Enqueue([IPAddress.Parse("10.0.0.1"), IPAddress.Parse("::ffff:127.0.0.1"), IPAddress.Parse("127.0.0.2")]);
        await bench.HappenAsync(Guid.NewGuid());
        await Eventually.Async(() => outside.Received.Count == 1, "the good address is told", _patience);
        await bench.UntilAsync(id, d => d.State == DeliveryState.Succeeded, "it is recorded");

        // The name now says where only this machine can go.
        await bench.HappenAsync(Guid.NewGuid());
        var refused = await Eventually.GetAsync(async () => (await bench.DeliveriesAsync(id))[0] is { Number: 2, Attempts: 1 } d ? d : null, "it is refused", _patience);
        Assert.Equal(("AddressRefused", 1, 0, 2), (refused.LastFailure!.Reason, outside.Received.Count, inside.Received.Count, asked));

        var unknown = (await bench.CreateAsync($"http://nowhere.test:{outside.Port}/hook")).Webhook.Id;
        await bench.HappenAsync(Guid.NewGuid());
        await bench.UntilAsync(unknown, d => d.LastFailure?.Reason == "NameNotResolved", "it cannot be resolved");
    }

    [Fact]
    public async Task Deliver_OverTls_ToAnUntrustedCertificate_IsRefused()
    {
        await using var bench = await WebhookBench.StartAsync(service);
        await using var plain = await WebhookReceiver.StartAsync();
        var id = (await bench.CreateAsync($"https://127.0.0.1:{plain.Port}/")).Webhook.Id;
        await bench.HappenAsync(Guid.NewGuid());
        await bench.UntilAsync(id, d => d.LastFailure?.Reason == "TlsFailed", "the handshake fails");
        Assert.Empty(plain.Received);
    }
}
