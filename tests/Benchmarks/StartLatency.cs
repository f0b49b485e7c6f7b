using Contracts;
using Testing;

namespace Benchmarks;

/// <summary>How long after a POST the VMM is executed: stored, placed, planned, sent, prepared. The worker says when it was executed;
/// it runs on this machine, so both times are of one clock.</summary>
internal static class StartLatency
{
    private const int WarmUps = 3, Runs = 30;
    private const double AimMilliseconds = 100;

    public static async Task RunAsync(Report report)
    {
        await using var service = new RunningService { Database = new PostgresServer { Durable = true } };
        await service.InitializeAsync();
        var plain = new List<double>();
        var edu = new List<double>();
        for (var run = 0; run < WarmUps + Runs; run++)
        {
            var withDevice = run % 2 == 1;
            var took = await OnceAsync(service, $"start{run}", withDevice ? ["edu"] : []);
            if (run >= WarmUps)
                (withDevice ? edu : plain).Add(took);
        }
        report.Note($"{Runs} sandboxes one after the other, POST to the VMM's exec; a database that waits for its disk.");
        report.Add("no device, median", Report.Median(plain), "ms", "aim", AimMilliseconds, "at most 1.00");
        report.Add("one edu, median", Report.Median(edu), "ms", "aim", AimMilliseconds, "at most 1.00");
        report.Add("slowest of all", plain.Concat(edu).Max(), "ms", "median of all", Report.Median(plain.Concat(edu)));
    }

    private static async Task<double> OnceAsync(RunningService service, string name, string[] classes)
    {
        var before = TimeProvider.System.GetUtcNow();
        var id = (await service.CreateAsync(name, classes)).Id;
        var started = await service.UntilAsync(id, v => v.ExecAt is not null || v.Phase == Phase.Failed, "its VMM is executed");
        await service.DeleteAsync(id);
        return started.ExecAt is { } exec ? (exec - before).TotalMilliseconds : throw new InvalidOperationException($"{name} failed: {started.Failure}");
    }
}
