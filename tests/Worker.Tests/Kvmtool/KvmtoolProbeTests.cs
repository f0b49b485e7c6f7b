using Worker.Checks;
using Worker.Vms.Kvmtool;
using Xunit;

namespace Worker.Tests.Kvmtool;

public sealed class KvmtoolProbeTests
{
    [Theory]
    [InlineData("kvm tool 3.18.0\n", "3.18.0")]
    [InlineData("3.18.0-rc3+\n", "3.18.0-rc3+")]
    [InlineData("kvmtool v4.0.0.ga1b2c3d\n", "4.0.0.ga1b2c3d")]
    [InlineData("", null)]
    [InlineData("usage: something else\n", null)]
    [InlineData("kvm tool \u001b[31m\n", null)]
    public void ParseVersion_OfWhatItSays(string said, string? version) => Assert.Equal(version, KvmtoolProbe.ParseVersion(said));

    [Fact]
    public void ParseOptions_ReadsLongNamesOnly() => Assert.Equal(["cpus", "irqchip", "name", "network"], KvmtoolProbe.ParseOptions("""

         usage: lkvm run [<options>] [<kernel image>]

        Basic options:
                --name <guest name>   A name for the guest
            -c, --cpus <n>            Number of CPUs, see --other
            -n, --network[=<network params>]
                                  Create a new guest NIC
                --irqchip <[gicv2|gicv3-its]>
        """).Order(StringComparer.Ordinal));

    [Fact]
    public async Task Ask_WhenThereIsNone_IsNothing()
    {
        var facts = await KvmtoolProbe.AskAsync("/nonexistent/lkvm", TestContext.Current.CancellationToken);
        Assert.Equal((null, null, null), (facts.Path, facts.Version, facts.UsableVersion(kvm: true)));
    }

    [Fact]
    public async Task Ask_AProgramThatIsNotKvmtool_IsNothing() =>
        Assert.Equal(KvmtoolFacts.None, await KvmtoolProbe.AskAsync("/bin/true", TestContext.Current.CancellationToken));

    [Fact]
    public async Task Ask_TheStandIn_TellsVersionAndOptions()
    {
        var facts = await KvmtoolProbe.AskAsync(StandInLkvm.Path, TestContext.Current.CancellationToken);
        Assert.Equal("3.18.0-stand-in", facts.UsableVersion(kvm: true));
        Assert.Null(facts.UsableVersion(kvm: false));
        Assert.Contains("nodefaults", facts.Options);
        Assert.Empty(facts.MissingOptions);
        Assert.Empty(facts.MissingPrograms);
    }

    [Fact]
    public void TheStandIn_WhenAnOptionIsUnknown_FailsAsTheRealOne()
    {
        var (status, said) = StandInLkvm.Run(StandInLkvm.Path, "run", "--nosuch");
        Assert.Equal(129, status);
        Assert.Contains("Error: unknown option `nosuch'", said, StringComparison.Ordinal);
    }
}
