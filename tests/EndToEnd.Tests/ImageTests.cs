using System.Globalization;
using System.Net;
using System.Net.Http.Json;
using System.Security.Cryptography;
using System.Text.Json;
using Contracts;
using Testing;
using Xunit;

namespace EndToEnd.Tests;

/// <summary>Images that are uploaded to the API, and real guests that start from them.</summary>
public sealed class ImageTests(RunningService service)
{
    /// <summary>A large disk is emulated instruction by instruction until it has booted.</summary>
    private static readonly TimeSpan _longBoot = TimeSpan.FromMinutes(15);

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    private static async Task<object> DescribeAsync(string path)
    {
        await using var stream = File.OpenRead(path);
        return new { sha256 = Convert.ToHexStringLower(await SHA256.HashDataAsync(stream, Ct)), bytes = stream.Length };
    }

    private async Task<Guid> RegisterAsync(object image, params (string Role, string Path)[] files)
    {
        using var registered = await service.Client.PostAsJsonAsync("/v1/images", image);
        Assert.True(registered.StatusCode == HttpStatusCode.Created, await registered.Content.ReadAsStringAsync(Ct));
        var id = (await registered.Content.ReadFromJsonAsync<ImageView>(Ct))!.Id!.Value;
        // Longer than whoever asks the service for something small has patience.
        using var client = new HttpClient(new SocketsHttpHandler()) { BaseAddress = service.Client.BaseAddress, Timeout = _longBoot };
        client.DefaultRequestHeaders.Authorization = service.Client.DefaultRequestHeaders.Authorization;
        foreach (var (role, path) in files)
        {
            await using var stream = File.OpenRead(path);
            using var uploaded = await client.PutAsync($"/v1/images/{id}/files/{role}", new StreamContent(stream), Ct);
            Assert.True(uploaded.IsSuccessStatusCode, await uploaded.Content.ReadAsStringAsync(Ct));
        }
        Assert.Equal(ImagePhase.Ready, (await service.Client.GetFromJsonAsync<ImageView>($"/v1/images/{id}", Ct))!.Phase);
        return id;
    }

    private async Task<Guid> CreateAsync(object sandbox)
    {
        using var response = await service.Client.PostAsJsonAsync("/v1/sandboxes", sandbox);
        Assert.True(response.IsSuccessStatusCode, await response.Content.ReadAsStringAsync(Ct));
        return (await response.Content.ReadFromJsonAsync<SandboxView>(Ct))!.Id;
    }

    /// <summary>How many files this worker has fetched, those of other tests too.</summary>
    private async Task<int> FetchedAsync()
    {
        const string Series = "sandbox_image_fetches_total{result=\"fetched\"} ";
        var line = (await service.Client.GetStringAsync(service.WorkerMetrics, Ct)).Split('\n').Single(l => l.StartsWith(Series, StringComparison.Ordinal));
        return int.Parse(line[Series.Length..], CultureInfo.InvariantCulture);
    }

    private async Task RemoveAsync(Guid image)
    {
        using var deleted = await service.Client.DeleteAsync($"/v1/images/{image}", Ct);
        Assert.Equal(HttpStatusCode.NoContent, deleted.StatusCode);
    }

    [Fact]
    public async Task UploadedKernel_IsFetchedByTheNode_AndAGuestRunsFromIt_AgainWithoutFetching()
    {
        var folder = Path.Combine(Surroundings.Images, "guest");
        using var manifest = JsonDocument.Parse(await File.ReadAllTextAsync(Path.Combine(folder, "image.json"), Ct));
        string PathOf(string role) => Path.Combine(folder, manifest.RootElement.GetProperty("files").GetProperty(role).GetProperty("path").GetString()!);
        var image = await RegisterAsync(new
        {
            name = "uploaded",
            kernelVersion = manifest.RootElement.GetProperty("kernelVersion").GetString(),
            hasAgent = true,
            commandLine = manifest.RootElement.GetProperty("commandLine").GetString(),
            files = new { kernel = await DescribeAsync(PathOf("kernel")), initrd = await DescribeAsync(PathOf("initrd")) },
        }, ("kernel", PathOf("kernel")), ("initrd", PathOf("initrd")));

        var before = await FetchedAsync();
        foreach (var name in (string[])["first", "second"])
        {
            var id = await CreateAsync(new { name, image = "uploaded", memoryMib = 256, viommu = "None" });
            var view = await service.UntilAsync(id, v => v.Phase == Phase.Running && v.Conditions.Any(c => c is { Type: ConditionType.GuestReady, Status: ConditionStatus.True }), $"{name} runs", RunningService.Patience * 2);
            Assert.Equal((image, "uploaded"), (view.ImageId, view.Image));
            Assert.Equal(before + 2, await FetchedAsync());
            using (var refused = await service.Client.DeleteAsync($"/v1/images/{image}", Ct)) Assert.Equal(HttpStatusCode.Conflict, refused.StatusCode);
            await service.DeleteAsync(id);
            await service.NothingIsLeftAsync(id);
        }
        await RemoveAsync(image);
    }

    [Fact]
    public async Task CloudImage_IsUploaded_AndBootsToALogin_WithItsNameKeysAndUserData()
    {
        const string Key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0rWqzUFp0cVtTdd8yNMS1TTtJpVtKHgPdkL1cFfzX2 tenant-key";
        var disk = SkipReason.CloudImageOrSkip()!;
        var image = await RegisterAsync(new
        {
            name = "cloud",
            kernelVersion = "of the disk",
            diskFormat = disk.EndsWith(".raw", StringComparison.Ordinal) ? "raw" : "qcow2",
            files = new { disk = await DescribeAsync(disk) },
        }, ("disk", disk));
        var id = await CreateAsync(new { name = "cloud", image = "cloud", memoryMib = 1024, vcpus = 2, viommu = "None", sshKeys = (string[])[Key], userData = "#!/bin/sh\necho user-data-$((40+2)) on $(hostname) for $(cut -d ' ' -f 3 /home/*/.ssh/authorized_keys), no more >/dev/console\n" });
        var view = await service.UntilAsync(id, v => v.Phase is Phase.Running or Phase.Failed, "its VMM runs", _longBoot);
        Assert.Equal((Phase.Running, image), (view.Phase, view.ImageId));
        await using (var console = await ConsoleViewer.OpenAsync(service, id))
        {
            await console.UntilAsync(", no more", _longBoot);
            Assert.Contains("user-data-42 on cloud for tenant-key, no more", console.Text, StringComparison.Ordinal);
            await console.UntilAsync("cloud login: ", _longBoot);
        }
        // Nothing in it speaks to us: that it is ready is not known, and is not said.
        view = (await service.FindAsync(id))!;
        Assert.Equal(Phase.Running, view.Phase);
        Assert.Equal(ConditionStatus.Unknown, view.Conditions.Single(c => c.Type == ConditionType.GuestReady).Status);
        await service.DeleteAsync(id);
        await service.NothingIsLeftAsync(id);
        await RemoveAsync(image);
    }
}
