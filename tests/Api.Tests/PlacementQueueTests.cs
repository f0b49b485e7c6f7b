using Api.Sandboxes;
using Contracts;
using CsCheck;
using Xunit;

namespace Api.Tests;

/// <summary>Whose turn it is, and that everybody's comes: rounds over a fleet in a time of its own.</summary>
public sealed class PlacementQueueTests
{
    private static readonly DateTimeOffset _start = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);
    private static readonly Guid[] _projects = [.. Enumerable.Range(1, 3).Select(i => new Guid(i, 0, 0, [0, 0, 0, 0, 0, 0, 0, 0]))];

    private static Placement.NodePicture Node(int number, int vcpus, int free) => new()
    {
        Id = new Guid(number, 1, 0, [0, 0, 0, 0, 0, 0, 0, 0]),
        Name = $"n{number}",
        Phase = NodePhase.Ready,
        Vmms = new HashSet<Vmm> { Vmm.Qemu },
        Viommus = new HashSet<Viommu> { Viommu.None },
        Images = new HashSet<string> { "guest" },
        VcpuCapacity = vcpus,
        MemoryCapacityMib = 1_000_000,
        FreeVcpus = free,
        FreeMemoryMib = 1_000_000,
        FreeDevices = [],
    };

    private static PlacementQueue.Waiting Wants(int project, int vcpus, int priority = 0, double sinceMinutes = 0, Guid? id = null)
    {
        var of = id ?? Guid.NewGuid();
        return new(of, _projects[project], priority, _start.AddMinutes(sinceMinutes), new("guest", vcpus, 128, Viommu.None, []) { Id = of });
    }

    private static List<PlacementRound.Decision> Decide(List<Placement.NodePicture> nodes, List<PlacementQueue.Waiting> waiting, double minutes = 0, params (int Project, int Vcpus)[] running)
    {
        var shares = new PlacementQueue.Shares(nodes);
        foreach (var (project, vcpus) in running) shares.Use(_projects[project], vcpus, 0, []);
        var now = _start.AddMinutes(minutes);
        return [.. new PlacementRound(new(nodes), new(waiting, shares, now), now).Decide()];
    }

    [Fact]
    public void Queue_TakesHigherPrioritiesFirst_ThenWhoHasLess_ThenTheOldest()
    {
        PlacementQueue.Waiting[] expected = [Wants(0, 1, 5, 3), Wants(1, 2, 0, 1), Wants(0, 1, 0, 0), Wants(0, 1, 0, 2), Wants(1, 1, 0, 4), Wants(2, 1, -1)];
        // After the higher priority project 0 has 2 vCPUs and 1 has 1; then 3 of 1 stand against 2 of 0; then both have 3 and the older one goes first.
        Assert.Equal(expected.Select(w => w.Id), Decide([Node(1, 100, 100)], [.. expected.Reverse()], 5, (0, 1), (1, 1)).Select(d => d.Waiting.Id));
    }

    [Theory]
    [InlineData(0.5, 0)]
    [InlineData(1, 1)]
    [InlineData(1.9, 1)]
    [InlineData(2, 0)]
    [InlineData(5, 2)]
    [InlineData(8, 0)]
    [InlineData(20, 4)]
    public void NodesToKeep_GrowInSpells(double minutes, int nodes) => Assert.Equal(nodes, PlacementRound.NodesToKeep(TimeSpan.FromMinutes(minutes)));

    [Fact]
    public void Round_WhenABigOneHasWaited_KeepsTheNearestNodeFromThoseBehindIt_NotFromThoseBefore()
    {
        List<Placement.NodePicture> fleet() => [Node(1, 8, 2), Node(2, 8, 5), Node(3, 4, 0)];
        var (big, small, higher) = (Wants(0, 8), Wants(1, 4, sinceMinutes: 1), Wants(1, 4, 1, 1));
        // Not yet.
        Assert.Equal("n2", Assert.IsType<Placement.Placed>(Decide(fleet(), [big, small], 0.9)[1].Result).Node.Name);
        Assert.Equal("NotEnoughVcpus", Assert.IsType<Placement.Refused>(Decide(fleet(), [big, small], 1.5)[0].Result).Reason);
        Assert.Contains("NodeReserved on 1", Assert.IsType<Placement.Refused>(Decide(fleet(), [big, small], 1.5)[1].Result).Message, StringComparison.Ordinal);
        Assert.IsType<Placement.Placed>(Decide(fleet(), [big, higher], 1.5)[0].Result);
        // One that not even an empty node could take keeps nothing.
        Assert.IsType<Placement.Placed>(Decide(fleet(), [Wants(0, 9), small], 1.5)[1].Result);
    }

    /// <summary>Whoever is given a place has no more than anybody of its priority who waits as long and would have fitted there.</summary>
    [Fact]
    public void Round_NeverGivesToWhoHasMore_WhileOneWhoHasLessWouldFit() =>
        Gen.Select(Gen.Select(Gen.Int[1, 8], Gen.Int[0, 8]).Array[1, 4], Gen.Select(Gen.Int[0, 2], Gen.Int[1, 6], Gen.Int[0, 1], Gen.Double[0, 9]).Array[1, 20], Gen.Int[0, 16].Array[3]).Sample((nodes, wanted, running) =>
        {
            var fleet = nodes.Select((n, i) => Node(i, n.Item1, Math.Min(n.Item1, n.Item2))).ToList();
            var total = (double)fleet.Sum(n => n.VcpuCapacity);
            var free = fleet.ToDictionary(n => n.Id, n => n.FreeVcpus);
            var has = running.ToArray();
            var waiting = wanted.Select(w => Wants(w.Item1, w.Item2, w.Item3, w.Item4)).ToList();
            var left = waiting.ToList();
            foreach (var (next, result) in Decide(fleet, waiting, 0.5, [.. running.Select((vcpus, project) => (project, vcpus))]))
            {
                left.Remove(next);
                if (result is not Placement.Placed placed) continue;
                var mine = Array.IndexOf(_projects, next.Project);
                foreach (var other in left.Where(w => w.Priority >= next.Priority && w.Request.Vcpus <= free[placed.Node.Id]))
                {
                    Assert.Equal(next.Priority, other.Priority);
                    Assert.True(has[mine] / total <= has[Array.IndexOf(_projects, other.Project)] / total);
                }
                free[placed.Node.Id] -= next.Request.Vcpus;
                Assert.True(free[placed.Node.Id] >= 0);
                has[mine] += next.Request.Vcpus;
            }
        });

    [Theory]
    [InlineData(9, false)]
    [InlineData(60, false)]
    [InlineData(240, true)]
    public void Queue_LetsWhoHasMoreGoFirst_OnceItHasWaitedLong(double minutes, bool first)
    {
        var (more, less) = (Wants(0, 1), Wants(1, 1, sinceMinutes: minutes));
        Assert.Equal(first ? more.Id : less.Id, Decide([Node(1, 8, 2)], [more, less], minutes, (0, 4), (1, 2))[0].Waiting.Id);
    }

    /// <summary>However small ones come and go, and whoever has more: one of the highest priority that an empty node would take is placed at last.</summary>
    [Fact]
    public void Rounds_UnderAnyStreamOfSmallOnes_PlaceTheBigOneAtLast() =>
        Gen.Select(Gen.Int[4, 8].Array[1, 3], Gen.Int[1, 8], Gen.Int[0, 8], Gen.Select(Gen.Int[1, 2], Gen.Int[1, 3], Gen.Int[-1, 0], Gen.Int[1, 40]).Array[1, 40]).Sample((sizes, wanted, share, stream) =>
        {
            var big = Wants(0, Math.Min(wanted, sizes.Max()));
            var running = new List<(Guid Node, int Project, int Vcpus, double Until)>();
            var (minute, turn) = (0.0, 0);
            var waiting = new List<PlacementQueue.Waiting> { big };
            // In each half minute three more, of projects that have less of the fleet (what the big one's has, it has for good), while a dozen of their priority at most wait; each runs for up to 20 minutes.
            for (; waiting.Contains(big); minute += 0.5)
            {
                Assert.True(minute < 2 * 24 * 60, "two days have passed");
                running.RemoveAll(r => r.Until <= minute);
                for (var more = 0; more < 3; more++)
                {
                    var (project, vcpus, priority, _) = stream[turn++ % stream.Length];
                    if (waiting.Count(w => w.Priority == priority) < 12) waiting.Add(Wants(project, vcpus, priority, minute));
                }
                var fleet = sizes.Select((size, i) => Node(i, size, size)).ToList();
                foreach (var node in fleet) node.FreeVcpus -= running.Where(r => r.Node == node.Id).Sum(r => r.Vcpus);
                foreach (var (next, result) in Decide(fleet, waiting, minute, [(0, share), .. running.Select(r => (r.Project, r.Vcpus))]))
                {
                    if (result is not Placement.Placed placed) continue;
                    waiting.Remove(next);
                    running.Add((placed.Node.Id, Array.IndexOf(_projects, next.Project), next.Request.Vcpus, minute + stream[turn++ % stream.Length].Item4 * 0.5));
                }
            }
        }, iter: 12);
}
