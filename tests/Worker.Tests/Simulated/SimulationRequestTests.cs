using Contracts;
using Worker.Faults;
using Worker.Vms;
using Worker.Vms.Simulated;
using Worker.Vms.Simulated.Pci;
using Worker.Vms.Simulated.Workloads;
using Xunit;

namespace Worker.Tests.Simulated;

/// <summary>What user data make of a simulation, what the machine's own probe finds, and what its counters are told as.</summary>
public sealed class SimulationRequestTests
{
    private static SandboxSpec Spec(string? userData, Viommu viommu = Viommu.Smmuv3, int mib = 256, int devices = 1) =>
        new("guest", 1, mib, viommu, [.. Enumerable.Range(0, devices).Select(n => $"sva-{n}")], userData, [], Vmm.Simulated);

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData(" {} ")]
    public void Model_WhenNothingIsSaid_IsTheDefault(string? userData)
    {
        var model = SimulationRequest.ModelOf(Spec(userData));
        Assert.Equal((1UL, WorkloadKind.Streaming, FaultModel.Pri, 50_000L, 12, 12, 256, 4096, 1), (model.Seed, model.Workload, model.Device.Faults, model.Device.Interval, model.Shift1, model.Shift2, model.MemoryMib, model.Pages, model.Devices));
    }

    [Fact]
    public void Model_OfEachField_IsWhatItSays()
    {
        var model = SimulationRequest.ModelOf(Spec("""{"workload":"forkAndWrite","seed":7,"faults":"stall","granuleKib":64,"stage2GranuleKib":4,"accessesPerSecond":1000,"workingSetMib":8}""", mib: 4096, devices: 3));
        Assert.Equal((7UL, WorkloadKind.ForkAndWrite, FaultModel.Stall, 1_000_000L, 16, 12, 1024, 128, 3), (model.Seed, model.Workload, model.Device.Faults, model.Device.Interval, model.Shift1, model.Shift2, model.MemoryMib, model.Pages, model.Devices));
        Assert.Equal(FaultModel.Mapped, SimulationRequest.ModelOf(Spec("""{"seed":7}""", Viommu.Virtio)).Device.Faults);
    }

    [Theory]
    [InlineData("#!/bin/sh\necho hello")]
    [InlineData("null")]
    [InlineData("[]")]
    [InlineData("7")]
    [InlineData("""{"workload":"sleep"}""")]
    [InlineData("""{"workload":1}""")]
    [InlineData("""{"sead":7}""")]
    [InlineData("""{"seed":-1}""")]
    [InlineData("""{"seed":1.5}""")]
    [InlineData("""{"faults":"mapped"}""")]
    [InlineData("""{"granuleKib":16}""")]
    [InlineData("""{"stage2GranuleKib":0}""")]
    [InlineData("""{"accessesPerSecond":0}""")]
    [InlineData("""{"accessesPerSecond":200001}""")]
    [InlineData("""{"workingSetMib":3}""")]
    [InlineData("""{"workingSetMib":128}""")]
    public void Model_OfAnythingElse_IsRefusedWithItsReason(string userData) =>
        Assert.Equal("SimulationUnreadable", Assert.Throws<VmStartException>(() => SimulationRequest.ModelOf(Spec(userData, mib: 4096))).Reason);

    [Theory]
    [InlineData("""{"sead":7}""", "There is no field 'sead'; there are workload, seed, faults, granuleKib, stage2GranuleKib, accessesPerSecond, workingSetMib, pageRequestQueue.")]
    [InlineData("""{"workload":"sleep"}""", "workload takes one of streaming, random, hotSet, pointerChase, forkAndWrite, storm.")]
    [InlineData("""{"workload":1}""", "workload takes one of streaming, random, hotSet, pointerChase, forkAndWrite, storm.")]
    [InlineData("""{"faults":"mapped"}""", "faults takes one of pri, stall.")]
    [InlineData("""{"seed":1,"seed":2}""", "seed is there twice.")]
    [InlineData("""{"seed":null,"seed":2}""", "seed is there twice.")]
    [InlineData("""{"seed":1.5}""", "seed takes a whole number.")]
    [InlineData("""{"granuleKib":"4"}""", "granuleKib takes a whole number.")]
    [InlineData("""{"workingSetMib":99999999999}""", "workingSetMib takes a whole number.")]
    [InlineData("""{"pageRequestQueue":3}""", "pageRequestQueue takes a power of two of 2 to 128.")]
    [InlineData("""{"pageRequestQueue":256}""", "pageRequestQueue takes a power of two of 2 to 128.")]
    [InlineData("[]", "It is no JSON object.")]
    [InlineData("{\"seed\":1\n,,}", "It is no JSON: line 2, byte 2.")]
    public void Model_OfWhatIsRefused_IsToldInTheWordsOfItsDescription(string userData, string detail) =>
        Assert.Contains(detail, Assert.Throws<VmStartException>(() => SimulationRequest.ModelOf(Spec(userData, mib: 4096))).Message, StringComparison.Ordinal);

    [Fact]
    public void Model_OfAShortPageRequestQueue_LosesPageRequests_AndTheDefaultDoesNot()
    {
        // The example of docs/simulated.md, on the two devices of a default node.
        Assert.True(Lost("""{"workload":"forkAndWrite","accessesPerSecond":200000,"pageRequestQueue":2}""") > 0);
        Assert.Equal(0, Lost("""{"workload":"forkAndWrite","accessesPerSecond":200000}"""));

        static long Lost(string userData)
        {
            var machine = new SimulatedMachine(SimulationRequest.ModelOf(Spec(userData, devices: 2)));
            SvaProbe.Run(machine);
            machine.Begin();
            machine.Run(800_000_000);
            return machine.Counters.PageRequestsLost;
        }
    }

    [Fact]
    public void Model_WhereTheMachineHasNoRoomOrNoChoice_IsRefused()
    {
        Assert.Throws<VmStartException>(() => SimulationRequest.ModelOf(Spec("""{"workingSetMib":64}""", mib: 128)));
        Assert.Throws<VmStartException>(() => SimulationRequest.ModelOf(Spec("""{"faults":"pri"}""", Viommu.Virtio)));
    }

    [Theory]
    [InlineData("pri", Viommu.Smmuv3, true, true)]
    [InlineData("stall", Viommu.Smmuv3, true, false)]
    [InlineData(null, Viommu.Virtio, false, false)]
    public void Probe_OfEachModel_FindsSharedAddressesAndTheRefusal(string? faults, Viommu viommu, bool pasid, bool ats)
    {
        var machine = new SimulatedMachine(SimulationRequest.ModelOf(Spec(faults is null ? null : $$"""{"faults":"{{faults}}"}""", viommu, devices: 2)));
        var probe = SvaProbe.Run(machine);
        Assert.Equal(2, probe.Count);
        Assert.All(probe, found => Assert.Equal(
            (ProbeOutcome.Passed, "SharedAddressesMatched", true, true, pasid, ats), (found.Outcome, found.Reason, found.DeviceReadMatched, found.DeviceWroteMatched, found.Pasid, found.Ats)));
        var counters = machine.Counters;
        Assert.Equal(2, counters.Failed);
        if (viommu == Viommu.Virtio)
            Assert.Equal(2, counters.Events);
        else
            Assert.Equal((2L, 2L), (counters.PageFaultsSuccess, counters.PageFaultsInvalid));
    }

    /// <summary>Every workload, for a second of virtual time as a sandbox has it: it gets on, and nothing is lost unless it storms.</summary>
    [Theory]
    [InlineData("streaming")]
    [InlineData("random")]
    [InlineData("hotSet")]
    [InlineData("pointerChase")]
    [InlineData("forkAndWrite")]
    [InlineData("storm")]
    public void Workload_OfEachKind_GetsOnAndFaults(string workload)
    {
        var machine = new SimulatedMachine(SimulationRequest.ModelOf(Spec($$"""{"workload":"{{workload}}","workingSetMib":2}""")));
        SvaProbe.Run(machine);
        machine.Begin();
        machine.Run(1_000_000_000);
        var counters = machine.Counters;
        Assert.True(counters.Done > (workload == "storm" ? 100 : 10_000), $"{counters}");
        Assert.True(counters.PageFaultsSuccess > 100 && counters.GuestFaults > 100, $"{counters}");
        Assert.Equal(counters.PageFaultsSuccess + counters.PageFaultsInvalid + counters.PageFaultsFailure, machine.PageFaults.Latency.Total);
        Assert.Equal(workload == "storm", counters.PageFaultsInvalid > 1_000);
    }

    private static readonly SimulationStatus Told = new(
        "boot", 1, 1, false, [], new MachineCounters(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16), new Dictionary<string, long> { ["F_TRANSLATION"] = 10 }, LatencyHistogram.Empty, FaultModel.Pri);

    private static Dictionary<string, SourceReading> Readings(SimulationStatus? status, string? reason = null, Viommu viommu = Viommu.Smmuv3) =>
        SimulatedFaults.Of(status, reason, viommu).ToDictionary(reading => reading.Source);

    [Fact]
    public void Readings_AreAllSimulated_AndEachIsAValueOrAReason()
    {
        foreach (var readings in (Dictionary<string, SourceReading>[])[Readings(Told), Readings(null, "GuestNotReady"), Readings(Told, "AgentSilent"), Readings(Told with { Faults = FaultModel.Stall }), Readings(Told with { Faults = FaultModel.Mapped }, null, Viommu.Virtio)])
            Assert.All(readings.Values, reading => Assert.True(reading.Origin == Origin.Simulated && reading.Value is null != reading.NullReason is null && !reading.LowerBound, $"{reading}"));
        var told = Readings(Told);
        Assert.Equal(
            [4, 10, 10, 11, 8, 9, 13, 14, 15, 16, 12, 5, 6],
            ((string[])[
                FaultSource.GuestMinor, FaultSource.SmmuEvents, "smmu.events.F_TRANSLATION", FaultSource.SmmuEventsLost, FaultSource.SmmuTlbHits, FaultSource.SmmuTlbMisses, FaultSource.IoPageFaults,
                FaultSource.IoPageFaultsSuccess, FaultSource.IoPageFaultsInvalid, FaultSource.IoPageFaultsFailure, FaultSource.IoPageRequestsLost, FaultSource.AtsRequests, FaultSource.AtsHits]).Select(source => told[source].Value));
        Assert.NotNull(told[FaultSource.IoPageFaults].Latency);
        Assert.Equal(("NotSimulated", "NoVirtioIommu"), (told[FaultSource.VmmMinor].NullReason, told[FaultSource.VirtioIommuEvents].NullReason));
        Assert.Equal("NotSimulated", Readings(Told with { Faults = FaultModel.Stall })[FaultSource.AtsRequests].NullReason);
        var virtio = Readings(Told with { Faults = FaultModel.Mapped, Events = new Dictionary<string, long> { ["MAPPING"] = 10 } }, null, Viommu.Virtio);
        Assert.Equal(10L, virtio["virtioIommu.events.MAPPING"].Value);
        Assert.Equal((10L, "NoSmmu", "NotSimulated"), (virtio[FaultSource.VirtioIommuEvents].Value, virtio[FaultSource.SmmuEvents].NullReason, virtio[FaultSource.IoPageFaults].NullReason));
    }

    [Fact]
    public void Readings_OfAFileThatLies_AreNoValues()
    {
        var lies = Readings(Told with { Counters = Told.Counters with { GuestFaults = -1 }, Events = new Dictionary<string, long> { ["no type"] = 1 }, PageFaultLatency = new LatencyHistogram([1], 0) });
        Assert.Equal("NotReportedByAgent", lies[FaultSource.GuestMinor].NullReason);
        Assert.DoesNotContain(lies.Keys, source => source.Contains(' ', StringComparison.Ordinal));
        Assert.Null(lies[FaultSource.IoPageFaults].Latency);
    }
}
