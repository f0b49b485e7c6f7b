using System.Collections.Concurrent;
using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Net.WebSockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using System.Text.Json;
using Api.Guests;
using Api.Replicas;
using Api.Tests.Guests;
using Contracts;
using Microsoft.AspNetCore.SignalR;
using Microsoft.Extensions.Configuration;
using Testing;
using Xunit;

namespace Api.Tests.Replicas;

/// <summary>A node connected to the second of two replicas, and requests for its guests to the first.</summary>
public sealed class ForwardingTests(TwoReplicas replicas) : IClassFixture<TwoReplicas>
{
    private readonly ServiceFixture service = replicas.Service;
    private readonly ReplicaProcess first = replicas.First, second = replicas.Second;
    private static readonly string[] Cat = ["cat"];
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    private Task<(StandInNode Node, Guid Id)> RunningAsync(ReplicaProcess at, string name) => replicas.RunningAsync(at, name);

    private static HttpRequestMessage Exec(Guid id, object body, bool lines = false)
    {
        var request = new HttpRequestMessage(HttpMethod.Post, $"/v1/sandboxes/{id}/exec") { Content = JsonContent.Create(body) };
        if (lines) request.Headers.Accept.Add(new MediaTypeWithQualityHeaderValue(ExecEndpoint.Lines));
        return request;
    }

    private static string Base64(string text) => Convert.ToBase64String(Encoding.UTF8.GetBytes(text));

    private static async Task<string> ExecAsync(HttpClient client, Guid id)
    {
        using var response = await client.SendAsync(Exec(id, new { command = Cat, stdin = Base64("hello") }));
        return response.IsSuccessStatusCode ? Encoding.UTF8.GetString((await response.Content.ReadFromJsonAsync<ExecAnswer>())!.Stdout) : await response.AnswerAsync();
    }

    private static async Task<string?> AuditedFromAsync(HttpClient client, Guid id) =>
        (await client.GetFromJsonAsync<Page<AuditEntryView>>($"/v1/audit?subject={id}&action={Uri.EscapeDataString("POST /v1/sandboxes/{id}/exec")}&limit=1000", Ct))!.Items.MaxBy(e => e.At)!.RemoteAddress;

