using System.ComponentModel;
using System.Diagnostics;
using System.IO.Pipelines;
using System.Text.Json;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Worker.Faults.Tracing;

// Keeps a trace keeper running on a host that can have guests to trace, and the last that it told.
// Guarantees: nothing here waits for tracefs; a keeper that ends, or tells nothing for half a minute, is replaced, later and later; what is shown is fresh.
// It runs from the worker's start and not from the first guest's, because a count that begins after its guest is a lower bound for good.
// On a crash of the worker the keeper's input ends, and it takes away what it set up.
public sealed class KernelTrace : BackgroundService
{
    private const int MaxLineBytes = 4 << 20;
    private static readonly TimeSpan Fresh = TimeSpan.FromSeconds(10), Silence = TimeSpan.FromSeconds(30), FirstPause = TimeSpan.FromSeconds(1), LongestPause = TimeSpan.FromMinutes(2),
        TearDown = TimeSpan.FromSeconds(2);
    private readonly WorkerProgram? _program;
    private readonly string _stateDirectory;
    private readonly TracePlan _plan;
    private readonly TimeProvider _time;
    private readonly ILogger _log;
    private volatile Told? _told;
    private int _session;

    private sealed record Told(TraceSnapshot Snapshot, long At);

    // program: Null on a host that has nothing to trace, or in a process that only ends guests: then nothing is ever told.
    internal KernelTrace(WorkerProgram? program, string stateDirectory, TracePlan plan, TimeProvider time, ILogger log) =>
        (_program, _stateDirectory, _plan, _time, _log) = (program, stateDirectory, plan, time, log);

    internal long Now => _time.GetTimestamp();

    /// <summary>What the keeper has told last; null while there is none, or it is late.</summary>
    internal TraceSnapshot? Latest => _told is { } told && _time.GetElapsedTime(told.At) < Fresh ? told.Snapshot : null;

    internal void Show(TraceSnapshot? snapshot) => _told = snapshot is null ? null : new Told(snapshot, _time.GetTimestamp());

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        if (_program is null)
            return;
        var pause = FirstPause;
        try
        {
            while (true)
            {
                var from = _time.GetTimestamp();
                await RunKeeperAsync(_program, stoppingToken);
                pause = _time.GetElapsedTime(from) > LongestPause ? FirstPause : pause;
                await Task.Delay(pause, _time, stoppingToken);
                pause = pause * 2 < LongestPause ? pause * 2 : LongestPause;
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
        }
    }

    private async Task RunKeeperAsync(WorkerProgram program, CancellationToken ct)
    {
        try
        {
            using var keeper = Process.Start(StartInfo(program, _stateDirectory)) ?? throw new IOException("it could not be started");
            try
            {
                await FollowAsync(keeper, ct);
            }
            finally
            {
                Show(null);
                await EndAsync(keeper);
            }
        }
        // Whatever one keeper did, the next is tried.
        catch (Exception problem) when (problem is not OperationCanceledException || !ct.IsCancellationRequested)
        {
            _log.LogWarning("The trace keeper: {Problem}", problem.Message);
        }
    }

    private async Task FollowAsync(Process keeper, CancellationToken ct)
    {
        await keeper.StandardInput.BaseStream.WriteAsync((byte[])[.. JsonSerializer.SerializeToUtf8Bytes(_plan, TraceJson.Default.TracePlan), (byte)'\n'], ct);
        await keeper.StandardInput.BaseStream.FlushAsync(ct);
        var snapshot = TraceSnapshot.Of(++_session);
        using var silent = CancellationTokenSource.CreateLinkedTokenSource(ct);
        using var alarm = _time.CreateTimer(_ => silent.Cancel(), null, Silence, Timeout.InfiniteTimeSpan);
        try
        {
            await foreach (var line in Lines.ReadAsync(PipeReader.Create(keeper.StandardOutput.BaseStream), MaxLineBytes, silent.Token))
            {
                alarm.Change(Silence, Timeout.InfiniteTimeSpan);
                snapshot = snapshot.With(JsonSerializer.Deserialize(line.Span, TraceJson.Default.TraceReport) ?? throw new InvalidDataException("it told nothing"));
                Show(snapshot);
            }
            _log.LogWarning("The trace keeper ended");
        }
        catch (OperationCanceledException) when (!ct.IsCancellationRequested)
        {
            keeper.Kill();
            throw new IOException($"it told nothing for {Silence.TotalSeconds:0} s");
        }
    }

    /// <summary>It takes away what it set up; a tracefs that blocks is not waited for.</summary>
    private async Task EndAsync(Process keeper)
    {
        try
        {
            keeper.StandardInput.Close();
        }
        catch (IOException)
        {
            // It has ended already.
        }
        using var limit = new CancellationTokenSource(TearDown, _time);
        try
        {
            await keeper.WaitForExitAsync(limit.Token);
        }
        catch (OperationCanceledException)
        {
            _log.LogWarning("The trace keeper is still taking its probes away");
        }
    }

    /// <summary>Takes away what a killed worker and its killed keeper have left.</summary>
    internal static async Task RemoveLeftAsync(WorkerProgram program, string stateDirectory, TimeSpan limit)
    {
        using var end = new CancellationTokenSource(limit);
        try
        {
            using var keeper = Process.Start(StartInfo(program, stateDirectory)) ?? throw new IOException("it could not be started");
            keeper.StandardInput.Close();
            await keeper.WaitForExitAsync(end.Token);
        }
        catch (Exception problem) when (problem is Win32Exception or IOException or OperationCanceledException)
        {
            await System.Console.Error.WriteLineAsync($"worker: the trace keeper: {problem.Message}");
        }
    }

    private static ProcessStartInfo StartInfo(WorkerProgram program, string stateDirectory)
    {
        var start = new ProcessStartInfo(program.Path) { RedirectStandardInput = true, RedirectStandardOutput = true, WorkingDirectory = "/" };
        start.Environment.Clear();
        foreach (var (name, value) in WorkerProgram.Environment)
            start.Environment[name] = value;
        foreach (var argument in (IEnumerable<string>)[.. program.Arguments, TraceKeeper.Verb, "--state-directory", stateDirectory])
            start.ArgumentList.Add(argument);
        return start;
    }
}
