using CsCheck;
using Worker.Vms.Simulated;
using Worker.Vms.Simulated.Guest;
using Worker.Vms.Simulated.Iommu;
using Worker.Vms.Simulated.Pci;
using Worker.Vms.Simulated.Workloads;
using Xunit;

namespace Worker.Tests.Simulated;

/// <summary>The whole machine, on any model and with anything that its process may do, under an oracle. 10,000 seeds in all; a failure is shrunk to the
/// smallest model and the fewest acts, and CsCheck prints the seed.</summary>
public sealed class MachineInvariantsTests
{
    internal enum Act { GiveUp, Unmap, Map, Fork, UnbindOrderly, Kill, Wait }

    internal sealed record Scenario(
        ulong Seed, WorkloadKind Workload, FaultModel Faults, bool Large1, bool Large2, int Devices, int Slots, int Credits, int GroupSize, int QueueBits, int SilentPerMillion, int Interval, bool Cramped, (Act What, int Number, int Delay)[] Acts)
    {
        public MachineModel Model => MachineModel.Default with
        {
            Seed = Seed,
            Workload = Workload,
            Device = new AcceleratorModel(Faults, Interval, Slots, Credits, GroupSize, 16, SilentPerMillion),
            Devices = Devices,
            Shift1 = Large1 ? 16 : 12,
            Shift2 = Large2 ? 16 : 12,
            MemoryMib = Cramped ? 1 : 6,
            Pages = 32,
            Smmu = new SmmuSizes(4, QueueBits + 2, QueueBits, QueueBits, 32),
            Timings = SimulatedTimings.Default with { InvalidationTimeout = 20_000, Reset = 5_000 },
        };
    }

    private static readonly Gen<(Act, int, int)[]> Acts = Gen.Select(Gen.Int[0, 6].Select(what => (Act)what), Gen.Int[0, 31], Gen.Int[0, 6_000]).Array[0, 12];

    private static readonly Gen<Scenario> Scenarios = Gen.Select(
        Gen.Select(Gen.ULong, Gen.Int[0, 5].Select(kind => (WorkloadKind)kind), Gen.Int[0, 4].Select(model => model switch { < 3 => FaultModel.Pri, 3 => FaultModel.Stall, _ => FaultModel.Mapped }), Gen.Bool),
        Gen.Select(Gen.Bool, Gen.Int[1, 2], Gen.Int[1, 16], Gen.Int[1, 16]),
        Gen.Select(Gen.Int[1, 5], Gen.Int[1, 5], Gen.Int[0, 3].Select(often => often == 0 ? 100_000 : 0), Gen.Int[20, 400]),
        Gen.Select(Gen.Int[0, 7].Select(one => one == 0), Acts),
        (a, b, c, d) => new Scenario(a.Item1, a.Item2, a.Item3, a.Item4, b.Item1, b.Item2, b.Item3, b.Item4, c.Item1, c.Item2, c.Item3, c.Item4, d.Item1, d.Item2));

    [Fact]
    public void AnyMachine_WhateverItsProcessDoes_KeepsEveryInvariant() => Scenarios.Sample(scenario => Run(scenario) is { } violation ? throw new InvalidOperationException(violation) : true, iter: 10_000);

    /// <summary>Null where nothing was violated.</summary>
    internal static string? Run(Scenario scenario)
    {
        var machine = new SimulatedMachine(scenario.Model);
        var oracle = new MachineOracle(machine);
        machine.Run(5_000);
        machine.Begin();
        var children = new List<ProcessAddressSpace>();
        foreach (var (what, number, delay) in scenario.Acts)
        {
            Do(machine, what, number, children);
            machine.Run(machine.Clock.Now + delay + 500);
        }
        machine.Run(machine.Clock.Now + 20_000);
        machine.Pause();
        Settle(machine);
        // What a cache still holds would be used now: every page, by every device and PASID.
        foreach (var pasid in Enumerable.Range(1, machine.Driver.Pasids - 1).Where(pasid => machine.Driver.SpaceOf(pasid) is not null).ToList())
            for (var page = 0; page < scenario.Model.Pages + 2; page++)
                foreach (var device in machine.Devices)
                {
                    device.Begin(pasid, machine.Buffer + ((ulong)page << scenario.Model.Shift1), (page & 1) == 0);
                    Settle(machine);
                }
        Settle(machine);
        oracle.LookAtTheEnd();
        LookAtMemory(machine, children, oracle, out var leak);
        return oracle.Violation ?? leak;
    }

