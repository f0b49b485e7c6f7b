using System.Net;
using System.Net.Http.Json;
using Api.Images;
using Contracts;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Mvc.Testing;
using Testing;
using Xunit;
using static Api.Tests.Images.ImageCalls;

namespace Api.Tests.Images;

/// <summary>Images that are downloaded, from a server of this machine, which replicas of these tests may ask.</summary>
public sealed class ImageDownloadTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    private WebApplicationFactory<Api.Data.SandboxDb> NewReplica() => service.NewReplica(("Images:AllowedNetworks", "127.0.0.0/8"), ("Images:AllowHttp", "true"));

    private static Task HangAsync(HttpContext http, byte[] bytes, Task gate) => ((Func<Task>)(async () =>
    {
        http.Response.ContentLength = bytes.Length;
        await http.Response.Body.WriteAsync(bytes.AsMemory(0, bytes.Length / 2), http.RequestAborted);
        await http.Response.Body.FlushAsync(http.RequestAborted);
        await gate.WaitAsync(http.RequestAborted);
        await http.Response.Body.WriteAsync(bytes.AsMemory(bytes.Length / 2), http.RequestAborted);
    }))();

    [Fact]
    public async Task Register_ByUrl_IsDownloaded_AlsoWhereItIsRedirected_AndAfterAFailureThatPasses()
    {
        await using var replica = NewReplica();
        await using var server = await FileServer.StartAsync();
        using var client = await service.TenantClientAsync("downloads", replica);
        byte[] kernel = Random((2 << 20) + 5), initrd = Random(77);
        server.Give("kernel", kernel);
        server.Answers["moved"] = http => { http.Response.Redirect("/kernel"); return Task.CompletedTask; };
        server.Answers["initrd"] = async http =>
        {
            if (server.Asked.Count(a => a == "initrd") == 1) http.Response.StatusCode = 503;
            else await http.Response.Body.WriteAsync(initrd);
        };
        var image = await client.RegisterAsync(new { name = "own", kernelVersion = "6.12", commandLine = "", files = new { kernel = File(kernel, $"{server.Url}/moved"), initrd = File(initrd, $"{server.Url}/initrd") } });
        var ready = await client.UntilAsync(image.Id!.Value, ImagePhase.Ready);
        Assert.All(ready.Files!, f => Assert.True(f.Stored));
        Assert.Equal(["moved", "kernel", "initrd", "initrd"], server.Asked);
        Assert.Equal(0, await service.ScalarAsync($"SELECT count(*) FROM image_downloads WHERE image_id = '{image.Id}'"));
    }

    [Theory]
    [InlineData("other", "DigestDiffers")]
    [InlineData("longer", "SizeDiffers")]
    [InlineData("endless", "SizeDiffers")]
    [InlineData("absent", "StatusRefused")]
    [InlineData("secret", "StatusRefused")]
    [InlineData("forbidden", "StatusRefused")]
    [InlineData("around", "TooManyRedirects")]
    [InlineData("inside", "RedirectRefused")]
    [InlineData("file", "RedirectRefused")]
    public async Task Download_OfWhatIsNotTheFile_IsFailedWithItsReason_AndKeepsNothing(string name, string reason)
    {
        await using var replica = NewReplica();
        await using var server = await FileServer.StartAsync();
        using var client = await service.TenantClientAsync($"failing-{name}", replica);
        var kernel = Random(1000);
        server.Give("other", Random(1000));
        server.Give("longer", [.. kernel, 0]);
        server.Answers["endless"] = async http =>
        {
            while (!http.RequestAborted.IsCancellationRequested) await http.Response.Body.WriteAsync(kernel, http.RequestAborted);
        };
        server.Answers["secret"] = http => { http.Response.StatusCode = 401; return Task.CompletedTask; };
        server.Answers["forbidden"] = http => { http.Response.StatusCode = 403; return Task.CompletedTask; };
        server.Answers["around"] = http => { http.Response.Redirect("/around"); return Task.CompletedTask; };
        server.Answers["inside"] = http => { http.Response.Redirect("http://10.0.0.1/kernel"); return Task.CompletedTask; };
        server.Answers["file"] = http => { http.Response.Redirect("file:///etc/passwd"); return Task.CompletedTask; };
        var id = (await client.RegisterAsync(OfKernel("own", kernel, $"{server.Url}/{name}"))).Id!.Value;
        var failed = await client.UntilAsync(id, ImagePhase.Failed);
        Assert.Equal(reason, failed.Failure!.Reason);
        // At once.
        Assert.Equal(name == "around" ? ImageClient.MaxRedirects + 1 : 1, server.Asked.Count);
        Assert.False(string.IsNullOrEmpty(failed.Failure.Remedy));
        Assert.Equal(0, await service.ScalarAsync($"SELECT count(*) FROM image_contents WHERE sha256 = '{Sha256(kernel)}'"));
        Assert.Equal(reason, (await client.GetFromJsonAsync<Page<EventView>>($"/v1/events?subject={id}"))!.Items.Single(e => e.Type == "image.changed").Reason);
        // What its remedy says helps.
        Assert.Equal("200", await client.UploadAsync(id, "kernel", kernel));
        Assert.Equal((ImagePhase.Ready, null), ((await client.ImageAsync(id)).Phase, (await client.ImageAsync(id)).Failure));
    }

    /// <summary>Without a setting nothing of this machine is asked, whatever name it goes by.</summary>
    [Fact]
    public async Task Download_FromAnAddressThatIsNotPublic_IsRefused()
    {
        await using var replica = service.NewReplica(("Images:AllowHttp", "true"));
        await using var server = await FileServer.StartAsync();
        using var client = await service.TenantClientAsync("inside", replica);
        var kernel = Random(10);
        server.Give("kernel", kernel);
        using (var literal = await client.PostAsJsonAsync("/v1/images", OfKernel("literal", kernel, $"{server.Url}/kernel"))) Assert.Equal("422 validation_failed", await literal.AnswerAsync());
        var id = (await client.RegisterAsync(OfKernel("named", kernel, $"http://localhost:{new Uri(server.Url).Port}/kernel"))).Id!.Value;
        Assert.Equal("AddressRefused", (await client.UntilAsync(id, ImagePhase.Failed)).Failure!.Reason);
        Assert.Empty(server.Asked);
    }

    /// <summary>A project, and whoever registers shared images, may have as many slow urls as they like: each has its share of places, on all replicas together.</summary>
    [Fact]
    public async Task Download_OfUrlsThatHang_LeavesRoomForOtherProjects()
    {
        await using var server = await FileServer.StartAsync();
        await using var first = NewReplica();
        await using var second = NewReplica();
        using var slow = await service.TenantClientAsync("hangs", first);
        using var operating = service.Client(first);
        using var other = await service.TenantClientAsync("in-time", second);
        var kernel = Random(1000);
        var gate = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        server.Answers["hangs"] = server.Answers["shared"] = http => HangAsync(http, kernel, gate.Task);
        server.Give("kernel", kernel);
        var waiting = new List<Guid>();
        for (var n = 0; n < 9; n++)
        {
            waiting.Add((await slow.RegisterAsync(OfKernel($"own-{n}", kernel, $"{server.Url}/hangs"))).Id!.Value);
            waiting.Add((await operating.RegisterAsync(OfKernel($"shared-{n}", kernel, $"{server.Url}/shared", shared: true))).Id!.Value);
        }
        await Eventually.Async(() => server.Asked.Count(a => a == "hangs") >= 2 && server.Asked.Count(a => a == "shared") >= 2, "they hold what they can", Patience);
        await other.UntilAsync((await other.RegisterAsync(OfKernel("own", kernel, $"{server.Url}/kernel"))).Id!.Value, ImagePhase.Ready);
        Assert.False(gate.Task.IsCompleted);
        Assert.Equal(2, await service.ScalarAsync("SELECT max(n) FROM (SELECT count(*) AS n FROM image_downloads d JOIN registered_images i ON i.id = d.image_id WHERE d.claimed_until > now() GROUP BY i.project_id) held"));
        gate.SetResult();
        foreach (var id in waiting) await (waiting.IndexOf(id) % 2 == 0 ? slow : operating).UntilAsync(id, ImagePhase.Ready);
    }

    /// <summary>As when a replica is killed, or stands still for so long that it is taken for dead: another begins anew, and what the first goes on with spoils nothing.</summary>
    [Fact]
    public async Task Download_WhenItsReplicaIsTakenForDead_IsDoneByAnother_AndNeitherSpoilsTheOthers()
    {
        await using var first = NewReplica();
        await using var server = await FileServer.StartAsync();
        using var client = await service.TenantClientAsync("killed", first);
        var kernel = Random((4 << 20) + 3);
        var (gates, asked) = (new[] { new TaskCompletionSource(), new TaskCompletionSource() }, 0);
        server.Answers["kernel"] = http => HangAsync(http, kernel, gates[Math.Min(Interlocked.Increment(ref asked), 2) - 1].Task);
        var id = (await client.RegisterAsync(OfKernel("own", kernel, $"{server.Url}/kernel"))).Id!.Value;
        await Eventually.Async(async () => await service.ScalarAsync($"SELECT count(*) FROM image_chunks k JOIN image_contents c ON c.id = k.content_id WHERE c.sha256 = '{Sha256(kernel)}'") == 2, "half of it has come", Patience);
        Assert.Equal(ImagePhase.Downloading, (await client.ImageAsync(id)).Phase);
        await using var second = NewReplica();
        using var other = service.ClientOf(client.DefaultRequestHeaders.Authorization!.Parameter!, second);
        await service.ExecuteAsync("UPDATE image_downloads SET claimed_until = now() - interval '1 second'");
        await Eventually.Async(() => Volatile.Read(ref asked) >= 2, "it is begun anew", Patience);
        gates[1].SetResult();
        await other.UntilAsync(id, ImagePhase.Ready);
        gates[0].SetResult();
        await Eventually.Async(async () => await service.ScalarAsync($"SELECT count(*) FROM image_contents WHERE sha256 = '{Sha256(kernel)}'") == 1, "one of both is left", Patience);
        Assert.Equal(5, await service.ScalarAsync($"SELECT count(*) FROM stored_image_files f JOIN image_chunks k ON k.content_id = f.content_id WHERE f.image_id = '{id}'"));
        Assert.Equal(ImagePhase.Ready, (await client.ImageAsync(id)).Phase);
    }

    [Fact]
    public async Task Download_WhenTheServiceStops_IsGivenBack_AndWhatBringsItDownEachTimeIsFailed()
    {
        await using var server = await FileServer.StartAsync();
        var kernel = Random(2000);
        var gate = new TaskCompletionSource();
        server.Answers["kernel"] = http => HangAsync(http, kernel, gate.Task);
        Guid id;
        string key;
        await using (var first = NewReplica())
        {
            using var client = await service.TenantClientAsync("stopped", first);
            key = client.DefaultRequestHeaders.Authorization!.Parameter!;
            id = (await client.RegisterAsync(OfKernel("own", kernel, $"{server.Url}/kernel"))).Id!.Value;
            await Eventually.Async(() => server.Asked.Contains("kernel"), "it is asked for", Patience);
            await client.UntilAsync(id, ImagePhase.Downloading);
        }
        Assert.Equal(1, await service.ScalarAsync($"SELECT count(*) FROM image_downloads WHERE image_id = '{id}' AND claims = 0 AND claimed_until <= now()"));
        await service.ExecuteAsync($"UPDATE image_downloads SET claims = {ImageDownloads.MostClaims}");
        await using var second = NewReplica();
        using var other = service.ClientOf(key, second);
        Assert.Equal("Interrupted", (await other.UntilAsync(id, ImagePhase.Failed)).Failure!.Reason);
        gate.SetResult();
    }

    [Fact]
    public void EveryReason_HasASentenceAndARemedy()
    {
        var codes = typeof(ImageReasons).GetFields().Where(f => f.IsLiteral && f.IsPublic).Select(f => (string)f.GetRawConstantValue()!).ToList();
        Assert.True(codes.Count > 10);
        Assert.Equal(codes.Order(), ImageReasons.All.Order());
        Assert.All(codes, c => Assert.True(ImageReasons.Failure(c, default) is { Message.Length: > 10, Remedy.Length: > 10 }));
    }
}
