using System.Net.Http.Json;
using System.Text.Json;
using System.Text.Json.Nodes;
using Contracts;
using Microsoft.AspNetCore.SignalR;
using Microsoft.AspNetCore.SignalR.Client;
using Testing;
using Xunit;
using static Api.Tests.NodeLife.NodeCalls;

namespace Api.Tests.NodeLife;

/// <summary>Workers of other versions than the API.</summary>
public sealed class ProtocolSkewTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    [Theory]
    [InlineData(3, 5, 3, 5, ProtocolSkew.Judgement.Fits)]
    [InlineData(3, 5, 3, 4, ProtocolSkew.Judgement.Fits)]
    [InlineData(3, 5, 3, 6, ProtocolSkew.Judgement.Fits)]
    [InlineData(3, 5, 3, 3, ProtocolSkew.Judgement.TooOld)]
    [InlineData(3, 5, 3, 7, ProtocolSkew.Judgement.TooNew)]
    [InlineData(3, 0, 3, -1, ProtocolSkew.Judgement.Fits)]
    [InlineData(3, 5, 2, 5, ProtocolSkew.Judgement.TooOld)]
    [InlineData(3, 5, 4, 5, ProtocolSkew.Judgement.TooNew)]
    [InlineData(3, int.MaxValue, 3, int.MaxValue, ProtocolSkew.Judgement.Fits)]
    [InlineData(3, int.MaxValue, 3, int.MinValue, ProtocolSkew.Judgement.TooOld)]
    public void Judgement_Table(int ownMajor, int ownMinor, int otherMajor, int otherMinor, ProtocolSkew.Judgement expected) =>
        Assert.Equal(expected, ProtocolSkew.Of(ownMajor, ownMinor, otherMajor, otherMinor));

    [Fact]
    public void Judgement_IsTheSameFromBothSides()
    {
        for (var a = 0; a < 6; a++)
            for (var b = 0; b < 6; b++)
                Assert.Equal(ProtocolSkew.Of(3, a, 3, b) == ProtocolSkew.Judgement.Fits, ProtocolSkew.Of(3, b, 3, a) == ProtocolSkew.Judgement.Fits);
    }

    /// <summary>As a worker of 3.1 sent it: nothing of what came later.</summary>
    private const string Recorded = """
        {"protocol":3,"workerVersion":"1.0.0","at":"2026-01-02T03:04:05+00:00","appliedPlanRevision":0,
         "facts":{"architecture":"arm64","kernel":"6.12","operatingSystem":"Debian","cpuModel":"Neoverse N1","hostCpus":8,"hostMemoryMib":16384,"vcpuCapacity":64,"memoryCapacityMib":16384,
          "acceleration":"Tcg","accelerationReason":"NoKvm","vmmVersion":"7.2","viommus":["Smmuv3","None"],"ownUidPerVm":true,"cgroupPerVm":true,"cgroupLimitsReason":null,"bootId":"boot","problems":[],"kvmtoolVersion":null},
         "devices":[{"address":"edu-0","class":"edu","vendorId":"1234","deviceId":"11e8","description":"edu","origin":"Emulated","heldBy":null,"phase":"Available","quarantine":null,
          "verdict":{"class":"PassthroughOnly","reason":"Test","message":"Recorded.","origin":"Emulated","links":[]},"viommus":["Smmuv3"],"fitsKvmtool":false}],
         "images":[{"name":"guest","digest":"sha256:00","architecture":"arm64","kernel":"6.12","hasAgent":true,"sizeBytes":1}],"sandboxes":[],"installation":"INSTALLATION","protocolMinor":1}
        """;

    /// <summary>It would start the folder's image of that name, on ordinary pages.</summary>
    [Fact]
    public async Task Plan_ForAWorkerThatWasSetBack_NamesNoImageItWouldTakeForAnother()
    {
        await using var node = await service.NodeAsync();
        using var client = service.Client();
        node.HugePages = [new HugePagePool(null, 2048, 4096, 4096)];
        await node.SyncAsync();
        using var created = await client.PostAsJsonAsync("/v1/sandboxes", new { name = "huge", image = "guest", memoryMib = 128, hugePages = "Size2Mi" }, Ct);
        var id = (await created.Content.ReadFromJsonAsync<SandboxView>(Ct))!.Id;
        await Eventually.Async(async () => (await node.SyncAsync()).Sandboxes.Any(s => s.Id == id && s.Spec.Image == "guest"), "it is placed");
        node.ProtocolMinor = NodeProtocol.RegisteredImages - 1;
        Assert.Equal("needs protocol 3.2", (await node.SyncAsync()).Sandboxes.Single(s => s.Id == id).Spec.Image);
        node.ProtocolMinor = NodeProtocol.Minor;
        Assert.Equal("guest", (await node.SyncAsync()).Sandboxes.Single(s => s.Id == id).Spec.Image);
    }

    private static JsonObject Newer(StandInNode node)
    {
        var report = JsonSerializer.SerializeToNode(node.Report() with { ProtocolMinor = NodeProtocol.Minor + 1 }, JsonSerializerOptions.Web)!.AsObject();
        foreach (var known in (JsonObject[])[report, report["facts"]!.AsObject(), report["devices"]![0]!.AsObject(), report["images"]![0]!.AsObject()])
            known["ofTheFuture"] = new JsonObject { ["list"] = new JsonArray(1, "two", null) };
        return report;
    }

    [Fact]
    public async Task Worker_OneMinorApart_GoesOn_FurtherIsRefusedAndShown()
    {
        await using var node = await service.NodeAsync();
        using var admin = service.Client();
        async Task<NodeView> ViewAsync() => (await admin.GetFromJsonAsync<Page<NodeView>>("/v1/nodes", Ct))!.Items.Single();
        async Task<NodePlan> SayAsync(JsonNode report) => await node.Connection.InvokeAsync<NodePlan>(NodeProtocol.Sync, report, Ct);

        Assert.Equal((NodeProtocol.Version, NodeProtocol.Minor), ((await SayAsync(Newer(node))).Protocol, node.Plan.ProtocolMinor));
        var older = JsonNode.Parse(Recorded.Replace("INSTALLATION", service.Installation.ToString(), StringComparison.Ordinal))!;
        await SayAsync(older);
        Assert.Equal(("1.0.0", null), ((await ViewAsync()).WorkerVersion, (await ViewAsync()).Refusal));

        foreach (var (major, minor, reason) in new[] { (NodeProtocol.Version, NodeProtocol.Minor + 2, "WorkerTooNew"), (NodeProtocol.Version + 1, 0, "WorkerTooNew"), (NodeProtocol.Version - 1, 9, "WorkerTooOld") })
        {
            var report = node.Report() with { Protocol = major, ProtocolMinor = minor, WorkerVersion = "refused" };
            foreach (var _ in (int[])[1, 2])
                Assert.Contains($"HubException: {reason}: ", (await Assert.ThrowsAsync<HubException>(() => node.Connection.InvokeAsync<NodePlan>(NodeProtocol.Sync, report, Ct))).Message, StringComparison.Ordinal);
            var shown = await ViewAsync();
            Assert.Equal((reason, "1.0.0"), (shown.Refusal?.Reason, shown.WorkerVersion));
            Assert.Contains($"{major}.{minor}", shown.Refusal!.Message, StringComparison.Ordinal);
            Assert.NotEmpty(shown.Refusal.Remedy);
        }
        // Another machine's is nobody's news, and each version is told once.
        var foreign = node.Report() with { ProtocolMinor = 77, Installation = Guid.NewGuid() };
        await Assert.ThrowsAsync<HubException>(() => node.Connection.InvokeAsync<NodePlan>(NodeProtocol.Sync, foreign, Ct));
        Assert.Equal(["WorkerTooNew", "WorkerTooNew", "WorkerTooOld"], (await admin.EventsAsync((await ViewAsync()).Id, "node.workerRefused")).Select(e => e.Reason));
        await node.SyncAsync();
        Assert.Null((await ViewAsync()).Refusal);
    }
}
