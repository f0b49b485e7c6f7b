using Worker.Hardware.Assignment;
using Xunit;

namespace Worker.Tests.Hardware.Assignment;

public sealed class NvmeNamespacesTests
{
    [Theory]
    [InlineData(new uint[] { 1 }, new uint[] { 1 }, null)]
    [InlineData(new uint[] { 1, 7 }, new uint[] { 1, 7 }, null)]
    [InlineData(new uint[] { 1 }, new uint[] { 1, 2, 9 }, "Not attached: 2, 9.")]
    [InlineData(new uint[0], new uint[] { 1 }, "Not attached: 1.")]
    [InlineData(new uint[0], new uint[0], "There is none.")]
    public void OutOfReach_OfWhatIsAttachedAndWhatThereIs(uint[] active, uint[] allocated, string? said) =>
        Assert.Equal(said, NvmeErasure.OutOfReach(active, allocated));
}
