using Xunit;

namespace Testing.Tests;

public sealed class ProcessTests
{
    [Fact]
    public async Task WaitForLine_WhenPrinted_AnswersTheWholeLine()
    {
        await using var shell = ProcessUnderTest.Start("bash", ["-c", "echo ready on $PORT; exec sleep 60"], new Dictionary<string, string?> { ["PORT"] = "7" });
        Assert.Equal("ready on 7", await shell.WaitForLineAsync("ready"));
    }

    [Fact]
    public async Task WaitForLine_WhenProcessEndsFirst_SaysSoWithItsOutput()
    {
        await using var shell = ProcessUnderTest.Start("bash", ["-c", "echo broken >&2; exit 3"]);
        var error = await Assert.ThrowsAsync<InvalidOperationException>(() => shell.WaitForLineAsync("ready"));
        Assert.Contains("ended with 3", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Kill_WhenTermIsIgnored_EndsIt()
    {
        await using var shell = ProcessUnderTest.Start("bash", ["-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"]);
        await shell.WaitForLineAsync("ready");
        await Assert.ThrowsAsync<TimeoutException>(() => shell.TerminateAsync(TimeSpan.FromMilliseconds(300)));
        await shell.KillAsync();
        Assert.Equal(128 + 9, shell.ExitCode);
    }

    [Fact]
    public async Task Terminate_WhenHandled_AnswersTheExitCode()
    {
        await using var shell = ProcessUnderTest.Start("bash", ["-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done"]);
        await shell.WaitForLineAsync("ready");
        Assert.Equal(5, await shell.TerminateAsync());
    }

    [Fact]
    public async Task Dispose_WhenItStillRuns_EndsIt()
    {
        var shell = ProcessUnderTest.Start("sleep", ["60"]);
        var pid = shell.Id;
        await shell.DisposeAsync();
        Assert.False(Directory.Exists($"/proc/{pid}"));
    }

    [Fact]
    public async Task Eventually_WhenNeverTrue_SaysWhatItWaitedFor()
    {
        var error = await Assert.ThrowsAsync<TimeoutException>(
            () => Eventually.Async(() => false, "pigs fly", TimeSpan.FromMilliseconds(100)));
        Assert.Contains("pigs fly", error.Message, StringComparison.Ordinal);
    }
}
