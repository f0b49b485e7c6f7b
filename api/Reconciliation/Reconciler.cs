using System.Threading.Channels;

namespace Api.Reconciliation;

/// <summary>The loop of every reconciler: once at start, then on each Wake() and each period.
/// Guarantees: passes never overlap; a failing pass is logged and tried again; a wake during a pass causes one more pass.
/// Assumes: a pass takes no input, reads the database and is idempotent. On a crash nothing is lost, the next start runs a pass.</summary>
public abstract class Reconciler(TimeProvider time, TimeSpan period, ILogger log) : BackgroundService
{
    private long? failedAt;
    private readonly Channel<bool> wakes = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });

    /// <summary>When the last pass that ended well began: it has seen what was there then. Null before the first.</summary>
    public DateTimeOffset? LastPassAt { get; private set; }

    /// <summary>Whether a pass has failed so recently. While the database is away nobody can tell it anything: who judges others by what they have told lets them speak first.</summary>
    protected bool HasFailedWithin(TimeSpan recently) => failedAt is { } at && time.GetElapsedTime(at) < recently;

    public void Wake() => wakes.Writer.TryWrite(true);

    protected abstract Task PassAsync(CancellationToken ct);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        while (!stoppingToken.IsCancellationRequested)
        {
            try
            {
                var began = time.GetUtcNow();
                await PassAsync(stoppingToken);
                LastPassAt = began;
                await WaitAsync(period, stoppingToken);
            }
            catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
            {
                return;
            }
            catch (Exception e)
            {
                failedAt = time.GetTimestamp();
                log.LogError(e, "A pass of {Reconciler} failed; it runs again in a second", GetType().Name);
                await WaitAsync(TimeSpan.FromSeconds(1), stoppingToken);
            }
        }
    }

    private async Task WaitAsync(TimeSpan most, CancellationToken ct)
    {
        using var timeout = new CancellationTokenSource(most, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, ct);
        try
        {
            await wakes.Reader.ReadAsync(either.Token);
        }
        catch (OperationCanceledException)
        {
            // The period is over, or the host stops: the caller's loop tells which.
        }
    }
}
