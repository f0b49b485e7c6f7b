using System.Collections.Concurrent;
using System.Globalization;
using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using Worker.Images;
using Worker.Vms.Simulated;

namespace Worker.Fleet;

// Many simulated nodes in one process (the worker's verb "fleet"), for work at scale: sim-0001 and so on, each as FleetNode has it, their machines in one SimulationPool.
// Guarantees: one fleet a state directory; nodes join a few at a time; told to end (SIGTERM, SIGINT) it ends all guests and says so to the API, as far as that takes no
// longer than ten seconds. On a crash: the next fleet is the same nodes, whose guests are lost.
internal static class FleetProcess
{
    public const string Verb = "fleet";
    public const int MaxNodes = 2000;
    private const int AtOnce = 16;
    private static readonly TimeSpan ShutDownLimit = TimeSpan.FromSeconds(10), TellPeriod = TimeSpan.FromSeconds(5);

    public static async Task<int> RunAsync(WorkerOptions options, string count, string adminKeyFile, Action<ILoggingBuilder> configure)
    {
        if (Problem(options, count, adminKeyFile) is { } problem)
            return Fail(problem);
        var nodes = int.Parse(count, CultureInfo.InvariantCulture);
        Directory.CreateDirectory(options.StateDirectory);
        using var stateLock = await StateLock.TakeAsync(options.StateDirectory, TimeSpan.FromSeconds(5));
        if (stateLock is null)
            return Fail("another fleet or worker uses this state directory");
        using var logging = LoggerFactory.Create(builder =>
        {
            configure(builder);
            // What a worker says of itself, a fleet would say a thousand times.
            builder.AddFilter("Worker", LogLevel.Warning).AddFilter("Worker.Fleet", LogLevel.Information);
        });
        using var stop = new CancellationTokenSource();
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, signal => { signal.Cancel = true; stop.Cancel(); });
        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, signal => { signal.Cancel = true; stop.Cancel(); });
        var log = logging.CreateLogger("Worker.Fleet");
        await using var pool = new SimulationPool(Math.Max(1, Environment.ProcessorCount / 2), TimeProvider.System, log);
        var around = new FleetSurroundings(options, pool, new ImageScan(new ImageCatalogue(options.ImagesDirectory), TimeProvider.System), TimeProvider.System, logging);
        var running = new ConcurrentBag<FleetNode>();
        var refusal = await StartAsync(nodes, around, adminKeyFile, running, log, stop.Token);
        if (refusal is null)
        {
            log.LogInformation("{Count} simulated nodes run", running.Count);
            await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, stop.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
        await Parallel.ForEachAsync(running, new ParallelOptions { MaxDegreeOfParallelism = 4 * AtOnce }, async (node, _) => await node.ShutDownAsync(ShutDownLimit));
        await Parallel.ForEachAsync(running, new ParallelOptions { MaxDegreeOfParallelism = 4 * AtOnce }, (node, _) => node.DisposeAsync());
        return refusal is null or "" ? 0 : Fail(refusal);
    }

    /// <summary>Null when all run; why one cannot; empty when it was told to end.</summary>
    private static async Task<string?> StartAsync(int nodes, FleetSurroundings around, string adminKeyFile, ConcurrentBag<FleetNode> running, ILogger log, CancellationToken stop)
    {
        using var joining = new FleetJoining(around.Options, adminKeyFile, around.Time, log);
        using var end = CancellationTokenSource.CreateLinkedTokenSource(stop);
        await using var telling = around.Time.CreateTimer(_ => log.LogInformation("{Count} of {All} simulated nodes run", running.Count, nodes), null, TellPeriod, TellPeriod);
        string? refused = null;
        try
        {
            await Parallel.ForEachAsync(Enumerable.Range(1, nodes).Select(FleetNode.NameOf), new ParallelOptions { MaxDegreeOfParallelism = AtOnce, CancellationToken = end.Token }, async (name, ct) =>
            {
                if (await joining.JoinAsync(name, ct) is { } refusal)
                {
                    refused = $"{name} cannot join: {refusal}";
                    await end.CancelAsync();
                    return;
                }
                var node = new FleetNode(name, around);
                running.Add(node);
                await node.StartAsync();
            });
        }
        catch (OperationCanceledException) when (end.IsCancellationRequested)
        {
            refused ??= "";
        }
        return refused;
    }

    internal static string? Problem(WorkerOptions options, string count, string adminKeyFile)
    {
        if (!int.TryParse(count, NumberStyles.None, CultureInfo.InvariantCulture, out var nodes) || nodes is < 1 or > MaxNodes)
            return $"--nodes takes 1 to {MaxNodes}";
        if (!Path.IsPathFullyQualified(adminKeyFile) || !File.Exists(adminKeyFile))
            return "--admin-key-file must be the absolute path of a file that is there";
        if (!Uri.TryCreate(options.ApiUrl, UriKind.Absolute, out var uri) || uri.Scheme is not ("http" or "https"))
            return "Worker__ApiUrl must be an http or https address";
        return Path.IsPathFullyQualified(options.StateDirectory) && Path.IsPathFullyQualified(options.ImagesDirectory) ? null : "Worker__StateDirectory and Worker__ImagesDirectory must be absolute paths";
    }

    private static int Fail(string problem)
    {
        System.Console.Error.WriteLine($"fleet: {problem}");
        return 2;
    }
}
