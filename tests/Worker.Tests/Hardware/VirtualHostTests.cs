using Worker.Hardware;
using Xunit;

namespace Worker.Tests.Hardware;

public sealed class VirtualHostTests
{
    [Theory]
    [InlineData("sys/firmware/devicetree/base/compatible", "linux,dummy-virt", true)]
    [InlineData("sys/firmware/devicetree/base/compatible", "ampere,altra", false)]
    [InlineData("proc/cpuinfo", "processor : 0\nflags\t\t: fpu vme hypervisor lahf_lm", true)]
    [InlineData("proc/cpuinfo", "processor : 0\nflags\t\t: fpu vme lahf_lm\nmodel : hypervisor", false)]
    [InlineData("sys/class/dmi/id/sys_vendor", "QEMU", true)]
    [InlineData("sys/class/dmi/id/sys_vendor", "NVIDIA", false)]
    [InlineData("sys/class/dmi/id/sys_vendor", "Amazon EC2", true)]
    [InlineData("sys/class/dmi/id/product_name", "Google Compute Engine", true)]
    [InlineData("sys/class/dmi/id/product_name", "Mt.Jade Motherboard", false)]
    [InlineData("nothing", "", false)]
    public void Is_TakesEvidence(string path, string content, bool isVirtual)
    {
        using var machine = new FixtureTree();
        Assert.Equal(isVirtual, VirtualHost.Is(machine.Text(path, content).Tree));
    }

    [Fact]
    public void Is_OfAmazonsMachinesWithoutHypervisor_IsFalse()
    {
        using var machine = new FixtureTree();
        Assert.False(VirtualHost.Is(machine.Text("sys/class/dmi/id/sys_vendor", "Amazon EC2").Text("sys/class/dmi/id/product_name", "m7g.metal").Tree));
    }
}
