using Contracts;
using Microsoft.Extensions.Logging.Abstractions;
using Worker.Faults;
using Worker.Hardware.Pci;
using Worker.Tests.Hardware;
using Xunit;

namespace Worker.Tests.Faults;

public sealed class AerFaultsTests : IDisposable
{
    private const string One = "0009:01:00.0", Other = "0009:02:00.0";
    private readonly FixtureTree _host = new();
    private readonly TemporaryDirectory _directory = new();

    public void Dispose()
    {
        _host.Dispose();
        _directory.Dispose();
    }

    private AerCounter Counter(bool adopted = false, params string[] functions) => new(
        _host.Tree, [.. functions.Select(f => PciAddress.TryParse(f, out var address) ? address : throw new ArgumentException(f))],
        new KeptTallies(_directory.Of("aer.state"), 1, adopted, false, TimeProvider.System, NullLogger.Instance));

    /// <summary>As the kernel writes them.</summary>
    private void Say(string function, long correctable, long nonFatal = 0, long fatal = 0)
    {
        var path = $"sys/bus/pci/devices/{function}";
        _host.Text($"{path}/aer_dev_correctable", $"RxErr {correctable}\nBadTLP 0\nBadDLLP 0\nRollover 0\nTimeout 0\nNonFatalErr 0\nCorrIntErr 0\nHeaderOF 0\nTOTAL_ERR_COR {correctable}")
            .Text($"{path}/aer_dev_nonfatal", $"Undefined 0\nDLP 0\nCmpltTO {nonFatal}\nTOTAL_ERR_NONFATAL {nonFatal}").Text($"{path}/aer_dev_fatal", $"Undefined 0\nDLP {fatal}\nTOTAL_ERR_FATAL {fatal}");
    }

    private static (long?, bool, string?)[] Read(AerCounter counter) =>
        [.. AerFaults.Of(true, counter.Look(), Origin.Hardware).Select(r => (r.Value, r.LowerBound, r.NullReason))];

    [Fact]
    public void Look_CountsFromTheTenancysStart_OverAllFunctions()
    {
        Say(One, 10, 1, 0);
        Say(Other, 5, 0, 2);
        var counter = Counter(false, One, Other);
        Assert.Equal([(0L, false, null), (0L, false, null), (0L, false, null)], Read(counter));
        Say(One, 13, 2, 0);
        Say(Other, 6, 0, 3);
        Assert.Equal([(4L, false, null), (1L, false, null), (1L, false, null)], Read(counter));
        // While no worker ran.
        Say(One, 20, 2, 0);
        Assert.Equal([(11L, false, null), (1L, false, null), (1L, false, null)], Read(Counter(true, One, Other)));
    }

    [Fact]
    public void Look_WhenAFunctionWasProbedAgain_IsALowerBoundAndNotLess()
    {
        Say(One, 10);
        var counter = Counter(false, One);
        Read(counter);
        Say(One, 12);
        Read(counter);
        Say(One, 1);
        Assert.Equal((3L, true, null), Read(counter)[0]);
        Assert.Equal((0L, false, null), Read(counter)[1]);
    }

    [Fact]
    public void Look_WhenAFunctionVanishes_KeepsItsCountAsALowerBound()
    {
        Say(One, 10);
        Say(Other, 0);
        var counter = Counter(false, One, Other);
        Read(counter);
        Say(One, 14);
        Read(counter);
        Directory.Delete(Path.Combine(_host.Tree.Root, $"sys/bus/pci/devices/{One}"), recursive: true);
        Assert.Equal((4L, true, null), Read(counter)[0]);
    }

    [Fact]
    public void Look_WhenNoFunctionHasAer_SaysSo_AndOfSomeIsALowerBound()
    {
        Assert.All(Read(Counter(false, One)), r => Assert.Equal((null, false, "NoAer"), r));
        Say(Other, 1);
        Assert.All(Read(Counter(false, One, Other)), r => Assert.Equal((0L, true, null), r));
    }

    [Theory]
    [InlineData("RxErr 2\nTOTAL_ERR_COR 2", 2L)]
    [InlineData("TOTAL_ERR_COR 9223372036854775807", long.MaxValue)]
    [InlineData("TOTAL_ERR_COR 9223372036854775808", null)]
    [InlineData("TOTAL_ERR_COR -1", null)]
    [InlineData("TOTAL_ERR_COR 1\nTOTAL_ERR_COR 2", null)]
    [InlineData("TOTAL_ERR_CORR 1", null)]
    [InlineData("XTOTAL_ERR_COR 1", null)]
    [InlineData("TOTAL_ERR_COR ", null)]
    [InlineData("", null)]
    [InlineData(null, null)]
    public void Total_OfAFile_IsItsNumberOrNothing(string? text, long? expected) => Assert.Equal(expected, AerCounter.Total(text, "TOTAL_ERR_COR"));

    [Fact]
    public void Of_WithoutAFunctionOrAnAnswer_SaysSo()
    {
        Assert.All(AerFaults.Of(false, null, Origin.Hardware), r => Assert.Equal("NoAssignedDevice", r.NullReason));
        Assert.All(AerFaults.Of(true, null, Origin.Hardware), r => Assert.Equal("HostSilent", r.NullReason));
    }
}
