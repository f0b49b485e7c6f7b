using Worker.Vms.Simulated;
using Worker.Vms.Simulated.Pci;
using Worker.Vms.Simulated.Workloads;

namespace Benchmarks;

/// <summary>How many translations the simulated machine does a second on one core: accesses that reached memory, page faults and invalidations included. The
/// baseline is the least that a simulation could be: the same workload's accesses, each looked up in a dictionary of pages.</summary>
internal static class Simulation
{
    private const int Rounds = 5, Pages = 4096;
    private const long Warm = 1_000_000_000, Measured = 200_000_000;

    public static Task RunAsync(Report report)
    {
        foreach (var (workload, faults) in Enum.GetValues<WorkloadKind>().Select(kind => (kind, FaultModel.Pri)).Append((WorkloadKind.Random, FaultModel.Stall)))
        {
            var (simulated, looked) = (new List<double>(), new List<double>());
            for (var round = 0; round < Rounds; round++)
            {
                simulated.Add(Simulated(workload, faults, (ulong)round));
                looked.Add(LookedUp(workload, (ulong)round));
            }
            report.Add(
                $"{workload}, {faults}", Report.Median(simulated), "M/s", "dictionary of pages", Report.Median(looked),
                workload switch { WorkloadKind.Storm => "none: nearly all fault", WorkloadKind.ForkAndWrite => "none: forks and copies", _ => "1.0 M/s at least" });
        }
        report.Note($"Translations a second of one core's time (what the process had of it), {Pages} pages of 4 KiB, nested stages, one access each 100 ns of virtual time; medians of {Rounds} rounds that take turns.");
        return Task.CompletedTask;
    }

    /// <summary>Millions a second.</summary>
    private static double Simulated(WorkloadKind workload, FaultModel faults, ulong seed)
    {
        var machine = Machine(workload, faults, seed);
        machine.Run(Warm);
        var before = machine.Counters.Translations;
        var began = Environment.CpuUsage.TotalTime;
        machine.Run(Warm + Measured);
        return (machine.Counters.Translations - before) / (Environment.CpuUsage.TotalTime - began).TotalMicroseconds;
    }

    private static double LookedUp(WorkloadKind workload, ulong seed)
    {
        var machine = Machine(workload, FaultModel.Pri, seed);
        machine.Run(1_000_000);
        var pages = Enumerable.Range(0, Pages).ToDictionary(page => machine.Buffer + ((ulong)page << 12), page => (ulong)page << 12);
        var accesses = Workloads.Of(workload, new WorkloadGround(machine.Driver, machine.Process, machine.Buffer, Pages, new SeededRandom(seed)));
        const int count = 2_000_000;
        var began = Environment.CpuUsage.TotalTime;
        var sum = 0UL;
        for (var access = 0; access < count; access++)
        {
            accesses.Next(out var next);
            if (pages.TryGetValue(next.Address & ~0xFFFUL, out var frame))
                sum += frame | (next.Address & 0xFFF);
        }
        var elapsed = (Environment.CpuUsage.TotalTime - began).TotalMicroseconds;
        return sum == ulong.MaxValue ? 0 : count / elapsed;
    }

    private static SimulatedMachine Machine(WorkloadKind workload, FaultModel faults, ulong seed)
    {
        var machine = new SimulatedMachine(MachineModel.Default with { Seed = seed, Workload = workload, Device = AcceleratorModel.Default with { Faults = faults }, Pages = Pages });
        machine.Run(1_000_000);
        machine.Begin();
        return machine;
    }
}
