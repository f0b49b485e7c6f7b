using Worker.Checks;
using Worker.Hardware.Assignment;
using Worker.Tests.Hardware;
using Worker.Tests.Hardware.Assignment;
using Xunit;

namespace Worker.Tests.Checks;

public sealed class OfferedTableTests
{
    [Fact]
    public void Lines_NameWhatIsOfferedRefusedErasedAndWhatFitsNothing()
    {
        using var host = Machines.GraceHopper()
            .Function("0001:01:00.0", 0xA80A144D, 0x010802, new ConfigBytes(0xA80A144D).Express().Build(), group: 31)
            .Function("0001:02:00.0", 0x15B3101D, 0x020000, new ConfigBytes(0x15B3101D).Express().Build());
        PassthroughOptions Rule(string address, string @class) => new() { Address = address, Class = @class };
        var lines = OfferedTable.Lines(
            [Rule(Machines.Accelerator, "gpu"), Rule("0001:01:00.0", "nvme"), Rule("0001:02:00.0", "nic"), Rule("00ff:00:00.0", "none")],
            [new EmulatedDeviceOptions { Name = "edu-0", Kind = "edu", Class = "edu" }, new EmulatedDeviceOptions { Name = "sva-0", Kind = EmulatedDeviceOptions.Simulated, Class = "sva" }], host.Scan(), HostUses.None).ToList();
        Assert.Contains(lines, l => l.Contains("1 emulated edu of class edu", StringComparison.Ordinal));
        Assert.Contains(lines, l => l.Contains(" 1 simulated of class sva", StringComparison.Ordinal));
        Assert.Contains(lines, l => l.Contains($"{Machines.Accelerator} of class gpu", StringComparison.Ordinal) && !l.Contains("ERASED", StringComparison.Ordinal));
        Assert.Contains(lines, l => l.Contains("0001:02:00.0 of class nic, refused now: NoIommuGroup", StringComparison.Ordinal));
        Assert.Contains(lines, l => l.Contains("nothing by rule 3: no function here is 00ff:00:00.0", StringComparison.Ordinal));
        Assert.Single(lines, l => l.Contains("0001:01:00.0 of class nvme", StringComparison.Ordinal));
    }
}
