using Xunit;

namespace Testing.Tests;

/// <summary>deploy/dev/results.mjs: what ./sandbox test says and whether it fails.</summary>
public sealed class ResultsTests
{
    private readonly string _directory = Surroundings.NewDirectory("results");

    [Theory]
    [InlineData("""{"name":"a","status":"passed"},{"name":"b","status":"skipped","extra":{"reason":"no browser"}}""", "0", 0, "1 passed, 0 failed, 1 skipped", "skipped: b: no browser")]
    [InlineData("""{"name":"a","status":"passed"},{"name":"b","status":"failed","message":"wrong"}""", "1", 1, "1 passed, 1 failed, 0 skipped", "failed: b: wrong")]
    [InlineData("", "0", 1, "0 passed, 0 failed, 0 skipped", "suite Some ran no test")]
    [InlineData("""{"name":"b","status":"skipped"}""", "0", 1, "0 passed, 0 failed, 1 skipped", "suite Some ran no test")]
    [InlineData("""{"name":"a","status":"passed"}""", "134", 1, "1 passed, 1 failed, 0 skipped", "the runner ended with 134")]
    [InlineData("""{"name":"a","status":"passed"}""", "124", 1, "1 passed, 1 failed, 0 skipped", "it took too long")]
    public async Task Sum_OfOneSuite_IsTheLastLine(string tests, string status, int exit, string last, string line)
    {
        await WriteAsync("Some.json", $$$"""{"results":{"tests":[{{{tests}}}]}}""");
        await WriteAsync("Some.status", status);
        await using var sum = Start("Some");
        Assert.Equal(exit, await sum.WaitForExitAsync());
        Assert.Equal(last, sum.Lines[^1]);
        Assert.Contains(line, sum.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Sum_WhenASuiteLeftNoResults_CountsOneFailure()
    {
        await WriteAsync("Good.json", """{"results":{"tests":[{"name":"a","status":"passed"}]}}""");
        await WriteAsync("Good.status", "0");
        await WriteAsync("Crashed.status", "139");
        await using var sum = Start("Good", "Crashed");
        Assert.Equal(1, await sum.WaitForExitAsync());
        Assert.Equal("1 passed, 1 failed, 0 skipped", sum.Lines[^1]);
    }

    [Fact]
    public async Task Sum_WhenAFileOfThePageCannotBeLoaded_CountsOneFailure()
    {
        await WriteAsync("Page.json", """{"testResults":[{"name":"x.test.ts","status":"failed","message":"syntax","assertionResults":[]}]}""");
        await WriteAsync("Page.status", "1");
        await using var sum = Start("Page");
        Assert.Equal(1, await sum.WaitForExitAsync());
        Assert.Equal("0 passed, 1 failed, 0 skipped", sum.Lines[^1]);
    }

    private ProcessUnderTest Start(params string[] suites) =>
        ProcessUnderTest.Start("node", [Path.Combine(Surroundings.Repository, "deploy/dev/results.mjs"), _directory, .. suites]);

    private Task WriteAsync(string name, string text) => File.WriteAllTextAsync(Path.Combine(_directory, name), text, TestContext.Current.CancellationToken);
}
