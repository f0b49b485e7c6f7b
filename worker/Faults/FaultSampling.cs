using Contracts;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Worker.Vms;

namespace Worker.Faults;

// Reads every VM's sources once a second, whoever wants the samples: the API, Prometheus or nobody.
// Guarantees: one reader of each VM's collectors. A round that fails is logged and the next one is made; the samples of the last one are kept as long as they are fresh.
public sealed class FaultSampling(VmManager vms, TimeProvider time, ILogger<FaultSampling> log) : BackgroundService
{
    public static readonly TimeSpan Period = TimeSpan.FromSeconds(1), Fresh = TimeSpan.FromSeconds(5);
    private sealed record Round(IReadOnlyList<FaultSample> Samples, long At, long Number);
    private volatile Round? _last;

    /// <summary>The samples of the last round and its number; none when it is not fresh.</summary>
    public (IReadOnlyList<FaultSample> Samples, long Number) Last =>
        _last is { } last && time.GetElapsedTime(last.At) < Fresh ? (last.Samples, last.Number) : ([], 0);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(Period, time);
        try
        {
            for (var number = 1L; await timer.WaitForNextTickAsync(stoppingToken); number++)
                TakeRound(number);
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
        }
    }

    private void TakeRound(long number)
    {
        try
        {
            _last = new Round(vms.Sample(time.GetUtcNow()), time.GetTimestamp(), number);
        }
        catch (Exception problem)
        {
            log.LogError(problem, "Round {Number} of the fault samples failed", number);
        }
    }
}
