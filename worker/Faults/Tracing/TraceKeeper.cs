using System.Buffers;
using System.IO.Pipelines;
using System.Runtime.InteropServices;
using System.Text.Json;
using Worker.Checks;

namespace Worker.Faults.Tracing;

// The trace keeper: a child process of the worker's own program (the verb "trace"), which holds all that the worker has in tracefs, so that a tracefs that
// blocks blocks it and never the worker. It is told a plan in one line of its input, and tells counts in one line of its output a second.
// Guarantees: when its input ends or nobody reads its output (the worker ended, however: by SIGKILL too) it takes everything away and ends; at its
// start it first takes away what a killed one of the same state directory left; two of one state directory are never at work at once (trace.lock).
// Assumes: whoever writes to its input may do anything to this kernel. On a crash of both, of keeper and worker, counting goes on in the kernel, seen by nobody, until
// the next keeper of that state directory, or the verbs shut-down and destroy-all, take it away.
internal static class TraceKeeper
{
    public const string Verb = "trace";
    public const int Ended = 0, Failed = 1, PlanRefused = 2, TableFull = 3;
    private static readonly TimeSpan Period = TimeSpan.FromSeconds(1), LockLimit = TimeSpan.FromSeconds(20), RetryDelay = TimeSpan.FromMilliseconds(100);
    private const int MostTries = 30;

    /// <summary>The name of all that a state directory's keeper makes in tracefs.</summary>
    public static string NameOf(string stateDirectory) => NodeChecks.NodeName(stateDirectory).Replace('-', '_');

    public static async Task<int> RunAsync(string stateDirectory, ITraceFiles? files, TimeProvider time)
    {
        using var stop = new CancellationTokenSource();
        var registrations = ((PosixSignal[])[PosixSignal.SIGTERM, PosixSignal.SIGINT, PosixSignal.SIGHUP])
            .Select(wanted => PosixSignalRegistration.Create(wanted, signal => { signal.Cancel = true; stop.Cancel(); })).ToList();
        await using var input = System.Console.OpenStandardInput();
        await using var output = System.Console.OpenStandardOutput();
        try
        {
            return await RunAsync(stateDirectory, files, () => TraceFiles.Mounted() is not null, input, output, System.Console.Error, time, stop.Token);
        }
        finally
        {
            registrations.ForEach(registration => registration.Dispose());
        }
    }

    // files: Null where tracefs is not mounted. isMounted: Whether it is now; then another keeper finds it.
    internal static async Task<int> RunAsync(string stateDirectory, ITraceFiles? files, Func<bool> isMounted, Stream input, Stream output, TextWriter errors, TimeProvider time, CancellationToken ct)
    {
        using var held = await StateLock.TakeAsync(stateDirectory, LockLimit, "trace.lock");
        if (held is null)
            return Say(errors, Failed, "another trace keeper holds this state directory");
        using var end = CancellationTokenSource.CreateLinkedTokenSource(ct);
        var lines = PipeReader.Create(input);
        var plan = await ReadPlanAsync(lines, end.Token);
        if (plan is null || plan.Problems().ToList() is [_, ..])
            return Say(errors, PlanRefused, $"the plan is refused: {plan?.Problems().First() ?? "it is none"}");
        if (files is null)
        {
            Say(errors, Failed, "tracefs is not mounted");
            return plan.Tables.Count == 0 ? Failed : await TellUntilEndAsync(() => new TraceReport(time.GetTimestamp(), Unavailable(plan)), isMounted);
        }
        var session = new TraceSession(files, NameOf(stateDirectory));
        try
        {
            await TearDownAsync(session, errors, time);
            if (plan.Tables.Count + plan.Latencies.Count == 0)
                return Ended;
            session.SetUp(plan);
            foreach (var said in session.Said)
                Say(errors, Failed, said);
            var known = session.Said.Count;
            await TellUntilEndAsync(() => session.Read(time.GetTimestamp()), () => session.IsFull);
            foreach (var said in session.Said.Skip(known))
                Say(errors, Failed, said);
            // A new one begins with empty tables.
            return session.IsFull ? TableFull : Ended;
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            return Say(errors, Failed, problem.Message);
        }
        finally
        {
            await end.CancelAsync();
            await TearDownAsync(session, errors, time);
        }

        // Whoever reads takes silence for a keeper that hangs.
        async Task<int> TellUntilEndAsync(Func<TraceReport> read, Func<bool> isOver)
        {
            var ended = UntilEndAsync(lines, end.Token);
            using var timer = new PeriodicTimer(Period, time);
            while (await TellAsync(output, read()) && !isOver())
                if (await Task.WhenAny(ended, timer.WaitForNextTickAsync(CancellationToken.None).AsTask()) == ended)
                    break;
            return Ended;
        }
    }

