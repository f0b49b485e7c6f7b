using GuestAgent;
using Xunit;

namespace Worker.Tests.GuestAgentParts;

public sealed class ProcTextTests
{
    private const string VmStat = "nr_free_pages 49\npgfault_extra 5\npgfault 1495\npgmajfault 7\nhuge 99999999999999999999\nbroken x\nnegative -3\n";

    [Theory]
    [InlineData("pgfault", 1495L)]
    [InlineData("pgmajfault", 7L)]
    [InlineData("pgf", null)]
    [InlineData("absent", null)]
    [InlineData("huge", null)]
    [InlineData("broken", null)]
    [InlineData("negative", null)]
    public void VmStat_ReadsTheNamedCounterOrNothing(string name, long? expected) => Assert.Equal(expected, ProcText.VmStat(VmStat, name));

    [Fact]
    public void VmStat_WhenTextIsEmpty_IsNull() => Assert.Null(ProcText.VmStat("", "pgfault"));

    [Theory]
    [InlineData("MemTotal:         226828 kB\nMemFree: 1 kB\n", 226828L)]
    [InlineData("MemFree: 1 kB\n", null)]
    [InlineData("MemTotal: 5\n", null)]
    [InlineData("MemTotal: kB\n", null)]
    public void MemTotalKib_ReadsKibibytesOnly(string text, long? expected) => Assert.Equal(expected, ProcText.MemTotalKib(text));

    [Theory]
    [InlineData("1.66 0.42\n", 1660L)]
    [InlineData("100000000.01 0.42\n", 100000000010L)]
    [InlineData("", null)]
    [InlineData("x 1\n", null)]
    [InlineData("-1.0 1\n", null)]
    public void UptimeMilliseconds_ReadsTheFirstField(string text, long? expected) => Assert.Equal(expected, ProcText.UptimeMilliseconds(text));
}
