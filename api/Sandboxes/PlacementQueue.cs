using Contracts;

namespace Api.Sandboxes;

/// <summary>Whose turn it is among those that wait. Pure: time and use come from outside.
/// Guarantees: a higher priority before a lower one; in one priority the project that has the least of the fleet, by its dominant share (the largest of its shares of vCPUs, memory and
/// devices of a class); in a project the oldest. So nobody is given a place while another of that priority, who has less and waits as long, would fit there.
/// Without starvation: beyond ten minutes of waiting, each hour that a project's oldest has waited counts for it like a tenth of the fleet, so that at last it stands before whoever came later.</summary>
public sealed class PlacementQueue
{
    public sealed record Waiting(Guid Id, Guid Project, int Priority, DateTimeOffset Since, Placement.Request Request);

    /// <summary>What projects have of the fleet. Total and use are vCPUs, mebibytes and devices by class.</summary>
    public sealed class Shares
    {
        private const string Vcpus = "", Memory = " ";
        private readonly Dictionary<string, double> total = new(StringComparer.Ordinal);
        private readonly Dictionary<Guid, Dictionary<string, double>> used = [];
        private readonly Dictionary<Guid, double> shares = [];

        public Shares(IEnumerable<Placement.NodePicture> fleet)
        {
            foreach (var node in fleet)
            {
                Add(total, Vcpus, node.VcpuCapacity);
                Add(total, Memory, node.MemoryCapacityMib);
                foreach (var device in node.FreeDevices.Concat(node.HeldDevices)) Add(total, device.Class, 1);
            }
        }

        public void Use(Guid project, int vcpus, long memoryMib, IEnumerable<AcceleratorCount> devices)
        {
            if (!used.TryGetValue(project, out var of)) used[project] = of = new(StringComparer.Ordinal);
            Add(of, Vcpus, vcpus);
            Add(of, Memory, memoryMib);
            foreach (var device in devices) Add(of, device.Class, device.Count);
            shares[project] = of.Max(use => total.TryGetValue(use.Key, out var all) && all > 0 ? use.Value / all : use.Value > 0 ? 1 : 0);
        }

        public double Of(Guid project) => shares.GetValueOrDefault(project);

        private static void Add(Dictionary<string, double> amounts, string of, double more) => amounts[of] = amounts.GetValueOrDefault(of) + more;
    }

    /// <summary>One project's sandboxes of the present priority, oldest first.</summary>
    private sealed record Line(Guid Project, Queue<Waiting> Waiting);

    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(10);
    private const double SharePerHour = 0.1;

    private readonly Queue<List<Line>> priorities;
    private readonly PriorityQueue<Line, (double Place, DateTimeOffset Since, Guid Id)> lines = new();
    private readonly Shares shares;
    private readonly DateTimeOffset now;
    private Line? last;

    public PlacementQueue(IEnumerable<Waiting> waiting, Shares shares, DateTimeOffset now)
    {
        (this.shares, this.now) = (shares, now);
        priorities = new(waiting.GroupBy(w => w.Priority).OrderByDescending(g => g.Key)
            .Select(g => g.GroupBy(w => w.Project).Select(p => new Line(p.Key, new(p.OrderBy(w => w.Since).ThenBy(w => w.Id)))).ToList()));
    }

    /// <summary>The next to be tried, whatever becomes of it; null when all were.</summary>
    public Waiting? Next()
    {
        if (last is { Waiting.Count: > 0 }) Enter(last);
        last = null;
        while (lines.Count == 0)
        {
            if (!priorities.TryDequeue(out var next)) return null;
            foreach (var line in next) Enter(line);
        }
        last = lines.Dequeue();
        return last.Waiting.Dequeue();
    }

    /// <summary>What it took counts for its project from now on. Of the one that <see cref="Next"/> gave last.</summary>
    public void Placed(Waiting placed) => shares.Use(placed.Project, placed.Request.Vcpus, placed.Request.MemoryMib, placed.Request.Accelerators);

    /// <summary>The lower, the earlier.</summary>
    public static double Place(double share, TimeSpan waited) => share - SharePerHour * Math.Max(0, (waited - Patience).TotalHours);

    private void Enter(Line line)
    {
        var first = line.Waiting.Peek();
        lines.Enqueue(line, (Place(shares.Of(line.Project), now - first.Since), first.Since, first.Id));
    }
}
