using System.Net.Http.Json;
using Api.Sandboxes;
using Contracts;
using CsCheck;
using Microsoft.AspNetCore.Mvc.Testing;
using Microsoft.Extensions.DependencyInjection;
using Testing;
using Xunit;

namespace Api.Tests;

/// <summary>Who ends for one of higher priority: the choice as table and property, the notice and the end by requests.</summary>
public sealed class PreemptionTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    private static Guid Number(int number) => new(number, 0, 0, [0, 0, 0, 0, 0, 0, 0, 0]);

    private static Placement.FreeDevice Edu() => new(Guid.NewGuid(), "edu", new HashSet<Viommu> { Viommu.None }, false);

    private static Placement.Request Wants(int vcpus, int edu, int priority) =>
        new("guest", vcpus, 128, Viommu.None, edu == 0 ? [] : [new("edu", edu)]) { Id = Number(999), Priority = priority, Preempts = true };

    /// <summary>A node of 8 vCPUs and what runs on it: priority, vCPUs and devices of each; the rest of the vCPUs is free.</summary>
    private static (Placement.NodePicture Node, List<Preemption.Guest> Guests) Node(int number, NodePhase phase, params (int Priority, int Vcpus, int Edu)[] running) => Keeping(null, number, phase, running);

    /// <summary>One that keeps so much of registered images, of which 40 bytes are in use.</summary>
    private static (Placement.NodePicture Node, List<Preemption.Guest> Guests) Keeping(long? cacheBytes, int number, NodePhase phase, params (int Priority, int Vcpus, int Edu)[] running)
    {
        var id = Number(number);
        var guests = running.Select((r, i) => new Preemption.Guest(Number(100 * number + i), id, r.Priority, r.Vcpus, 128, [.. Enumerable.Range(0, r.Edu).Select(_ => Edu())])).ToList();
        return (new()
        {
            Id = id,
            Name = $"n{number}",
            Phase = phase,
            Vmms = new HashSet<Vmm> { Vmm.Qemu },
            Viommus = new HashSet<Viommu> { Viommu.None },
            Images = new HashSet<string> { "guest" },
            StartsRegistered = true,
            ImageCacheMaxBytes = cacheBytes,
            ImageFiles = [new("used", 40)],
            VcpuCapacity = 8,
            MemoryCapacityMib = 10_000,
            FreeVcpus = 8 - running.Sum(r => r.Vcpus),
            FreeMemoryMib = 10_000 - 128 * running.Length,
            FreeDevices = [],
            HeldDevices = [.. guests.SelectMany(g => g.Devices)],
        }, guests);
    }

    private static Preemption.Choice? Choose(Placement.Request request, params (Placement.NodePicture Node, List<Preemption.Guest> Guests)[] fleet) =>
        Preemption.Choose(request, [.. fleet.Select(f => f.Node)], fleet.SelectMany(f => f.Guests).ToLookup(g => g.Node));

    private static string Victims(Preemption.Choice? choice) => choice is null ? "-" : $"{choice.Node.Name}:{string.Join(',', choice.Victims.Select(v => v.Priority).Order())}";

    [Fact]
    public void Choose_WhereANodeCannotKeepTheImage_EndsNobodyThere_AndHidesNoOther()
    {
        var request = Wants(4, 0, 5) with { Registered = new(Number(7), ImagePhase.Ready, false) { Files = [new("wanted", 100)] } };
        foreach (var tooSmall in (long[])[99, 139])
        {
            Assert.Equal("-", Victims(Choose(request, Keeping(tooSmall, 1, NodePhase.Ready, (0, 8, 0)))));
            // An empty one that refuses it all the same is no place.
            Assert.Equal("n2:0", Victims(Choose(request, Keeping(tooSmall, 1, NodePhase.Ready), Keeping(140, 2, NodePhase.Ready, (0, 8, 0)))));
        }
    }

    [Fact]
    public void Choose_TakesTheFewest_ThenTheLowest_AndNobodyInVain()
    {
        // One instead of two, though of higher priority.
        Assert.Equal("n1:3", Victims(Choose(Wants(4, 0, 5), Node(1, NodePhase.Ready, (0, 2, 0), (0, 2, 0), (3, 4, 0)))));
        // Of single ones the lowest, wherever.
        Assert.Equal("n2:-1", Victims(Choose(Wants(4, 0, 5), Node(1, NodePhase.Ready, (0, 4, 0), (1, 4, 0)), Node(2, NodePhase.Ready, (-1, 8, 0)))));
        // Those that hold what it needs.
        Assert.Equal("n1:2,4", Victims(Choose(Wants(1, 2, 5), Node(1, NodePhase.Ready, (0, 1, 0), (2, 1, 1), (4, 1, 1), (5, 1, 1)))));
        // Not of its own priority, not where it may not go, not where their end would not do, not when it fits already.
        Assert.Equal("-", Victims(Choose(Wants(4, 0, 5), Node(1, NodePhase.Ready, (5, 8, 0)))));
        Assert.Equal("-", Victims(Choose(Wants(4, 0, 5), Node(1, NodePhase.Cordoned, (0, 8, 0)))));
        Assert.Equal("-", Victims(Choose(Wants(4, 1, 5), Node(1, NodePhase.Ready, (0, 8, 0)))));
        Assert.Equal("-", Victims(Choose(Wants(4, 0, 5), Node(1, NodePhase.Ready, (0, 8, 0)), Node(2, NodePhase.Ready, (0, 4, 0)))));
        // Not when somebody ends anyway whose place will do.
        var (node, guests) = Node(1, NodePhase.Ready, (0, 4, 0), (9, 4, 0));
        Assert.Equal("-", Victims(Choose(Wants(4, 0, 5), (node, [guests[0], guests[1] with { Leaves = true }]))));
        // A node that is kept for another of that priority.
        var kept = Node(1, NodePhase.Ready, (0, 8, 0));
        kept.Node.Reservation = new(Number(7), 5);
        Assert.Equal("-", Victims(Choose(Wants(4, 0, 5), kept)));
        Assert.Equal("n1:0", Victims(Choose(Wants(4, 0, 6), kept)));
    }

    [Fact]
    public void Choose_OfAnyFleet_IsEnough_SparesNobodyInVain_AndIsTheFewest() => Gen.Select(
        Gen.Select(Gen.Int[0, 3], Gen.Int[0, 2], Gen.Int[0, 2]).Array[0, 6].Array[1, 3], Gen.Int[1, 8], Gen.Int[0, 4], Gen.Int[1, 3]).Sample((running, vcpus, edu, priority) =>
    {
        var fleet = running.Select((of, i) => Node(i + 1, NodePhase.Ready, [.. of.Select(r => (r.Item1, r.Item2 == 0 ? 1 : Math.Min(r.Item2, 8 / of.Length), r.Item3))])).ToArray();
        var request = Wants(vcpus, edu, priority);
        var choice = Choose(request, fleet);
        // All sets of all nodes.
        var enough = fleet.SelectMany(f => Enumerable.Range(0, 1 << f.Guests.Count).Select(bits => f.Guests.Where((_, i) => (bits >> i & 1) == 1).ToList())
            .Where(set => set.TrueForAll(g => g.Priority < priority) && Preemption.Fits(request, f.Node, set))).ToList();
        Assert.Equal(enough.Count > 0 && enough.TrueForAll(set => set.Count > 0), choice is not null);
        if (choice is null) return;
        Assert.All(choice.Victims, v => Assert.True(v.Priority < priority && v.Node == choice.Node.Id));
        Assert.True(Preemption.Fits(request, choice.Node, [.. choice.Victims]));
        Assert.All(choice.Victims, spared => Assert.False(Preemption.Fits(request, choice.Node, [.. choice.Victims.Where(v => v != spared)])));
        var fewest = enough.Min(set => set.Count);
        if (fewest > 3) return;
        Assert.Equal(fewest, choice.Victims.Count);
        Assert.Equal(enough.Where(set => set.Count == fewest).Min(set => set.Max(g => g.Priority)), choice.Victims.Max(v => v.Priority));
    });

    [Fact]
    public void Choose_AmongMany_SparesWhomItCan()
    {
        var (node, guests) = Node(1, NodePhase.Ready, [.. Enumerable.Range(0, 8).Select(i => (i % 2, 1, 0))]);
        var choice = Preemption.Choose(Wants(6, 0, 5), [node], guests.ToLookup(g => g.Node))!;
        Assert.Equal((6, 4), (choice.Victims.Count, choice.Victims.Count(v => v.Priority == 0)));
    }

    private async Task<StandInNode> NodeAsync(WebApplicationFactory<Api.Data.SandboxDb> replica)
    {
        var node = new StandInNode(replica, service.NodeToken, 2) { Installation = service.Installation };
        await node.StartAsync();
        return node;
    }

    private static async Task<Guid> CreateAsync(HttpClient client, string name, int edu, int priority = 0, bool preempts = false)
    {
        using var response = await client.PostAsJsonAsync("/v1/sandboxes", new { name, image = "guest", priority, accelerators = edu == 0 ? [] : new[] { new { @class = "edu", count = edu } }, placement = new { preempts } }, Ct);
        Assert.True(response.IsSuccessStatusCode, await response.Content.ReadAsStringAsync(Ct));
        return (await response.Content.ReadFromJsonAsync<SandboxView>(Ct))!.Id;
    }

    private static async Task RunAsync(HttpClient client, StandInNode node, Guid id)
    {
        await Eventually.Async(async () => (await client.FindAsync(id))!.Phase == Phase.Scheduled, "it is placed");
        await node.SyncAsync();
        await node.SayAsync(id, VmState.Running);
    }

    private static async Task EndAsync(HttpClient client, StandInNode node, Guid id)
    {
        (await client.DeleteAsync($"/v1/sandboxes/{id}", Ct)).EnsureSuccessStatusCode().Dispose();
        await node.SyncAsync();
        if (node.Plan.Sandboxes.Any(s => s.Id == id)) await node.SayAsync(id, VmState.Absent);
    }

    private static async Task<string[]> ToldAsync(HttpClient client, Guid id) =>
        [.. (await client.GetFromJsonAsync<Page<EventView>>($"/v1/events?subject={id}&type=sandbox.preempting&limit=1000", Ct))!.Items.Select(e => e.Reason)];

    [Fact]
    public async Task Preempting_EndsTheFewestAfterTheirNotice_AndGivesTheirPlaceToNobodyElse()
    {
        await using var replica = service.NewReplica(("Placement:PreemptionNoticeSeconds", "1"));
        await using var node = await NodeAsync(replica);
        using var admin = service.Client(replica);
        using var tenant = await service.TenantClientAsync("ends", replica);
        var (stays, ends) = (await CreateAsync(tenant, "stays", 1), await CreateAsync(tenant, "ends", 1));
        await RunAsync(tenant, node, stays);
        await RunAsync(tenant, node, ends);
        var second = await CreateAsync(admin, "second", 1, 5);
        var first = await CreateAsync(admin, "first", 1, 5, preempts: true);
        await Eventually.Async(async () => (await tenant.FindAsync(ends))!.Desired == DesiredState.Stopped, "its time has come");
        await node.SyncAsync();
        Assert.Equal(DesiredState.Stopped, node.Plan.Sandboxes.Single(s => s.Id == ends).Desired);
        // The guest has ended; its devices are not clean yet, and nobody else ends for that.
        node.KeepsDevices = true;
        await node.SayAsync(ends, VmState.Stopped);
        var ended = (await tenant.FindAsync(ends))!;
        var scheduler = replica.Services.GetRequiredService<SandboxScheduler>();
        var last = scheduler.LastPassAt;
        await Eventually.Async(() => { scheduler.Wake(); return scheduler.LastPassAt > last; }, "a pass after its end");
        Assert.Equal((Phase.Stopped, "Preempted", null), (ended.Phase, ended.Failure!.Reason, ended.PreemptAt));
        Assert.Equal("Preempting", Assert.Single(await ToldAsync(tenant, ends)));
        Assert.Empty(await ToldAsync(tenant, stays));
        // The second waits longer, and its turn would be first; the node is kept.
        node.KeepsDevices = false;
        await node.SayAsync(ends, VmState.Stopped);
        await Eventually.Async(async () => (await admin.FindAsync(first))!.Phase == Phase.Scheduled, "the first has its place");
        Assert.Equal(Phase.Pending, (await admin.FindAsync(second))!.Phase);
        Assert.Equal((DesiredState.Running, Phase.Running), ((await tenant.FindAsync(stays))!.Desired, (await tenant.FindAsync(stays))!.Phase));
        await node.SyncAsync();
        foreach (var id in (Guid[])[first, second]) await EndAsync(admin, node, id);
        foreach (var id in (Guid[])[ends, stays]) await EndAsync(tenant, node, id);
    }

    [Fact]
    public async Task Notice_IsTakenBack_WhenTheOtherWaitsNoMore()
    {
        await using var replica = service.NewReplica(("Placement:PreemptionNoticeSeconds", "3600"));
        await using var node = await NodeAsync(replica);
        using var admin = service.Client(replica);
        var low = await CreateAsync(admin, "low", 1);
        await RunAsync(admin, node, low);
        var asks = new { image = "guest", priority = 1, accelerators = new[] { new { @class = "edu", count = 2 } }, placement = new { preempts = true } };
        using (var dry = await admin.PostAsJsonAsync("/v1/placements", asks, Ct)) Assert.Equal((false, 1), (await dry.Content.ReadFromJsonAsync<PlacementView>(Ct)) is { } answer ? (answer.Fits, answer.Preempts) : default);
        Assert.Empty(await ToldAsync(admin, low));
        var high = await CreateAsync(admin, "high", 2, 1, preempts: true);
        await Eventually.Async(async () => (await admin.FindAsync(low))!.PreemptAt is not null, "it has notice");
        await EndAsync(admin, node, high);
        await Eventually.Async(async () => (await admin.FindAsync(low))!.PreemptAt is null, "the notice is taken back");
        Assert.Equal(["Preempting", "PreemptionCancelled"], await ToldAsync(admin, low));
        Assert.Equal((DesiredState.Running, Phase.Running), ((await admin.FindAsync(low))!.Desired, (await admin.FindAsync(low))!.Phase));
        await EndAsync(admin, node, low);
        using var refused = await admin.PostAsJsonAsync("/v1/placements", new { image = "guest", placement = new { preempts = true } }, Ct);
        Assert.Equal("422 validation_failed", await refused.AnswerAsync());
    }
}
