using Contracts;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Worker.Vms;

namespace Worker.Faults;

// Reads every VM's sources once a second, whoever wants the samples: the API, Prometheus or nobody.
// Guarantees: one reader of each VM's collectors. A round that fails is logged and the next one is made; the samples of the last one are kept as long as they are fresh.
public sealed class FaultSampling(VmManager vms, TimeProvider time, ILogger<FaultSampling> log) : BackgroundService
{
    private static readonly TimeSpan Period = TimeSpan.FromSeconds(1), Fresh = TimeSpan.FromSeconds(5);
    private volatile Round _last = new([], null);
    private TaskCompletionSource<FaultSample[]> _next = NewRound();

    /// <summary><c>Latest</c>: with the last sample of a VM that told nothing new in this round, while it is fresh. Times are the monotonic clock's: the other may be set.</summary>
    private sealed record Round((FaultSample Sample, long At)[] Latest, long? At);

    /// <summary>The last sample of each VM; none when no round is fresh.</summary>
    public IReadOnlyList<FaultSample> Latest => _last is { At: { } at } last && time.GetElapsedTime(at) < Fresh ? [.. last.Latest.Select(latest => latest.Sample)] : [];

    /// <summary>Those samples, each with its sandbox's storm as it is told.</summary>
    public IReadOnlyList<(FaultSample Sample, StormPolicy? Policy, Condition? Condition)> LatestStorms
    {
        get
        {
            if (Latest is not [_, ..] latest)
                return [];
            var told = vms.Snapshot().Views.ToDictionary(view => view.Sandbox.Id, view => view.Sandbox);
            return [.. latest.Where(sample => told.ContainsKey(sample.SandboxId)).Select(sample => (sample, told[sample.SandboxId].StormJudgedBy, told[sample.SandboxId].Conditions.FirstOrDefault(c => c.Type == ConditionType.FaultStorm)))];
        }
    }

    /// <summary>The samples of the next round. Who is not waiting when it ends misses it.</summary>
    public Task<FaultSample[]> NextAsync(CancellationToken ct) => Volatile.Read(ref _next).Task.WaitAsync(ct);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(Period, time);
        try
        {
            while (await timer.WaitForNextTickAsync(stoppingToken))
                TakeRound();
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
        }
    }

    private void TakeRound()
    {
        try
        {
            var at = time.GetTimestamp();
            FaultSample[] samples = [.. vms.Sample(time.GetUtcNow())];
            var told = samples.Select(sample => sample.SandboxId).ToHashSet();
            _last = new Round([.. samples.Select(sample => (sample, at)), .. _last.Latest.Where(earlier => !told.Contains(earlier.Sample.SandboxId) && time.GetElapsedTime(earlier.At) < Fresh)], time.GetTimestamp());
            Interlocked.Exchange(ref _next, NewRound()).SetResult(samples);
        }
        catch (Exception problem)
        {
            log.LogError(problem, "A round of the fault samples failed");
        }
    }

    private static TaskCompletionSource<FaultSample[]> NewRound() => new(TaskCreationOptions.RunContinuationsAsynchronously);
}