    private static IReadOnlyList<TraceTableReport> Unavailable(TracePlan plan) =>
        [.. plan.Tables.Select(t => t.Name).Concat(plan.Latencies.Select(l => l.Name)).Select(table => new TraceTableReport(table, NullReasons.TracingUnavailable, [], 0))];

    /// <summary>An input that ends without a plan wants nothing but what was left to be taken away.</summary>
    private static async Task<TracePlan?> ReadPlanAsync(PipeReader input, CancellationToken ct)
    {
        try
        {
            while (true)
            {
                // A console's stream does not let itself be cancelled.
                var result = await input.ReadAsync(ct).AsTask().WaitAsync(ct);
                if (result.Buffer.PositionOf((byte)'\n') is { } end)
                {
                    var reader = new Utf8JsonReader(result.Buffer.Slice(0, end));
                    var plan = JsonSerializer.Deserialize(ref reader, TraceJson.Default.TracePlan);
                    input.AdvanceTo(result.Buffer.GetPosition(1, end));
                    return plan;
                }
                if (result.IsCompleted)
                    return result.Buffer.IsEmpty ? TracePlan.Nothing : null;
                if (result.Buffer.Length > TracePlan.MaxBytes)
                    return null;
                input.AdvanceTo(result.Buffer.Start, result.Buffer.End);
            }
        }
        catch (JsonException)
        {
            return null;
        }
        catch (OperationCanceledException)
        {
            return TracePlan.Nothing;
        }
    }

    /// <summary>Nothing more is said on the input: that it ends is what is waited for.</summary>
    private static async Task<int> UntilEndAsync(PipeReader input, CancellationToken ct)
    {
        try
        {
            while (true)
            {
                var result = await input.ReadAsync(ct).AsTask().WaitAsync(ct);
                input.AdvanceTo(result.Buffer.End);
                if (result.IsCompleted)
                    return Ended;
            }
        }
        catch (Exception problem) when (problem is IOException or OperationCanceledException)
        {
            return Ended;
        }
    }

    private static async Task<bool> TellAsync(Stream output, TraceReport report)
    {
        try
        {
            await output.WriteAsync((byte[])[.. JsonSerializer.SerializeToUtf8Bytes(report, TraceJson.Default.TraceReport), (byte)'\n'], CancellationToken.None);
            return true;
        }
        catch (IOException)
        {
            return false;
        }
    }

    /// <summary>Somebody who looks at a file of the instance keeps it there for that moment.</summary>
    private static async Task TearDownAsync(TraceSession session, TextWriter errors, TimeProvider time)
    {
        for (var tries = 1; ; tries++)
        {
            try
            {
                if (session.TearDown() is not [_, ..] left)
                    return;
                if (tries == MostTries)
                {
                    Say(errors, Failed, $"still there in tracefs: {string.Join(", ", left)}");
                    return;
                }
            }
            catch (Exception problem) when (problem is IOException or UnauthorizedAccessException && tries == MostTries)
            {
                Say(errors, Failed, $"tracefs cannot be cleaned: {problem.Message}");
                return;
            }
            catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
            {
                // Tried again below.
            }
            await Task.Delay(RetryDelay, time);
        }
    }

    private static int Say(TextWriter errors, int status, string problem)
    {
        errors.WriteLine($"worker: trace: {problem}");
        return status;
    }
}