    private static void Do(SimulatedMachine machine, Act what, int number, List<ProcessAddressSpace> children)
    {
        var (driver, process) = (machine.Driver, machine.Process);
        if (machine.Virtio is not null)
        {
            DoMapped(machine, what, number);
            return;
        }
        var child = children.Count == 0 ? null : children[number % children.Count];
        switch (what)
        {
            case Act.GiveUp:
                driver.Unmap(process, machine.Buffer + ((ulong)number << driver.Shift), 1 + (number % 5), keepArea: true);
                break;
            case Act.Unmap:
                driver.Unmap(process, machine.Buffer + ((ulong)number << driver.Shift), 1, keepArea: false);
                break;
            case Act.Map:
                process.Map(1 + number, writable: (number & 1) == 0);
                break;
            case Act.Fork when driver.Fork(process) is { } born:
                children.Add(born);
                break;
            case Act.UnbindOrderly or Act.Kill when child is not null:
                driver.Unbind(child, what == Act.UnbindOrderly);
                break;
            default:
                // The children's memory is used too.
                if (child is not null && driver.IsBound(child) && machine.Devices[0].CanBegin)
                    machine.Devices[0].Begin(child.Pasid, machine.Buffer + ((ulong)number << driver.Shift), write: true);
                break;
        }
    }

    /// <summary>What is mapped ahead is there to stay: a process that gives it up, or forks, takes it from the device first.</summary>
    private static void DoMapped(SimulatedMachine machine, Act what, int number)
    {
        var address = machine.Buffer + ((ulong)number << machine.Driver.Shift);
        switch (what)
        {
            case Act.GiveUp or Act.Unmap:
                machine.Unshare(address, 1 + (number % 5));
                break;
            case Act.Map or Act.Fork:
                machine.Share(machine.Process.Map(1 + number, writable: true), 1 + number);
                break;
            default:
                if (machine.Devices[0].CanBegin)
                    machine.Devices[0].Begin(machine.Process.Pasid, address, write: true);
                break;
        }
    }

    private static void Settle(SimulatedMachine machine)
    {
        for (var round = 0; round < 400 && (machine.Devices.Any(device => device.Busy > 0) || machine.Driver.Pending.Count > 0 || machine.Driver.FaultsInHand > 0); round++)
            machine.Run(machine.Clock.Now + 10_000);
        machine.Run(machine.Clock.Now + 2_000);
    }

    /// <summary>When every process has gone, and what was mapped for them, the guest has nothing left but its table of context descriptors.</summary>
    private static void LookAtMemory(SimulatedMachine machine, List<ProcessAddressSpace> children, MachineOracle oracle, out string? leak)
    {
        machine.Virtio?.Serve(VirtioIommu.UnmapRequest(1, 0, (1UL << PageTables.AddressBits) - 1));
        foreach (var pasid in Enumerable.Range(1, machine.Driver.Pasids - 1).ToList())
            if (machine.Driver.SpaceOf(pasid) is { } space)
                machine.Driver.Unbind(space, orderly: pasid % 2 == 0);
        Settle(machine);
        leak = machine.Guest.PagesTaken == 1 ? null : $"{machine.Guest.PagesTaken} pages are left, {children.Count} children";
        foreach (var device in machine.Devices)
        {
            // Refused by the SMMU itself, which finds no context descriptor: nothing is walked, and nobody asked for the page.
            var (before, failed, walks, requests) = (oracle.Seen, device.Failed, machine.Smmu.WalksBegun, device.PageRequestsSent);
            device.Begin(1, machine.Buffer, write: false);
            Settle(machine);
            if (oracle.Seen != before || device.Failed != failed + 1 || machine.Smmu.WalksBegun != walks || device.PageRequestsSent != requests)
                leak ??= "an unbound PASID is still translated";
        }
    }

    /// <summary>A run is a function of its model: divided otherwise, and with another machine's run in between, it is the same.</summary>
    [Fact]
    public void TwoMachines_RunInTurns_AreEachAsIfAlone() => Gen.Select(Scenarios, Scenarios, Gen.Int[1, 5_000]).Sample((one, other, step) =>
    {
        SimulatedMachine Alone(Scenario scenario)
        {
            var machine = new SimulatedMachine(scenario.Model);
            machine.Begin();
            machine.Run(60_000);
            return machine;
        }
        var (first, second) = (new SimulatedMachine(one.Model), new SimulatedMachine(other.Model));
        first.Begin();
        second.Begin();
        for (var at = 0L; at < 60_000; at += step)
        {
            first.Run(Math.Min(60_000, at));
            second.Run(Math.Min(60_000, at));
        }
        first.Run(60_000);
        second.Run(60_000);
        return Same(first, Alone(one)) && Same(second, Alone(other));
    }, iter: 500);

    private static bool Same(SimulatedMachine one, SimulatedMachine other) =>
        one.Counters == other.Counters && one.PageFaults.Latency.Equals(other.PageFaults.Latency) && one.Clock.Now == other.Clock.Now && one.Guest.PagesTaken == other.Guest.PagesTaken;
}