    [Fact]
    public async Task Guest_ThroughTheReplicaThatDoesNotHoldItsNode_IsUsedAllTheSame()
    {
        var (node, id) = await RunningAsync(second, "through");
        await using var held = node;
        var (streams, puts) = (new ConcurrentDictionary<Guid, bool>(), new ConcurrentDictionary<Guid, bool>());
        var guest = new StandInGuest(node, (guest, asked) => asked.Step switch
        {
            SessionOpen { Request: ExecRequest { Command: ["stream"] } } when streams.TryAdd(asked.Session, true) => guest.SayAsync(asked, new SessionOpened(), new SessionOutput(1, "one"u8.ToArray())),
            // It reads nothing.
            SessionInput when streams.ContainsKey(asked.Session) => Task.CompletedTask,
            SessionOpen { Request: FilePutRequest } when puts.TryAdd(asked.Session, true) => guest.SayAsync(asked, new SessionOpened()),
            SessionInput { Data.Length: > 0 } when puts.ContainsKey(asked.Session) => guest.SayAsync(asked, new SessionTook(1)),
            SessionSignal { Signal: 15 } => guest.SayAsync(asked, new SessionOutput(2, "bye"u8.ToArray()), new SessionEnded(SessionReasons.Done, Signal: 15)),
            _ => StandInGuest.Echo(guest, asked),
        });
        using var client = first.Client(service.AdminKey, from: "127.0.0.9");

        // Whole, with what it reads and how it ends; and told of the caller, not of the replica between.
        using (var response = await client.SendAsync(Exec(id, new { command = Cat, stdin = Base64("hello") })))
        {
            var answer = (await response.Content.ReadFromJsonAsync<ExecAnswer>())!;
            Assert.Equal(("hello", "ended", new ExecEnd("Done", 3, null)), (Encoding.UTF8.GetString(answer.Stdout), Encoding.UTF8.GetString(answer.Stderr), answer.End));
            Assert.Equal(["DENY", "no-store"], [response.Headers.GetValues("X-Frame-Options").Single(), response.Headers.CacheControl!.ToString()]);
        }
        Assert.Equal("127.0.0.9", await AuditedFromAsync(client, id));

        // Line by line while it runs, with a signal that takes the same way.
        using (var response = await client.SendAsync(Exec(id, new { command = (string[])["stream"] }, lines: true), HttpCompletionOption.ResponseHeadersRead))
        {
            using var reader = new StreamReader(await response.Content.ReadAsStreamAsync());
            async Task<ExecLine> NextAsync() => JsonSerializer.Deserialize<ExecLine>((await reader.ReadLineAsync())!, JsonSerializerOptions.Web)!;
            var exec = (await NextAsync()).ExecId;
            Assert.Equal("one", Encoding.UTF8.GetString((await NextAsync()).Data!));
            using (var signalled = await client.PostAsJsonAsync($"/v1/sandboxes/{id}/exec/{exec}/signal", new { signal = "TERM" })) Assert.Equal("204", await signalled.AnswerAsync());
            Assert.Equal("bye", Encoding.UTF8.GetString((await NextAsync()).Data!));
            Assert.Equal(new ExecEnd("Done", null, 15), (await NextAsync()).End);
        }

        // A file that no body's limit but the files' own takes, and one that is beyond that.
        using (var put = await client.PutAsync($"/v1/sandboxes/{id}/files?path=/root/a&mode=700", new ByteArrayContent(new byte[700_001])))
            Assert.Equal("/root/a", (await put.Content.ReadFromJsonAsync<GuestFileView>())!.Path);
        Assert.Equal(700_001, guest.Asked.Select(a => a.Step).OfType<SessionInput>().Sum(i => i.Data.Length) - "hello".Length);
        using (var put = await client.PutAsync($"/v1/sandboxes/{id}/files?path=/root/a", new ByteArrayContent(new byte[1_100_000]))) Assert.Equal("413 body_too_large", await put.AnswerAsync());
        using (var got = await client.GetAsync($"/v1/sandboxes/{id}/files?path=/root/b"))
            Assert.Equal(("hello", "644"), (await got.Content.ReadAsStringAsync(), got.Headers.GetValues("Sandbox-File-Mode").Single()));
        using (var head = await client.SendAsync(new HttpRequestMessage(HttpMethod.Head, $"/v1/sandboxes/{id}/files?path=/root/b")))
            Assert.Equal((200, 5), ((int)head.StatusCode, (int)head.Content.Headers.ContentLength!));

        // The tunnel.
        using (var socket = new ClientWebSocket())
        {
            socket.Options.SetRequestHeader("Authorization", $"Bearer {service.AdminKey}");
            await socket.ConnectAsync(new Uri($"ws://127.0.0.1:{first.Port}/v1/sandboxes/{id}/ssh"), Ct);
            await socket.SendAsync("SSH-2.0-x"u8.ToArray(), WebSocketMessageType.Binary, true, Ct);
            var buffer = new byte[100];
            Assert.Equal("SSH-2.0-x", Encoding.UTF8.GetString(buffer, 0, (await socket.ReceiveAsync(buffer, Ct)).Count));
        }

        // By a browser's session, whose origin is the first replica's.
        using (var browser = first.Client(service.AdminKey))
        {
            browser.DefaultRequestHeaders.Authorization = null;
            (await browser.PostAsJsonAsync("/v1/session", new { apiKey = service.AdminKey })).EnsureSuccessStatusCode().Dispose();
            browser.DefaultRequestHeaders.Add("X-Sandbox-Request", "1");
            browser.DefaultRequestHeaders.Add("Origin", first.Url);
            Assert.Equal("hello", await ExecAsync(browser, id));
        }

        // The caller's own rights count, and what is another project's is not found.
        using (var viewer = first.Client((await client.KeyAsync("viewer", Role.Viewer)).Secret)) Assert.Equal("403 forbidden", await ExecAsync(viewer, id));
        using (var tenant = first.Client((await service.TenantAsync("foreign")).Secret)) Assert.Equal("404 sandbox_not_found", await ExecAsync(tenant, id));

        // A key that ends ends what was passed on for it.
        var key = await client.KeyAsync("revoked", Role.Operator);
        using (var other = first.Client(key.Secret))
        {
            using var response = await other.SendAsync(Exec(id, new { command = (string[])["stream"] }, lines: true), HttpCompletionOption.ResponseHeadersRead);
            (await client.DeleteAsync($"/v1/keys/{key.Key.Id}")).Dispose();
            await Eventually.Async(() => guest.Asked.Any(a => a.Step is SessionClose), "it is closed in the guest");
            Assert.Contains("\"KeyEnded\"", await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Forwarded_WhenAClientSaysSo_IsPassedOnNoMore_AndItsAddressIsNotBelieved()
    {
        var (node, id) = await RunningAsync(second, "forged");
        await using var held = node;
        _ = new StandInGuest(node, StandInGuest.Echo);
        using var atFirst = first.Client(service.AdminKey);
        using var atSecond = second.Client(service.AdminKey, from: "127.0.0.7");
        foreach (var client in (HttpClient[])[atFirst, atSecond])
        {
            client.DefaultRequestHeaders.Add(ForwardedCaller.Header, "203.0.113.7");
            client.DefaultRequestHeaders.Add("X-Forwarded-For", "203.0.113.7");
        }
        Assert.Equal("503 node_elsewhere", await ExecAsync(atFirst, id));
        Assert.Equal("hello", await ExecAsync(atSecond, id));
        Assert.Equal("127.0.0.7", await AuditedFromAsync(atSecond, id));
    }

    [Fact]
    public async Task Guest_WhenTheReplicaThatHoldsItsNodeIsKilled_Is503_UntilTheNodeIsConnectedAgain()
    {
        var (node, id) = await RunningAsync(second, "killed");
        await using (node)
        {
            _ = new StandInGuest(node, (guest, asked) => asked.Step is SessionOpen ? guest.SayAsync(asked, new SessionOpened(), new SessionOutput(1, "one"u8.ToArray())) : Task.CompletedTask);
            using var client = first.Client(service.AdminKey);
            using var response = await client.SendAsync(Exec(id, new { command = Cat }, lines: true), HttpCompletionOption.ResponseHeadersRead);
            using var reader = new StreamReader(await response.Content.ReadAsStreamAsync());
            await reader.ReadLineAsync();
            await reader.ReadLineAsync();
            await second.KillAsync();
            // Cut off, so that nobody takes it for whole.
            await Assert.ThrowsAnyAsync<Exception>(reader.ReadToEndAsync);
            using var refused = await client.SendAsync(Exec(id, new { command = Cat }));
            Assert.Equal("503 node_elsewhere", await refused.AnswerAsync());
            Assert.NotNull(refused.Headers.RetryAfter);
        }
        // To the one that lives: its row is corrected by its first report.
        await using var again = new StandInNode(new Uri(first.Url), service.NodeToken, 2) { Installation = service.Installation };
        again.Sandboxes[id] = node.Sandboxes[id];
        _ = new StandInGuest(again, StandInGuest.Echo);
        await again.StartAsync();
        _ = TwoReplicas.ReportAsync(again);
        await second.StartAsync();
        foreach (var replica in (ReplicaProcess[])[first, second])
        {
            using var client = replica.Client(service.AdminKey);
            Assert.Equal("hello", await ExecAsync(client, id));
        }
    }

    [Fact]
    public async Task Guest_WhenTheReplicaThatHoldsItsNodeIsFrozen_Is503_AndNotWaitedForWithoutEnd()
    {
        var (node, id) = await RunningAsync(second, "frozen");
        await using var held = node;
        second.Freeze();
        try
        {
            using var client = first.Client(service.AdminKey);
            // It takes connections still, as a stopped process does, and answers nothing.
            Assert.Equal("503 guest_not_answering", await ExecAsync(client, id));
        }
        finally
        {
            second.Thaw();
        }
    }

    [Fact]
    public async Task Guest_WhenTheReplicaThatHoldsItsNodeTellsNoAddress_Is503_ThatNamesTheSetting()
    {
        await using var unknown = await replicas.StartAsync(("Replica__Url", null));
        var (node, id) = await RunningAsync(unknown, "no-address");
        await using var held = node;
        using var client = first.Client(service.AdminKey);
        using var refused = await client.SendAsync(Exec(id, new { command = Cat }));
        Assert.Equal("503 node_elsewhere", await refused.AnswerAsync());
        Assert.Contains(ReplicaSettings.Name, await refused.Content.ReadAsStringAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Guest_WhenTheReplicaThatHoldsItsNodeHasTls_ItsCertificateIsChecked()
    {
        var directory = Surroundings.NewDirectory("tls");
        var (certificate, trusted) = (Path.Combine(directory, "replica.pfx"), Path.Combine(directory, "trusted.pem"));
        using (var key = RSA.Create(2048))
        {
            var request = new CertificateRequest("CN=127.0.0.1", key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
            var names = new SubjectAlternativeNameBuilder();
            names.AddIpAddress(IPAddress.Loopback);
            request.CertificateExtensions.Add(names.Build());
            using var made = request.CreateSelfSigned(TimeProvider.System.GetUtcNow().AddDays(-1), TimeProvider.System.GetUtcNow().AddDays(1));
            await File.WriteAllBytesAsync(certificate, made.Export(X509ContentType.Pkcs12), Ct);
            await File.WriteAllTextAsync(trusted, made.ExportCertificatePem(), Ct);
        }
        var port = FreePort.Next().ToString(CultureInfo.InvariantCulture);
        var plain = FreePort.Next();
        await using var encrypted = await ReplicaProcess.StartAsync(service.ConnectionString + ";Maximum Pool Size=10", plain, ("Urls", $"http://127.0.0.1:{plain};https://127.0.0.1:{port}"),
            ("Replica__Url", $"https://127.0.0.1:{port}"), ("Kestrel__Certificates__Default__Path", certificate));
        await using var trusting = await replicas.StartAsync(("SSL_CERT_FILE", trusted));
        var (node, id) = await RunningAsync(encrypted, "tls");
        await using var held = node;
        _ = new StandInGuest(node, StandInGuest.Echo);
        using (var client = trusting.Client(service.AdminKey)) Assert.Equal("hello", await ExecAsync(client, id));
        using (var client = first.Client(service.AdminKey)) Assert.Equal("503 node_elsewhere", await ExecAsync(client, id));
    }

    [Theory]
    [InlineData("10.1.0.5:8080")]
    [InlineData("ftp://10.1.0.5")]
    [InlineData("http://10.1.0.5/api")]
    [InlineData("http://user@10.1.0.5")]
    [InlineData("http://10.1.0.5/?a")]
    public void Url_WhenItIsNoAddressAlone_IsRefused(string url) =>
        Assert.Throws<InvalidOperationException>(() => ReplicaSettings.Read(new ConfigurationBuilder().AddInMemoryCollection([new("Replica:Url", url)]).Build()));
}
