using Contracts;
using Worker.Faults;
using Worker.Vms;
using Xunit;

namespace Worker.Tests.Faults;

public sealed class CgroupFaultsTests
{
    private const string Stat = "anon 4096\nfile 0\nworkingset_refault_anon 3\nworkingset_refault_file 4\npgfault 120\npgmajfault 7\nthp_fault_alloc 2\n";
    private const string Pressure = "some avg10=0.00 avg60=0.12 avg300=0.00 total=5012\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=4001\n";

    private static Dictionary<string, SourceReading> Of(bool? isThere, string? stat, string? pressure) =>
        CgroupFaults.Of(new CgroupFaults.Seen(isThere, stat, pressure), Origin.Hardware).ToDictionary(r => r.Source);

    [Fact]
    public void Of_WhatTheKernelWrites_IsItsCounts() => Assert.Equal(
        [120, 7, 2, 7, 5012, 4001],
        ((string[])[FaultSource.CgroupFaults, FaultSource.CgroupMajor, FaultSource.CgroupHugePages, FaultSource.CgroupRefaults, FaultSource.MemoryStallSome, FaultSource.MemoryStallFull]).Select(source => Of(true, Stat, Pressure)[source].Value));

    [Theory]
    [InlineData(null, Stat, Pressure, "NoCgroup", "NoCgroup")]
    [InlineData(false, null, null, "VmmGone", "VmmGone")]
    [InlineData(false, Stat, Pressure, "VmmGone", "VmmGone")]
    [InlineData(true, null, Pressure, "CgroupControllerOff", null)]
    [InlineData(true, Stat, null, null, "PressureOff")]
    [InlineData(true, "", "", "NotToldByKernel", "NotToldByKernel")]
    public void Of_WhenSomethingIsMissing_SaysWhat(bool? isThere, string? stat, string? pressure, string? faults, string? stall)
    {
        var readings = Of(isThere, stat, pressure);
        Assert.Equal((faults, stall), (readings[FaultSource.CgroupFaults].NullReason, readings[FaultSource.MemoryStallFull].NullReason));
    }

    [Theory]
    [InlineData("pgfault 0\n", 0L)]
    [InlineData("pgfault 9223372036854775807\n", long.MaxValue)]
    [InlineData("pgfault 9223372036854775808\n", null)]
    [InlineData("pgfault 99999999999999999999999999\n", null)]
    [InlineData("pgfault -1\n", null)]
    [InlineData("pgfault +1\n", null)]
    [InlineData("pgfault 1 \n", null)]
    [InlineData("pgfault  1\n", null)]
    [InlineData("pgfault 12", null)] // cut: it may have had another digit
    [InlineData("pgfault\n", null)]
    [InlineData("pgfault 1\npgfault 2\n", null)]
    [InlineData("pgfaults 1\n", null)]
    [InlineData("xpgfault 1\npgfault 2\n", 2L)]
    [InlineData("pgmajfault 1\n", null)]
    public void Sum_OfALine_IsItsNumberOrNothing(string stat, long? expected) => Assert.Equal(expected, CgroupFaults.Sum(stat, "pgfault"));

    [Theory]
    [InlineData("workingset_refault_anon 3\n", null)]
    [InlineData("workingset_refault_anon 3\nworkingset_refault_file 9223372036854775807\n", long.MaxValue)]
    public void Sum_OfTwoLines_NeedsBothAndNeverOverflows(string stat, long? expected) =>
        Assert.Equal(expected, CgroupFaults.Sum(stat, "workingset_refault_anon", "workingset_refault_file"));

    [Theory]
    [InlineData("some avg10=0.00 total=7\n", 7L)]
    [InlineData("some total=7 total=8\n", null)]
    [InlineData("some total=99999999999999999999\n", null)]
    [InlineData("some total=-7\n", null)]
    [InlineData("some avg10=0.00\n", null)]
    [InlineData("some avg10=0.00 total=7", null)]
    [InlineData("full total=7\n", null)]
    public void Total_OfALine_IsItsMicrosecondsOrNothing(string pressure, long? expected) => Assert.Equal(expected, CgroupFaults.Total(pressure, "some"));

    [Fact]
    public void Look_AtThisMachinesCgroup_TellsWhatItHas()
    {
        var tree = CgroupTree.Open($"sandbox-tests-{Guid.NewGuid():N}");
        Assert.SkipWhen(tree.Unavailable is not null, tree.Unavailable ?? "");
        var cgroup = tree.Of(Guid.NewGuid())!;
        try
        {
            cgroup.Create(null, null);
            var readings = new CgroupFaults(cgroup, Origin.Emulated).Read(DateTimeOffset.UnixEpoch).ToDictionary(r => r.Source);
            Assert.Equal(File.Exists(Path.Combine(cgroup.FullPath, "memory.stat")), readings[FaultSource.CgroupFaults].Value is not null);
            Assert.Equal(File.Exists(Path.Combine(cgroup.FullPath, "memory.stat")) ? null : "CgroupControllerOff", readings[FaultSource.CgroupFaults].NullReason);
            Assert.Equal(File.Exists(Path.Combine(cgroup.FullPath, "memory.pressure")), readings[FaultSource.MemoryStallSome].Value is not null);
        }
        finally
        {
            Assert.True(cgroup.Remove());
            tree.RemoveParent();
        }
        Assert.All(new CgroupFaults(cgroup, Origin.Emulated).Read(DateTimeOffset.UnixEpoch), r => Assert.Equal("VmmGone", r.NullReason));
    }
}
