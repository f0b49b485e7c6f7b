using Microsoft.Extensions.Logging.Abstractions;
using Worker.Faults.Tracing;
using Xunit;

namespace Worker.Tests.Faults.Tracing;

/// <summary>With a shell in the keeper's place, which says what a test wants.</summary>
public sealed class KernelTraceTests : IDisposable
{
    private const string Report = """{"begun":1,"tables":[{"name":"guest_faults","rows":[{"keys":["7"],"count":3,"sum":0}],"lost":0}]}""";
    private readonly TemporaryDirectory _root = new();

    public void Dispose() => _root.Dispose();

    private KernelTrace Trace(string script) => new(new WorkerProgram("/bin/sh", ["-c", script, "sh"]), _root.FullPath, HostTracePlan.For(new Version(7, 3)), TimeProvider.System, NullLogger.Instance);

    [Fact]
    public async Task Run_ShowsWhatIsToldAndEndsTheKeepersInput()
    {
        var ct = TestContext.Current.CancellationToken;
        var trace = Trace($"read -r plan; echo \"$plan $1 $2 $3\" >{_root.Of("plan")}; echo '{Report}'; read -r end; echo ended >{_root.Of("end")}");
        await trace.StartAsync(ct);
        await Eventually.TrueAsync(() => trace.Latest is not null, "it tells");
        Assert.Equal(3, trace.Latest!.Table("guest_faults")!.CountOf("7"));
        await trace.StopAsync(ct);
        Assert.Null(trace.Latest);
        await Eventually.TrueAsync(() => File.Exists(_root.Of("end")), "its input ended");
        var said = await File.ReadAllTextAsync(_root.Of("plan"), ct);
        Assert.EndsWith($"trace --state-directory {_root.FullPath}\n", said, StringComparison.Ordinal);
        Assert.StartsWith("{\"probes\":[", said, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("echo x")]
    [InlineData("echo null")]
    [InlineData("echo '{\"begun\":1,\"tables\":[{\"name\":\"t\",\"rows\":[{\"keys\":[\"7\"],\"count\":-3,\"sum\":0}],\"lost\":0}]}'")]
    [InlineData("exit 3")]
    public async Task Run_WhenTheKeeperFails_BeginsAnotherSession(string failure)
    {
        var ct = TestContext.Current.CancellationToken;
        var trace = Trace($"read -r plan; if [ -e {_root.Of("once")} ]; then echo '{Report}'; read -r end; else : >{_root.Of("once")}; {failure}; fi");
        await trace.StartAsync(ct);
        await Eventually.TrueAsync(() => trace.Latest is not null, "the next one tells");
        Assert.Equal(2, trace.Latest!.Session);
        await trace.StopAsync(ct);
    }

    [Fact]
    public async Task Run_WithoutAProgram_TellsNothing()
    {
        var trace = new KernelTrace(null, _root.FullPath, TracePlan.Nothing, TimeProvider.System, NullLogger.Instance);
        await trace.StartAsync(TestContext.Current.CancellationToken);
        await trace.ExecuteTask!;
        Assert.Null(trace.Latest);
    }
}
