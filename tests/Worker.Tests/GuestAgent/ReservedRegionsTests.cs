using GuestAgent.Probe;
using Xunit;

namespace Worker.Tests.GuestAgentParts;

public sealed class ReservedRegionsTests
{
    [Theory]
    [InlineData("", null)]
    [InlineData("0x0000000008000000 0x00000000080fffff msi\n", null)]
    [InlineData("0x0000000008000000 0x00000000080fffff direct-relaxable\n", null)]
    [InlineData("0x0000000008000000 0x00000000080fffff direct\n", "0x0000000008000000 to 0x00000000080fffff")]
    [InlineData("0x1 0x2 reserved\n0x3 0x4 direct\n0x5 0x6 direct\n", "0x3 to 0x4")]
    [InlineData("direct\n0x1 direct\n0x1 0x2 direct more\n", null)]
    public void FirstDirect_IsTheOneThatMustBeMapped(string text, string? expected) => Assert.Equal(expected, ReservedRegions.FirstDirect(text));
}
