using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using Api.Data;
using Api.Nodes;
using Api.Sandboxes;
using Api.Tests.NodeLife;
using Contracts;
using Microsoft.EntityFrameworkCore;
using Microsoft.Extensions.DependencyInjection;
using Testing;
using Xunit;

namespace Api.Tests;

/// <summary>Huge pages as a resource: who may ask, what a node has, who is refused by which counts, and that two replicas do not promise the same pages.</summary>
public sealed class HugePageTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    private const int Small = 2048, Large = 1 << 20;

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    private static Node NodeOf(params HugePagePool[]? pools) => new()
    {
        Id = Guid.Parse("00000000-0000-0000-0000-000000000007"),
        Name = "n",
        TokenSha256 = [],
        Facts = new NodeFacts("arm64", "6.12", "Debian", "Neoverse N1", 8, 16384, 64, 16384, Acceleration.Tcg, "", "7.2", [], true, true, null, "boot", [], null, HugePages: pools),
    };

    public static TheoryData<string> Pools => [.. Table.Keys];

    private static readonly Dictionary<string, (HugePagePool[]? Pools, (long Pages, bool Begun)[] Placed, long? Capacity, long? Free)> Table = new()
    {
        ["an older worker"] = (null, [], null, null),
        ["none of that size"] = ([new(0, Large, 4, 4)], [], null, null),
        ["none set aside"] = ([new(0, Small, 0, 0)], [], 0, 0),
        ["of two NUMA nodes"] = ([new(0, Small, 100, 100), new(1, Small, 50, 40)], [], 140, 140),
        ["one that could not be read"] = ([new(0, Small, 100, 100), new(1, Small, null, null, "HugePagesUnreadable")], [], null, null),
        ["placed, not begun"] = ([new(0, Small, 100, 100)], [(30, false)], 100, 70),
        ["placed and begun"] = ([new(0, Small, 100, 70)], [(30, true)], 100, 70),
        ["begun, and others of the host have some"] = ([new(0, Small, 100, 50)], [(30, true)], 80, 50),
        ["both, and others have some"] = ([new(0, Small, 100, 50)], [(30, true), (20, false)], 80, 30),
        ["begun since the last report"] = ([new(0, Small, 100, 100)], [(30, true)], 100, 70),
    };

    [Theory]
    [MemberData(nameof(Pools))]
    public void Use_OfEachNode_IsThis(string name)
    {
        var (pools, placed, capacity, free) = Table[name];
        var (node, use) = (NodeOf(pools), new HugePageUse());
        foreach (var (pages, begun) in placed) use.Add(node.Id, HugePageSize.Size2Mi, pages, begun);
        Assert.Equal((capacity, free), (Of(use.CapacityOf(node)), Of(use.FreeOf(node))));

        static long? Of(Dictionary<HugePageSize, long> pages) => pages.TryGetValue(HugePageSize.Size2Mi, out var count) ? count : null;
    }

    [Theory]
    [InlineData("size2Mi", 513, "Qemu", "memoryMib")]
    [InlineData("size1Gi", 1536, "Qemu", "memoryMib")]
    [InlineData("size2Mi", 512, "Kvmtool", "hugePages")]
    [InlineData("size2Mi", 512, "Simulated", "hugePages")]
    [InlineData("size64Ki", 512, "Qemu", "hugePages")]
    public async Task Create_WhenItCannotBeGiven_IsRefusedByField(string hugePages, int memoryMib, string vmm, string field)
    {
        using var client = service.Client();
        using var response = await client.PostAsJsonAsync("/v1/sandboxes", new { name = "wrong", image = "guest", hugePages, memoryMib, vmm, viommu = vmm == "Kvmtool" ? "none" : "smmuv3" }, Ct);
        Assert.True(response.StatusCode is HttpStatusCode.UnprocessableEntity or HttpStatusCode.BadRequest, $"{response.StatusCode}");
        Assert.Contains(field, await response.Content.ReadAsStringAsync(Ct), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Placement_CountsPagesLikeMemory_AndSaysHowManyAreMissing()
    {
        await using var replica = service.NewReplica();
        var (node, _, _) = await service.JoinAsync("pages", replica);
        await using var _1 = node;
        using var client = service.Client(replica);
        object Asks(string name, int memoryMib = 512) => new { name, image = "guest", node = "pages", hugePages = "size2Mi", memoryMib };
        async Task<PlacementView> TryAsync(object body)
        {
            using var response = await client.PostAsJsonAsync("/v1/placements", body, Ct);
            return (await response.Content.ReadFromJsonAsync<PlacementView>(Ct))!;
        }

        // Its worker is older: it is promised nothing, and what asks for none is placed.
        Assert.Equal("HugePagesUnknown", (await TryAsync(Asks("old"))).Nodes!.Single(n => n.Name == "pages").Reason);
        Assert.True((await TryAsync(new { image = "guest", node = "pages" })).Fits);

        node.HugePages = [new(0, Small, 200, 200), new(1, Small, 156, 156)];
        await node.SyncAsync();
        Assert.Equal(356, (await client.GetFromJsonAsync<Page<NodeView>>("/v1/nodes", Ct))!.Items.Single(n => n.Name == "pages").Facts!.HugePages!.Sum(p => p.Free));
        var first = await client.AskAsync(Asks("first"));
        Assert.Equal(HugePageSize.Size2Mi, first.HugePages);
        await node.PlannedAsync(first.Id);
        Assert.Equal(HugePageSize.Size2Mi, node.Plan.Sandboxes.Single(s => s.Id == first.Id).Spec.HugePages);
        var second = await client.AskAsync(Asks("second"));
        await Eventually.Async(async () => (await client.FindAsync(second.Id))!.Conditions.Any(c => c.Reason == "NoHugePages" && c.Message.Contains("2 MiB: 256 needed, 100 free", StringComparison.Ordinal)), "it waits, and is told the counts");

        // Its guest has its pages: the kernel's count of free ones has gone down by as many, and the same are left.
        node.HugePages = [new(0, Small, 200, 0), new(1, Small, 156, 100)];
        await node.SayAsync(first.Id, VmState.Running);
        var answer = await TryAsync(Asks("third"));
        var refusal = answer.Refusals.Single(r => r.Reason == "NoHugePages");
        Assert.Contains("Of 2 MiB: 256 needed, 100 free.", refusal.Message, StringComparison.Ordinal);
        Assert.Equal(("NoHugePages", "2 MiB: 256 needed, 100 free"), answer.Nodes!.Where(n => n.Name == "pages").Select(n => (n.Reason, n.Detail)).Single());
        Assert.True((await TryAsync(Asks("fits", 200))).Fits);

        // Something else on the host takes twenty of those.
        node.HugePages = [new(0, Small, 200, 0), new(1, Small, 156, 80)];
        await node.SyncAsync();
        Assert.False((await TryAsync(Asks("fits", 200))).Fits);
        Assert.True((await TryAsync(Asks("fits", 160))).Fits);

        await node.SayAsync(first.Id, VmState.Stopped);
        node.HugePages = [new(0, Small, 200, 180), new(1, Small, 156, 156)];
        await node.SyncAsync();
        await node.PlannedAsync(second.Id);
    }

    /// <summary>Each of two replicas has seen a node with room for one and has chosen it for another sandbox.</summary>
    [Fact]
    public async Task Place_WhenAnotherReplicaHasGivenThePagesMeanwhile_StoresNothing()
    {
        await using var replica = service.NewReplica();
        var (node, id, _) = await service.JoinAsync("raced", replica);
        await using var _1 = node;
        node.HugePages = [new(0, Small, 300, 300)];
        await node.SyncAsync();
        using var client = service.Client(replica);
        // A node of that name is nowhere, so that no scheduler places them.
        var waiting = new List<Guid>();
        foreach (var name in (string[])["one", "two"]) waiting.Add((await client.AskAsync(new { name, image = "guest", node = "nowhere", hugePages = "size2Mi", memoryMib = 512 })).Id);
        await using var scope = replica.Services.CreateAsyncScope();
        var db = scope.ServiceProvider.GetRequiredService<SandboxDb>();
        var decisions = new List<PlacementRound.Decision>();
        foreach (var sandbox in waiting)
        {
            var request = FleetReading.RequestOf(await db.Sandboxes.AsNoTracking().SingleAsync(s => s.Id == sandbox, Ct), new Dictionary<Guid, Placement.Image>()) with { WantedNode = "raced" };
            var chosen = Assert.IsType<Placement.Placed>(new PlacementFleet(await FleetReading.ReadFleetAsync(db, Ct)).Choose(request));
            decisions.Add(new(new(sandbox, request.Project, 0, default, request), chosen));
        }
        var now = TimeProvider.System.GetUtcNow();
        await PlacementStore.PlaceAsync(db, [decisions[0]], now, Ct);
        await Assert.ThrowsAsync<DbUpdateConcurrencyException>(() => PlacementStore.PlaceAsync(db, [decisions[1]], now, Ct));
        Assert.Equal(1, await service.ScalarAsync($"SELECT count(*) FROM sandboxes WHERE node_id = '{id}'"));
        Assert.Equal((Phase.Scheduled, Phase.Pending), ((await client.FindAsync(waiting[0]))!.Phase, (await client.FindAsync(waiting[1]))!.Phase));
    }

    [Fact]
    public void Spec_OfAnOlderApi_AsksForNone() =>
        Assert.Equal(HugePageSize.None, JsonSerializer.Deserialize("""{"image":"guest","vcpus":1,"memoryMib":512,"viommu":"None","devices":[],"userData":null,"sshKeys":[],"vmm":"Qemu"}""", NodeJson.Default.NodePlan.Options.GetTypeInfo(typeof(SandboxSpec))) is SandboxSpec spec ? spec.HugePages : (HugePageSize)(-1));
}
