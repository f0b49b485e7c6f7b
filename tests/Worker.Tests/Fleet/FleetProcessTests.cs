using Worker.Fleet;
using Xunit;

namespace Worker.Tests.Fleet;

public sealed class FleetProcessTests
{
    [Theory]
    [InlineData("0", "--nodes takes")]
    [InlineData("2001", "--nodes takes")]
    [InlineData("-1", "--nodes takes")]
    [InlineData("many", "--nodes takes")]
    [InlineData("", "--nodes takes")]
    [InlineData("1", null)]
    [InlineData("2000", null)]
    public void Problem_OfACount_IsThis(string count, string? problem)
    {
        using var directory = new TemporaryDirectory();
        var key = Path.Combine(directory.FullPath, "admin.key");
        File.WriteAllText(key, "sbx_x");
        var options = new WorkerOptions { ApiUrl = "http://127.0.0.1:1", StateDirectory = directory.FullPath, ImagesDirectory = directory.FullPath };
        Assert.StartsWith(problem ?? "none", FleetProcess.Problem(options, count, key) ?? "none", StringComparison.Ordinal);
        Assert.NotNull(FleetProcess.Problem(options, count, "admin.key"));
        Assert.NotNull(FleetProcess.Problem(options, count, key + "2"));
        options.ApiUrl = "ftp://127.0.0.1";
        Assert.NotNull(FleetProcess.Problem(options, count, key));
    }

    [Fact]
    public void Names_AreInOrder() => Assert.Equal(["sim-0001", "sim-0999", "sim-2000"], ((int[])[1, 999, 2000]).Select(FleetNode.NameOf));
}
