using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using Contracts;
using Testing;
using Xunit;
using static Api.Tests.Images.ImageCalls;

namespace Api.Tests.Images;

/// <summary>Which image a sandbox starts from, when it is placed, and what its node is given of it.</summary>
public sealed class ImageChoiceTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    private static async Task<SandboxView> AskAsync(HttpClient client, string name, string image, object? vmm = null)
    {
        using var response = await client.PostAsJsonAsync("/v1/sandboxes", new { name, image, vmm, viommu = "none" });
        Assert.True(response.StatusCode == HttpStatusCode.Created, await response.Content.ReadAsStringAsync());
        return (await response.Content.ReadFromJsonAsync<SandboxView>())!;
    }

    private static Task<Condition> RefusedAsync(HttpClient client, Guid id, string reason) => Eventually.GetAsync(
        async () => (await client.FindAsync(id))?.Conditions.SingleOrDefault(c => c.Type == ConditionType.Placed && c.Reason == reason && c.Status == ConditionStatus.False), $"it waits for {reason}", Patience);

    private static Task<PlannedSandbox> PlannedAsync(StandInNode node, Guid id) => Eventually.GetAsync(async () => (await node.SyncAsync()).Sandboxes.SingleOrDefault(s => s.Id == id && s.Desired == DesiredState.Running), "it is placed", Patience);

    [Fact]
    public async Task Name_MeansTheProjectsOwn_ThenASharedOne_ThenAFolder_AndStaysWhatItMeant()
    {
        await using var node = await service.NodeAsync();
        using var operating = service.Client();
        using var own = await service.TenantClientAsync("chooses");
        var folder = await AskAsync(own, "folder", "guest");
        var shared = await operating.ReadyAsync("guest", Random(100), shared: true);
        var common = await AskAsync(own, "common", "guest");
        var mine = await own.ReadyAsync("guest", Random(100));
        var private1 = await AskAsync(own, "private", "guest");
        Assert.Equal([null, shared.Id, mine.Id], [folder.ImageId, common.ImageId, private1.ImageId]);
        foreach (var (sandbox, image) in new[] { (folder, null), (common, shared), (private1, mine) })
        {
            var planned = (await PlannedAsync(node, sandbox.Id)).Spec;
            Assert.Equal(("guest", image?.Id, image?.Files![0].Sha256), (planned.Image, planned.Registered?.Id, planned.Registered?.Files[0].Sha256));
        }
        // What the name means now changes nothing of those that there are.
        Assert.Equal([null, shared.Id, mine.Id], [(await own.FindAsync(folder.Id))!.ImageId, (await own.FindAsync(common.Id))!.ImageId, (await own.FindAsync(private1.Id))!.ImageId]);
        Assert.Equal([ImageSource.Project, ImageSource.Shared, ImageSource.Node], (await own.GetFromJsonAsync<Page<ImageView>>("/v1/images"))!.Items.Select(i => i.Source));
        using var none = await own.PostAsJsonAsync("/v1/sandboxes", new { name = "none", image = "nothing" });
        Assert.Equal("422 image_not_found", await none.AnswerAsync());
        foreach (var sandbox in new[] { folder, common, private1 }) (await own.DeleteAsync($"/v1/sandboxes/{sandbox.Id}", Ct)).Dispose();
    }

    [Fact]
    public async Task Sandbox_OfAnImageThatIsNotReady_Waits_AndIsPlacedOnceItIs()
    {
        await using var node = await service.NodeAsync();
        using var client = await service.TenantClientAsync("waits");
        var kernel = Random(100);
        var image = await client.RegisterAsync(OfKernel("late", kernel));
        var id = (await AskAsync(client, "early", "late")).Id;
        var told = await RefusedAsync(client, id, "ImageNotReady");
        Assert.Contains("ImageNotReady on 1 of 1", told.Message, StringComparison.Ordinal);
        var asked = (await client.GetFromJsonAsync<PlacementView>($"/v1/sandboxes/{id}/placement"))!;
        Assert.Equal((false, "ImageNotReady", 1), (asked.Fits, asked.Refusals.Single().Reason, asked.Refusals.Single().Nodes));
        using (var dry = await client.PostAsJsonAsync("/v1/placements", new { image = "late" })) Assert.Equal("ImageNotReady", (await dry.Content.ReadFromJsonAsync<PlacementView>())!.Refusals.Single().Reason);
        Assert.Equal("200", await client.UploadAsync(image.Id!.Value, "kernel", kernel));
        Assert.Equal(image.Id, (await PlannedAsync(node, id)).Spec.Registered!.Id);
        (await client.DeleteAsync($"/v1/sandboxes/{id}", Ct)).Dispose();
    }

    [Fact]
    public async Task Sandbox_OfAnImageThatFailed_Waits_AndIsToldWhy()
    {
        await using var node = await service.NodeAsync();
        using var client = await service.TenantClientAsync("fails");
        var id = (await client.RegisterAsync(OfKernel("gone", Random(10), "https://localhost/kernel"))).Id!.Value;
        await client.UntilAsync(id, ImagePhase.Failed);
        var sandbox = (await AskAsync(client, "waits", "gone")).Id;
        Assert.Contains("AddressRefused: ", (await RefusedAsync(client, sandbox, "ImageFailed")).Message, StringComparison.Ordinal);
        (await client.DeleteAsync($"/v1/sandboxes/{sandbox}", Ct)).Dispose();
    }

    [Fact]
    public async Task Placement_OfARegisteredImage_WantsAWorkerThatFetches_AndADiskItsVmmAndFirmware()
    {
        await using var node = await service.NodeAsync();
        using var client = await service.TenantClientAsync("wants");
        var disk = Random(512);
        await client.ReadyAsync("kernel", Random(10));
        var image = await client.RegisterAsync(new { name = "disk", kernelVersion = "x", diskFormat = "raw", files = new { disk = File(disk) } });
        Assert.Equal("200", await client.UploadAsync(image.Id!.Value, "disk", disk));
        async Task<string?> TryAsync(string of, string? vmm = null)
        {
            await node.SyncAsync();
            using var answer = await client.PostAsJsonAsync("/v1/placements", new { image = of, viommu = "none", vmm });
            return (await answer.Content.ReadFromJsonAsync<PlacementView>())!.Refusals.SingleOrDefault()?.Reason;
        }
        node.KvmtoolVersion = "3.0";
        Assert.Equal((null, null, "DiskImageUnsupported", null), (await TryAsync("kernel"), await TryAsync("disk"), await TryAsync("disk", "kvmtool"), await TryAsync("kernel", "kvmtool")));
        node.HasFirmware = false;
        Assert.Equal((null, "FirmwareMissing"), (await TryAsync("kernel"), await TryAsync("disk")));
        node.HasFirmware = null;
        Assert.Null(await TryAsync("disk"));
        node.ProtocolMinor = NodeProtocol.RegisteredImages - 1;
        Assert.Equal("WorkerTooOldForImage", await TryAsync("kernel"));
    }

    [Fact]
    public async Task Placement_OfARegisteredImage_WantsRoomForItsFiles_BesideThoseInUse()
    {
        await using var node = await service.NodeAsync();
        using var client = await service.TenantClientAsync("room");
        // What another test has left there uses its image still.
        foreach (var left in (await node.SyncAsync()).Sandboxes) await node.SayAsync(left.Id, VmState.Absent);
        await client.ReadyAsync("small", Random(400));
        await client.ReadyAsync("other", Random(500));
        await client.ReadyAsync("large", Random(1001));
        async Task<string?> TryAsync(string of)
        {
            await node.SyncAsync();
            using var answer = await client.PostAsJsonAsync("/v1/placements", new { image = of, viommu = "none" });
            return (await answer.Content.ReadFromJsonAsync<PlacementView>())!.Refusals.SingleOrDefault()?.Reason;
        }
        // Of other tests: what a node still has of them is in use.
        foreach (var left in (await node.SyncAsync()).Sandboxes) await node.SayAsync(left.Id, VmState.Absent);
        node.ImageCacheMaxBytes = 1000;
        Assert.Equal((null, null, "ImageTooLarge"), (await TryAsync("small"), await TryAsync("other"), await TryAsync("large")));
        var id = (await AskAsync(client, "uses", "small")).Id;
        await PlannedAsync(node, id);
        // What is used counts once however many use it.
        Assert.Equal((null, null), (await TryAsync("small"), await TryAsync("other")));
        node.ImageCacheMaxBytes = 899;
        Assert.Equal((null, "ImageCacheFull"), (await TryAsync("small"), await TryAsync("other")));
        var waits = (await AskAsync(client, "waits", "other")).Id;
        await RefusedAsync(client, waits, "ImageCacheFull");
        await node.SayAsync(id, VmState.Running);
        (await client.PostAsync($"/v1/sandboxes/{id}/stop", null, Ct)).Dispose();
        await node.SyncAsync();
        await node.SayAsync(id, VmState.Stopped);
        await PlannedAsync(node, waits);
        // Nothing but the limit changes, and that is looked at.
        var second = (await AskAsync(client, "second", "small")).Id;
        await RefusedAsync(client, second, "ImageCacheFull");
        node.ImageCacheMaxBytes = 1000;
        await node.SyncAsync();
        await PlannedAsync(node, second);
        node.ImageCacheMaxBytes = null;
        Assert.Null(await TryAsync("large"));
        foreach (var each in (Guid[])[id, waits, second]) (await client.DeleteAsync($"/v1/sandboxes/{each}", Ct)).Dispose();
    }

    [Fact]
    public async Task Node_IsGivenWhatItsPlanNames_AlsoInParts_AndNothingElse()
    {
        await using var node = await service.NodeAsync();
        using var client = await service.TenantClientAsync("gives");
        byte[] kernel = Random((2 << 20) + 9), unplanned = Random(10);
        await client.ReadyAsync("planned", kernel);
        await client.ReadyAsync("unplanned", unplanned);
        using var worker = service.ClientOf(service.NodeToken);
        async Task<HttpResponseMessage> FetchAsync(HttpClient by, string sha256, RangeHeaderValue? range = null)
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, NodeProtocol.ImageFilesPath + sha256) { Headers = { Range = range } };
            return await by.SendAsync(request, Ct);
        }
        using (var early = await FetchAsync(worker, Sha256(kernel))) Assert.Equal("404 image_file_not_planned", await early.AnswerAsync());
        var sandbox = (await AskAsync(client, "runs", "planned")).Id;
        await PlannedAsync(node, sandbox);
        using (var whole = await FetchAsync(worker, Sha256(kernel)))
        {
            Assert.Equal((HttpStatusCode.OK, (long?)kernel.Length), (whole.StatusCode, whole.Content.Headers.ContentLength));
            Assert.Equal(kernel, await whole.Content.ReadAsByteArrayAsync(Ct));
        }
        foreach (var (from, to) in new[] { (1 << 20, (int?)null), ((1 << 20) - 3, (1 << 20) + 3), (kernel.Length - 1, null), (0, 0) })
        {
            using var part = await FetchAsync(worker, Sha256(kernel), new RangeHeaderValue(from, to));
            Assert.Equal((HttpStatusCode.PartialContent, (long?)from), (part.StatusCode, part.Content.Headers.ContentRange!.From));
            Assert.Equal(kernel[from..((to + 1) ?? kernel.Length)], await part.Content.ReadAsByteArrayAsync(Ct));
        }
        using (var beyond = await FetchAsync(worker, Sha256(kernel), new RangeHeaderValue(kernel.Length, null))) Assert.Equal(HttpStatusCode.RequestedRangeNotSatisfiable, beyond.StatusCode);
        using (var not = await FetchAsync(worker, Sha256(unplanned))) Assert.Equal("404 image_file_not_planned", await not.AnswerAsync());
        using (var path = await FetchAsync(worker, "..%2F..%2Fetc%2Fpasswd")) Assert.Equal(HttpStatusCode.NotFound, path.StatusCode);
        using (var user = await FetchAsync(client, Sha256(kernel))) Assert.Equal(HttpStatusCode.Unauthorized, user.StatusCode);
        // What another node runs is none of its business: it has a token of its own.
        var secret = await OtherTokenAsync();
        using var foreign = service.ClientOf(secret);
        using (var not = await FetchAsync(foreign, Sha256(kernel))) Assert.Equal("404 image_file_not_planned", await not.AnswerAsync());
        (await client.DeleteAsync($"/v1/sandboxes/{sandbox}", Ct)).Dispose();
        await node.SyncAsync();
        await node.SayAsync(sandbox, VmState.Absent);
        using (var gone = await FetchAsync(worker, Sha256(kernel))) Assert.Equal("404 image_file_not_planned", await gone.AnswerAsync());
    }

    private async Task<string> OtherTokenAsync()
    {
        using var operating = service.Client();
        using var made = await operating.PostAsJsonAsync("/v1/nodes/join-tokens", new { name = "third" });
        using var joining = service.ClientOf((await made.Content.ReadFromJsonAsync<JoinTokenView>())!.Token);
        using var joined = await joining.PostAsJsonAsync("/v1/nodes/join", new NodeJoin(Guid.NewGuid()));
        return (await joined.Content.ReadFromJsonAsync<NodeJoined>())!.Token;
    }
}
