using System.IO.Pipelines;
using System.Text;
using System.Text.Json;
using Worker.Faults;
using Worker.Faults.Tracing;
using Xunit;

namespace Worker.Tests.Faults.Tracing;

public sealed class TraceKeeperTests : IDisposable
{
    private static readonly TracePlan Plan = HostTracePlan.For(new Version(7, 3));
    private readonly TemporaryDirectory _state = new();
    private readonly FakeTracefs _tracefs = new();
    private readonly Pipe _input = new(), _output = new();
    private readonly StringWriter _errors = new();
    private volatile bool _isMounted;

    public void Dispose() => _state.Dispose();

    private Task<int> Start(ITraceFiles? files, Stream? output = null, CancellationToken ct = default) =>
        Task.Run(() => TraceKeeper.RunAsync(_state.FullPath, files, () => _isMounted, _input.Reader.AsStream(), output ?? _output.Writer.AsStream(), _errors, TimeProvider.System, ct), TestContext.Current.CancellationToken);

    private async Task SayAsync(string text) => await _input.Writer.WriteAsync(Encoding.UTF8.GetBytes(text + "\n"), TestContext.Current.CancellationToken);

    private Task SayAsync(TracePlan plan) => SayAsync(JsonSerializer.Serialize(plan, TraceJson.Default.TracePlan));

    private async Task<TraceReport> HearAsync() => (await HearAsync(1))[0];

    private async Task<List<TraceReport>> HearAsync(int reports)
    {
        var heard = new List<TraceReport>();
        await foreach (var line in Lines.ReadAsync(_output.Reader, 1 << 20, TestContext.Current.CancellationToken))
        {
            heard.Add(JsonSerializer.Deserialize(line.Span, TraceJson.Default.TraceReport)!);
            if (heard.Count == reports)
                return heard;
        }
        throw new EndOfStreamException(_errors.ToString());
    }

    [Fact]
    public async Task Run_UntilItsInputEnds_CountsAndThenLeavesNothing()
    {
        // What a killed keeper has left.
        new TraceSession(_tracefs, TraceKeeper.NameOf(_state.FullPath)).SetUp(Plan);
        var left = _tracefs.State.Count;
        var keeper = Start(_tracefs);
        await SayAsync(Plan);
        Assert.All((await HearAsync()).Tables, table => Assert.Null(table.Problem));
        Assert.Equal(left, _tracefs.State.Count);
        await _input.Writer.CompleteAsync();
        Assert.Equal((TraceKeeper.Ended, ""), (await keeper, _errors.ToString()));
        Assert.Empty(_tracefs.State);
    }

    [Fact]
    public async Task Run_WhenToldToEnd_LeavesNothing()
    {
        using var stop = new CancellationTokenSource();
        var keeper = Start(_tracefs, ct: stop.Token);
        await SayAsync(Plan);
        await HearAsync();
        await stop.CancelAsync();
        Assert.Equal(TraceKeeper.Ended, await keeper);
        Assert.Empty(_tracefs.State);
    }

    [Fact]
    public async Task Run_WhenNobodyReads_LeavesNothing()
    {
        var keeper = Start(_tracefs, new Broken());
        await SayAsync(Plan);
        Assert.Equal(TraceKeeper.Ended, await keeper);
        Assert.NotEqual(0, _tracefs.Changes);
        Assert.Empty(_tracefs.State);
    }

    [Fact]
    public async Task Run_WithoutAPlan_TakesAwayWhatWasLeft()
    {
        new TraceSession(_tracefs, TraceKeeper.NameOf(_state.FullPath)).SetUp(Plan);
        await _input.Writer.CompleteAsync();
        Assert.Equal(TraceKeeper.Ended, await Start(_tracefs));
        Assert.Empty(_tracefs.State);
    }

    [Theory]
    [InlineData("{")]
    [InlineData("null")]
    [InlineData("{\"probes\":[{\"name\":\"a\",\"function\":\"b c\",\"fields\":[]}],\"tables\":[],\"latencies\":[]}")]
    public async Task Run_OfWhatIsNoPlan_ChangesNothing(string plan)
    {
        var keeper = Start(_tracefs);
        await SayAsync(plan);
        Assert.Equal((TraceKeeper.PlanRefused, 0), (await keeper, _tracefs.Changes));
        Assert.Contains("refused", _errors.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Run_OfAnEndlessLine_IsRefused()
    {
        var keeper = Start(_tracefs);
        for (var part = 0; part < 3; part++)
            await _input.Writer.WriteAsync(new byte[TracePlan.MaxBytes / 2], TestContext.Current.CancellationToken);
        Assert.Equal(TraceKeeper.PlanRefused, await keeper);
    }

    [Fact]
    public async Task Run_WithoutTracefs_SaysSoForEachTable()
    {
        var keeper = Start(null);
        await SayAsync(Plan);
        // Again and again: a silent one would be taken for one that hangs.
        Assert.All(await HearAsync(2), told => Assert.Equal(5, told.Tables.Count(t => t.Problem == NullReasons.TracingUnavailable)));
        // Once somebody has mounted it, another keeper is to find it.
        _isMounted = true;
        await keeper;
    }

    [Fact]
    public async Task Run_WhenATableIsFull_EndsSoThatAnotherBeginsAnew()
    {
        _tracefs.SetHistogram("kvm_guest_fault", () => FakeTracefs.Histogram("common_pid", 3));
        var keeper = Start(_tracefs);
        await SayAsync(Plan);
        Assert.Equal(3, (await HearAsync()).Tables.Single(t => t.Name == "guest_faults").Lost);
        Assert.Equal(TraceKeeper.TableFull, await keeper);
        Assert.Empty(_tracefs.State);
    }

    [Fact]
    public async Task Run_WhileAnotherIsTakingAway_Waits()
    {
        var held = await StateLock.TakeAsync(_state.FullPath, TimeSpan.FromSeconds(5), "trace.lock");
        var keeper = Start(_tracefs);
        await SayAsync(Plan);
        Assert.Equal(0, _tracefs.Changes);
        held!.Dispose();
        await HearAsync();
        await _input.Writer.CompleteAsync();
        Assert.Equal(TraceKeeper.Ended, await keeper);
    }

    [Fact]
    public void NameOf_IsOfOneDirectory()
    {
        Assert.Matches("^sandbox_[0-9a-f]{12}$", TraceKeeper.NameOf("/var/lib/sandbox/a"));
        Assert.NotEqual(TraceKeeper.NameOf("/var/lib/sandbox/a"), TraceKeeper.NameOf("/var/lib/sandbox/b"));
    }

    /// <summary>A pipe whose reader is gone.</summary>
    private sealed class Broken : MemoryStream
    {
        public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) => throw new IOException("Broken pipe");
    }
}
