using System.Diagnostics;
using Contracts;
using GuestAgent;
using Xunit;

namespace Worker.Tests.GuestAgentParts;

public sealed class WorkloadTests : IDisposable
{
    private readonly TemporaryDirectory _folder = new();

    public void Dispose() => _folder.Dispose();

    private static Process Sleeper() => Process.Start(new ProcessStartInfo("sleep", ["60"]))!;

    [Theory]
    [InlineData("7 (a b) S 1 7 7 0 -1 4194560 123 4 45 6 1 1 0 0 20 0 1 0 999 1 1", 123, 4, 45, 6)]
    [InlineData("7 (evil) Z 9 (x) S 1 7 7 0 -1 4194560 123 4 45 6 1 1 0 0 20 0 1 0 999 1 1\n", 123, 4, 45, 6)]
    public void ProcessStat_IsItsOwnFaultsAndItsChildrens(string text, long minor, long childMinor, long major, long childMajor) =>
        Assert.Equal(new ProcessStat(new(minor, major), new(childMinor, childMajor), 999), ProcText.ProcessStat(text));

    [Theory]
    [InlineData("")]
    [InlineData("7 (a) S 1 7 7")]
    [InlineData("7 a S 1 7 7 0 -1 4194560 123 4 45 6 1 1 0 0 20 0 1 0 999 1 1")]
    [InlineData("7 (a) S 1 7 7 0 -1 4194560 x 4 45 6 1 1 0 0 20 0 1 0 999 1 1")]
    [InlineData("7 (a) S 1 7 7 0 -1 4194560 -3 4 45 6 1 1 0 0 20 0 1 0 999 1 1")]
    [InlineData("7 (a) S 1 7 7 0 -1 4194560 99999999999999999999 4 45 6 1 1 0 0 20 0 1 0 999 1 1")]
    public void ProcessStat_OfAnythingElse_IsNull(string text) => Assert.Null(ProcText.ProcessStat(text));

    [Fact]
    public void Read_WhenNoScriptWasRun_SaysSo() => Assert.Equal(new AgentWorkload(null, null, false, AgentReasons.NoWorkload), new Workload(_folder.FullPath).Read());

    [Fact]
    public async Task Read_WhileTheScriptRuns_IsItsProcess_ForTheNextAgentToo()
    {
        using var script = Sleeper();
        var workload = new Workload(_folder.FullPath);
        workload.Begin(script.Id);
        var told = workload.Read();
        Assert.True(told is { MinorFaults: > 0, MajorFaults: >= 0, LowerBound: false, Reason: null }, told.ToString());
        var next = new Workload(_folder.FullPath);
        Assert.True(next.Read().MinorFaults >= told.MinorFaults);
        // It ends while nobody is there to be told: the last that was seen stays. Until it sleeps it faults on.
        await Eventually.TrueAsync(() => workload.Read() == next.Read(), "both have seen the same");
        script.Kill();
        script.WaitForExit();
        Assert.Equal(next.Read() with { LowerBound = false }, workload.Read() with { LowerBound = false });
        Assert.True(workload.Read() is { MinorFaults: > 0, LowerBound: true, Reason: null });
        Assert.Equal(new AgentWorkload(null, null, false, null), new Workload(_folder.FullPath).Read());
    }

    [Fact]
    public void Read_WhenAnotherProcessHasItsNumber_IsNotTaken()
    {
        using var other = Sleeper();
        File.WriteAllText(_folder.Of("user-data.process"), $"{other.Id} 1");
        Assert.Null(new Workload(_folder.FullPath).Read().MinorFaults);
        other.Kill();
    }

    [Fact]
    public void Read_AfterItsEnd_IsWhatTheKernelHasForThisProcessesChildren()
    {
        using (var script = Process.Start(new ProcessStartInfo("true"))!)
            script.WaitForExit();
        var workload = new Workload(_folder.FullPath);
        var before = ProcText.ProcessStat(File.ReadAllText("/proc/self/stat"))!.Value.OfChildren;
        workload.End();
        var after = ProcText.ProcessStat(File.ReadAllText("/proc/self/stat"))!.Value.OfChildren;
        var told = workload.Read();
        Assert.InRange(told.MinorFaults!.Value, before.Minor, after.Minor);
        Assert.True(told is { MinorFaults: > 0, LowerBound: false, Reason: null });
        Assert.Equal(told, new Workload(_folder.FullPath).Read());
    }

    [Fact]
    public void Begin_WhenNothingCanBeStored_TheScriptGoesOn()
    {
        using var script = Sleeper();
        var workload = new Workload(_folder.Of("absent"));
        workload.Begin(script.Id);
        workload.End();
        Assert.Equal(AgentReasons.NoWorkload, workload.Read().Reason);
        script.Kill();
    }
}
