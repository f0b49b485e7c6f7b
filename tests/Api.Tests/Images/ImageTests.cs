using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using Api.Images;
using Contracts;
using Microsoft.Extensions.DependencyInjection;
using Testing;
using Xunit;
using static Api.Tests.Images.ImageCalls;

namespace Api.Tests.Images;

/// <summary>Images that are registered and uploaded.</summary>
public sealed class ImageTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    private Task<long> ContentsAsync(byte[] bytes) => service.ScalarAsync($"SELECT count(*) FROM image_contents WHERE sha256 = '{Sha256(bytes)}'");

    [Fact]
    public async Task Upload_OfEachFile_MakesTheImageReady_AndTheSameFileIsStoredOnce()
    {
        using var client = await service.TenantClientAsync("uploads");
        using var other = await service.TenantClientAsync("uploads-too");
        byte[] kernel = Random((3 << 20) + 17), initrd = Random(1 << 20);
        var image = await client.RegisterAsync(new { name = "own", kernelVersion = "6.12", hasAgent = true, commandLine = "", files = new { kernel = File(kernel), initrd = File(initrd) } });
        var id = image.Id!.Value;
        Assert.Equal((ImagePhase.Waiting, ImageSource.Project, (long)kernel.Length + initrd.Length, "arm64"), (image.Phase, image.Source, image.SizeBytes, image.Architecture));
        Assert.Equal("200", await client.UploadAsync(id, "initrd", initrd, tellsLength: false));
        var half = await client.ImageAsync(id);
        Assert.Equal((ImagePhase.Waiting, "False True"), (half.Phase, string.Join(' ', half.Files!.Select(f => f.Stored))));
        Assert.Equal("200", await client.UploadAsync(id, "kernel", kernel));
        var ready = await client.ImageAsync(id);
        Assert.Equal((ImagePhase.Ready, image.Digest, null), (ready.Phase, ready.Digest, ready.Failure));
        Assert.All(ready.Files!, f => Assert.True(f.Stored));
        Assert.Equal(id, (await client.GetFromJsonAsync<Page<ImageView>>("/v1/images"))!.Items.Single(i => i.Source == ImageSource.Project).Id);
        Assert.Equal("ImageReady", (await client.GetFromJsonAsync<Page<EventView>>($"/v1/events?subject={id}"))!.Items.Single(e => e.Type == "image.changed").Reason);

        // Another's file of the same digest is theirs only once they have shown it, and then it is the same.
        var theirs = await other.RegisterAsync(OfKernel("theirs", kernel));
        Assert.Equal(ImagePhase.Waiting, (await other.ImageAsync(theirs.Id!.Value)).Phase);
        Assert.Equal("200", await other.UploadAsync(theirs.Id!.Value, "kernel", kernel));
        Assert.Equal(ImagePhase.Ready, (await other.ImageAsync(theirs.Id!.Value)).Phase);
        Assert.Equal(1, await ContentsAsync(kernel));
        Assert.Equal(4, await service.ScalarAsync($"SELECT count(*) FROM image_chunks k JOIN image_contents c ON c.id = k.content_id WHERE c.sha256 = '{Sha256(kernel)}'"));
    }

    [Fact]
    public async Task Upload_OfAnythingElse_IsRefused_AndNothingOfItIsKept()
    {
        using var client = await service.TenantClientAsync("wrong-uploads");
        var kernel = Random((1 << 20) + 100);
        var id = (await client.RegisterAsync(OfKernel("own", kernel))).Id!.Value;
        var wrong = kernel.ToArray();
        wrong[^1] ^= 1;
        foreach (var (bytes, told) in new[] { (wrong, true), (kernel[..^1], true), (kernel[..^1], false), ([.. kernel, 0], true), ([.. kernel, 0], false), ([], false) })
            Assert.Equal("422 image_file_differs", await client.UploadAsync(id, "kernel", bytes, told));
        Assert.Equal(0, await ContentsAsync(kernel));
        Assert.Equal("404 image_file_not_found", await client.UploadAsync(id, "initrd", kernel));
        Assert.Equal("404 image_file_not_found", await client.UploadAsync(id, "..%2Fkernel", kernel));
        Assert.Equal("404 registered_image_not_found", await client.UploadAsync(Guid.NewGuid(), "kernel", kernel));
        Assert.Equal("200", await client.UploadAsync(id, "kernel", kernel));
        // What is there stays, and is compared.
        Assert.Equal("200", await client.UploadAsync(id, "kernel", kernel));
        Assert.Equal("422 image_file_differs", await client.UploadAsync(id, "kernel", wrong));
        Assert.Equal(1, await ContentsAsync(kernel));
    }

    [Fact]
    public async Task Upload_OfADiskThatWouldReadAnotherFile_IsRefused()
    {
        using var client = await service.TenantClientAsync("disks");
        var disk = new byte[4096];
        "QFI"u8.CopyTo(disk);
        (disk[3], disk[7], disk[15]) = (0xfb, 3, 1);
        async Task<string> PutAsync(string name, string format)
        {
            var image = await client.RegisterAsync(new { name, kernelVersion = "x", diskFormat = format, files = new { disk = File(disk) } });
            return await client.UploadAsync(image.Id!.Value, "disk", disk);
        }
        Assert.Equal("422 image_disk_refused", await PutAsync("backed", "qcow2"));
        Assert.Equal(0, await ContentsAsync(disk));
        Assert.Equal("200", await PutAsync("raw", "raw"));
        // No backing file, and a guest would see 64 GiB and one byte; then 64 GiB, which are taken.
        (disk[15], disk[27], disk[31]) = (0, 0x10, 1);
        Assert.Equal("422 image_disk_refused", await PutAsync("large", "qcow2"));
        disk[31] = 0;
        Assert.Equal("200", await PutAsync("largest", "qcow2"));
    }

    [Fact]
    public async Task Uploads_OfOneProject_AreSoManyAtOnce()
    {
        using var client = await service.TenantClientAsync("many-uploads");
        var kernel = Random(1000);
        var id = (await client.RegisterAsync(OfKernel("own", kernel))).Id!.Value;
        var gate = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var slow = Enumerable.Range(0, UploadRooms.MostOfProject).Select(_ => client.PutAsync($"/v1/images/{id}/files/kernel", new SlowContent(kernel, gate.Task), TestContext.Current.CancellationToken)).ToList();
        await Eventually.Async(async () => await ContentsAsync(kernel) == UploadRooms.MostOfProject, "all of them have begun", Patience);
        Assert.Equal("429 too_many_uploads", await client.UploadAsync(id, "kernel", kernel));
        // Nobody else waits for them.
        Assert.Equal(ImagePhase.Waiting, (await client.ImageAsync(id)).Phase);
        gate.SetResult();
        foreach (var response in await Task.WhenAll(slow))
        {
            Assert.Equal("200", await response.AnswerAsync());
            response.Dispose();
        }
        Assert.Equal(1, await ContentsAsync(kernel));
        Assert.Equal("200", await client.UploadAsync(id, "kernel", kernel));
    }

    private sealed class SlowContent(byte[] bytes, Task gate) : HttpContent
    {
        protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context)
        {
            await stream.WriteAsync(bytes.AsMemory(0, 10));
            await stream.FlushAsync();
            await gate;
            await stream.WriteAsync(bytes.AsMemory(10));
        }

        protected override bool TryComputeLength(out long length)
        {
            length = 0;
            return false;
        }
    }

    public static TheoryData<string, string> Refused => new()
    {
        { """{"name":"Own","kernelVersion":"x","commandLine":"","files":{"kernel":{FILE}}}""", "name" },
        { """{"name":"own","kernelVersion":"","commandLine":"","files":{"kernel":{FILE}}}""", "kernelVersion" },
        { """{"name":"own","kernelVersion":"x","architecture":"amd64","commandLine":"","files":{"kernel":{FILE}}}""", "architecture" },
        { """{"name":"own","kernelVersion":"x","commandLine":"a\nb","files":{"kernel":{FILE}}}""", "commandLine" },
        { """{"name":"own","kernelVersion":"x","files":{"kernel":{FILE}}}""", "files" },
        { """{"name":"own","kernelVersion":"x","commandLine":"","files":{"initrd":{FILE}}}""", "files" },
        { """{"name":"own","kernelVersion":"x","commandLine":"","diskFormat":"raw","files":{"kernel":{FILE},"disk":{FILE}}}""", "files" },
        { """{"name":"own","kernelVersion":"x","commandLine":"x","diskFormat":"raw","files":{"disk":{FILE}}}""", "files" },
        { """{"name":"own","kernelVersion":"x","files":{"disk":{FILE}}}""", "files" },
        { """{"name":"own","kernelVersion":"x","commandLine":"","files":{"../kernel":{FILE}}}""", "files" },
        { """{"name":"own","kernelVersion":"x","commandLine":"","files":{"kernel":{FILE},"KERNEL":{FILE}}}""", "files" },
        { """{"name":"own","kernelVersion":"x","commandLine":"","files":{}}""", "files" },
        { """{"name":"own","kernelVersion":"x","commandLine":"","files":{"kernel":null}}""", "files.kernel" },
        { """{"name":"own","kernelVersion":"x","commandLine":"","files":{"kernel":{"sha256":"../../../etc/passwd","bytes":1}}}""", "files.kernel.sha256" },
        { """{"name":"own","kernelVersion":"x","commandLine":"","files":{"kernel":{"sha256":"SHA","bytes":0}}}""", "files.kernel.bytes" },
        { """{"name":"own","kernelVersion":"x","commandLine":"","files":{"kernel":{"sha256":"SHA","bytes":8589934593}}}""", "files.kernel.bytes" },
        { """{"name":"own","kernelVersion":"x","commandLine":"","files":{"kernel":{"sha256":"SHA","bytes":1,"url":"http://example.com/k"}}}""", "files.kernel.url" },
        { """{"name":"own","kernelVersion":"x","commandLine":"","files":{"kernel":{"sha256":"SHA","bytes":1,"url":"https://169.254.169.254/k"}}}""", "files.kernel.url" },
        { """{"name":"own","kernelVersion":"x","commandLine":"","files":{"kernel":{"sha256":"SHA","bytes":1,"url":"file:///etc/passwd"}}}""", "files.kernel.url" },
    };

    [Theory]
    [MemberData(nameof(Refused))]
    public async Task Register_OfWhatIsNoImage_SaysWhatIsWrong(string body, string field)
    {
        using var client = service.Client();
        body = body.Replace("{FILE}", """{"sha256":"SHA","bytes":1}""", StringComparison.Ordinal).Replace("SHA", new string('a', 64), StringComparison.Ordinal);
        using var response = await client.PostAsync("/v1/images", new StringContent(body, MediaTypeHeaderValue.Parse("application/json")), TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.UnprocessableEntity, response.StatusCode);
        using var json = System.Text.Json.JsonDocument.Parse(await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken));
        Assert.Equal(["validation_failed", field], [json.RootElement.GetProperty("code").GetString()!, .. json.RootElement.GetProperty("errors").EnumerateObject().Select(e => e.Name)]);
    }

    [Fact]
    public async Task AnothersImage_IsNotFound_AndSharedOnesAreForThoseWhoRunTheService()
    {
        using var operating = service.Client();
        using var own = await service.TenantClientAsync("owns");
        using var other = await service.TenantClientAsync("sees-not");
        byte[] mine = Random(100), shared = Random(100);
        var private1 = (await own.ReadyAsync("mine", mine)).Id!.Value;
        var all = (await operating.ReadyAsync("for-all", shared, shared: true)).Id!.Value;
        using (var read = await other.GetAsync($"/v1/images/{private1}", TestContext.Current.CancellationToken)) Assert.Equal("404 registered_image_not_found", await read.AnswerAsync());
        using (var read = await operating.GetAsync($"/v1/images/{private1}", TestContext.Current.CancellationToken)) Assert.Equal("404 registered_image_not_found", await read.AnswerAsync());
        Assert.Equal("404 registered_image_not_found", await other.UploadAsync(private1, "kernel", mine));
        using (var deleted = await other.DeleteAsync($"/v1/images/{private1}", TestContext.Current.CancellationToken)) Assert.Equal("404 registered_image_not_found", await deleted.AnswerAsync());
        Assert.DoesNotContain((await other.GetFromJsonAsync<Page<ImageView>>("/v1/images"))!.Items, i => i.Id == private1);
        using (var named = await other.PostAsJsonAsync("/v1/sandboxes", new { name = "x", image = "mine" })) Assert.Equal("422 image_not_found", await named.AnswerAsync());

        Assert.Equal((ImageSource.Shared, ImagePhase.Ready), ((await other.ImageAsync(all)).Source, (await other.ImageAsync(all)).Phase));
        using (var registered = await other.PostAsJsonAsync("/v1/images", OfKernel("theirs", mine, shared: true))) Assert.Equal("403 forbidden", await registered.AnswerAsync());
        Assert.Equal("403 forbidden", await other.UploadAsync(all, "kernel", shared));
        using (var deleted = await other.DeleteAsync($"/v1/images/{all}", TestContext.Current.CancellationToken)) Assert.Equal("403 forbidden", await deleted.AnswerAsync());
        using var operatorOfService = service.ClientOf((await operating.KeyAsync("images", Role.Operator)).Secret);
        using (var registered = await operatorOfService.PostAsJsonAsync("/v1/images", OfKernel("more", mine, shared: true))) Assert.Equal("403 forbidden", await registered.AnswerAsync());

        // A url may hold a key.
        var fetched = (await operating.RegisterAsync(OfKernel("fetched", mine, "https://images.example/kernel?key=secret", shared: true))).Id!.Value;
        Assert.Equal((null, "https://images.example/kernel?key=secret"), ((await other.ImageAsync(fetched)).Files![0].Url, (await operating.ImageAsync(fetched)).Files![0].Url));
        Assert.All((await other.GetFromJsonAsync<Page<ImageView>>("/v1/images"))!.Items, i => Assert.All(i.Files ?? [], f => Assert.Null(f.Url)));

        // A name is one image's in a project and one's among the shared ones.
        using (var again = await own.PostAsJsonAsync("/v1/images", OfKernel("mine", mine))) Assert.Equal("409 name_taken", await again.AnswerAsync());
        using (var again = await operating.PostAsJsonAsync("/v1/images", OfKernel("for-all", mine, shared: true))) Assert.Equal("409 name_taken", await again.AnswerAsync());
        Assert.NotEqual(private1, (await other.RegisterAsync(OfKernel("mine", mine))).Id);
    }

    [Fact]
    public async Task Register_OverTheQuota_IsRefused_AndTheUseIsTold()
    {
        using var client = service.ClientOf((await service.TenantAsync("image-quota", new { maxImages = 2, maxImageBytes = 150 })).Secret);
        await client.RegisterAsync(OfKernel("one", Random(100)));
        using (var bytes = await client.PostAsJsonAsync("/v1/images", OfKernel("two", Random(51)))) Assert.Equal("409 quota_exceeded", await bytes.AnswerAsync());
        var two = (await client.RegisterAsync(OfKernel("two", Random(50)))).Id;
        using (var count = await client.PostAsJsonAsync("/v1/images", OfKernel("three", Random(1)))) Assert.Equal("409 quota_exceeded", await count.AnswerAsync());
        var project = (await client.GetFromJsonAsync<ProjectView>("/v1/project"))!;
        Assert.Equal((2, 150L, 2, 150L), (project.Use.Images, project.Use.ImageBytes, project.Quotas.MaxImages, project.Quotas.MaxImageBytes));
        using (var deleted = await client.DeleteAsync($"/v1/images/{two}", TestContext.Current.CancellationToken)) Assert.Equal("204", await deleted.AnswerAsync());
        await client.RegisterAsync(OfKernel("three", Random(1)));
    }

    [Fact]
    public async Task Delete_OfAnImageInUse_IsRefused_AndAfterwardsItsBytesAreSwept()
    {
        using var client = await service.TenantClientAsync("deletes");
        var kernel = Random(2000);
        var id = (await client.ReadyAsync("own", kernel)).Id!.Value;
        using var made = await client.PostAsJsonAsync("/v1/sandboxes", new { name = "uses", image = "own", node = "nowhere" });
        var sandbox = (await made.Content.ReadFromJsonAsync<SandboxView>())!;
        Assert.Equal(id, sandbox.ImageId);
        using (var refused = await client.DeleteAsync($"/v1/images/{id}", TestContext.Current.CancellationToken)) Assert.Equal("409 image_in_use", await refused.AnswerAsync());
        (await client.DeleteAsync($"/v1/sandboxes/{sandbox.Id}")).Dispose();
        using (var stale = new HttpRequestMessage(HttpMethod.Delete, $"/v1/images/{id}"))
        {
            stale.Headers.IfMatch.ParseAdd("\"1\"");
            using var failed = await client.SendAsync(stale, TestContext.Current.CancellationToken);
            Assert.Equal("412 precondition_failed", await failed.AnswerAsync());
        }
        using (var deleted = await client.DeleteAsync($"/v1/images/{id}", TestContext.Current.CancellationToken)) Assert.Equal("204", await deleted.AnswerAsync());

        // Kept for a while, for whoever is about to complete the same; and what nobody completes, too.
        await service.ExecuteAsync($"INSERT INTO image_contents (id, sha256, bytes, complete, touched_at) VALUES (gen_random_uuid(), '{Sha256(kernel)}', 2000, false, now())");
        var kept = (await client.ReadyAsync("kept", Random(10))).Id!.Value;
        await SweepAsync();
        Assert.Equal(2, await ContentsAsync(kernel));
        await service.ExecuteAsync("UPDATE image_contents SET touched_at = now() - interval '1 hour'");
        await SweepAsync();
        Assert.Equal(0, await ContentsAsync(kernel));
        Assert.Equal(1, await service.ScalarAsync($"SELECT count(*) FROM stored_image_files f JOIN image_chunks k ON k.content_id = f.content_id WHERE f.image_id = '{kept}'"));
    }

    /// <summary>One that cannot be removed by one statement.</summary>
    [Fact]
    public async Task Sweep_OfContentOfManyChunks_RemovesAllOfIt_AndNothingOfAnImages()
    {
        using var client = await service.TenantClientAsync("many-chunks");
        var kept = (await client.ReadyAsync("kept", Random((1 << 20) + 1))).Id!.Value;
        var left = Guid.NewGuid();
        await service.ExecuteAsync($"""
            INSERT INTO image_contents (id, sha256, bytes, complete, touched_at) VALUES ('{left}', '{new string('b', 64)}', {200L << 20}, true, now() - interval '1 hour');
            INSERT INTO image_chunks (content_id, number, data) SELECT '{left}', n, 'x' FROM generate_series(0, 199) n;
            UPDATE image_contents SET touched_at = now() - interval '1 hour';
            """);
        await SweepAsync();
        Assert.Equal(0, await service.ScalarAsync($"SELECT (SELECT count(*) FROM image_chunks WHERE content_id = '{left}') + (SELECT count(*) FROM image_contents WHERE id = '{left}')"));
        Assert.Equal(2, await service.ScalarAsync($"SELECT count(*) FROM stored_image_files f JOIN image_chunks k ON k.content_id = f.content_id WHERE f.image_id = '{kept}'"));
    }

    /// <summary>What is removed at once is no more than a statement may take: a removal that is cut off has left the rest.</summary>
    [Fact]
    public async Task Removal_OfContentOfManyChunks_IsDoneInParts()
    {
        var left = Guid.NewGuid();
        await service.ExecuteAsync($"""
            INSERT INTO image_contents (id, sha256, bytes, complete, touched_at) VALUES ('{left}', '{new string('c', 64)}', {200L << 20}, false, now());
            INSERT INTO image_chunks (content_id, number, data) SELECT '{left}', n, 'x' FROM generate_series(0, 199) n;
            CREATE TABLE removals (chunks bigint);
            CREATE FUNCTION note_removal() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO removals SELECT count(*) FROM removed; RETURN NULL; END';
            CREATE TRIGGER removals AFTER DELETE ON image_chunks REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION note_removal();
            """);
        await service.Factory.Services.GetRequiredService<ContentStore>().RemoveAsync(left, TestContext.Current.CancellationToken);
        Assert.Equal((200L, 64L), (await service.ScalarAsync("SELECT sum(chunks) FROM removals"), await service.ScalarAsync("SELECT max(chunks) FROM removals")));
        await service.ExecuteAsync("DROP TRIGGER removals ON image_chunks; DROP FUNCTION note_removal; DROP TABLE removals");
    }

    private async Task SweepAsync()
    {
        var sweep = service.Factory.Services.GetRequiredService<ImageSweep>();
        var before = TimeProvider.System.GetUtcNow();
        sweep.Wake();
        await Eventually.Async(() =>
        {
            if (sweep.LastPassAt > before) return true;
            sweep.Wake();
            return false;
        }, "it was swept", Patience);
    }
}
