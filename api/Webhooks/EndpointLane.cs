using Contracts;
using Polly;
using Polly.CircuitBreaker;
using Polly.Timeout;

namespace Api.Webhooks;

/// <summary>A claimed delivery with what its attempt needs. <c>Body</c> null: its event is not kept any more; <c>Keys</c> null: the endpoint's secret cannot be read.</summary>
public sealed record DeliveryJob(WebhookDelivery Delivery, Uri Url, IReadOnlyList<byte[]>? Keys, byte[]? Body);

/// <summary>The attempts of one endpoint on this replica.
/// Guarantees: at most <see cref="MostAtOnce"/> run at once, fewer while the endpoint is overloaded; each ends within <see cref="AttemptTimeout"/>; while its breaker is open nothing is attempted and what was claimed is given back.
/// Assumes: a job whose lease is about to end is left alone; it becomes due by itself.</summary>
public sealed class EndpointLane
{
    public const int MostAtOnce = 8, MostHeld = 64;
    public static readonly TimeSpan AttemptTimeout = TimeSpan.FromSeconds(15), SlowAfter = TimeSpan.FromSeconds(1), MaxBreak = TimeSpan.FromMinutes(5);
    private static readonly TimeSpan FirstBreak = TimeSpan.FromSeconds(15), Margin = TimeSpan.FromSeconds(5), Remembered = TimeSpan.FromMinutes(10);
    private readonly Lock gate = new();
    private readonly Guid endpoint;
    private readonly WebhookClient client;
    private readonly TimeProvider time;
    private readonly Action<DeliveryRecord> record;
    private readonly CancellationToken stopping;
    private readonly ResiliencePipeline<Attempt> pipeline;
    private readonly CircuitBreakerStateProvider breaker = new();
    private readonly Queue<DeliveryJob> waiting = new();
    private readonly List<long> startedAt = [];
    private readonly Dictionary<DeliveryJob, Task> running = new(ReferenceEqualityComparer.Instance);
    private DateTimeOffset openUntil;
    private double window = MostAtOnce;
    private long usedAt;
    private bool lastWasSlow, proven, closed;

    public EndpointLane(Guid endpoint, WebhookClient client, TimeProvider time, Action<DeliveryRecord> record, CancellationToken stopping)
    {
        (this.endpoint, this.client, this.time, this.record, this.stopping) = (endpoint, client, time, record, stopping);
        pipeline = new ResiliencePipelineBuilder<Attempt> { TimeProvider = time }
            .AddCircuitBreaker(new CircuitBreakerStrategyOptions<Attempt>
            {
                FailureRatio = 0.9,
                MinimumThroughput = 5,
                SamplingDuration = TimeSpan.FromSeconds(60),
                BreakDurationGenerator = static a => ValueTask.FromResult(BreakAfter(a.HalfOpenAttempts)),
                ShouldHandle = static a => ValueTask.FromResult(a.Outcome is { Exception: TimeoutRejectedException } or { Result.Status: >= 500 } or { Result: { Status: null, Reason: not null } }),
                StateProvider = breaker,
                OnOpened = a =>
                {
                    lock (gate) openUntil = time.GetUtcNow() + a.BreakDuration;
                    return default;
                },
            })
            .AddTimeout(new TimeoutStrategyOptions { Timeout = AttemptTimeout })
            .Build();
    }

    /// <summary>Nothing has gone through it for so long that nothing has to be remembered of it.</summary>
    public bool IsForgotten { get { lock (gate) return waiting.Count + running.Count == 0 && time.GetElapsedTime(usedAt) > Remembered; } }

    /// <summary>How it stands for the next claim. One that has become slow gives back what has not begun: its places are few now.</summary>
    public SendingRooms.Lane Describe()
    {
        List<DeliveryJob> back = [];
        SendingRooms.Lane lane;
        lock (gate)
        {
            var slow = lastWasSlow || startedAt.Any(at => time.GetElapsedTime(at) > SlowAfter);
            var isOpen = openUntil > time.GetUtcNow();
            while ((slow || isOpen) && waiting.TryDequeue(out var job)) back.Add(job);
            var most = closed || isOpen ? 0 : breaker.CircuitState != CircuitState.Closed ? 1 : proven && !slow && window >= MostAtOnce ? MostHeld : Math.Max(1, (int)window);
            lane = new(endpoint, slow, waiting.Count + running.Count, most);
        }
        back.ForEach(job => GiveBack(job, OpenFor()));
        return lane;
    }

    public void Take(DeliveryJob job)
    {
        lock (gate)
        {
            waiting.Enqueue(job);
            usedAt = time.GetTimestamp();
        }
        Pump();
    }

    /// <summary>Gives back what has not begun and waits for the rest, at most until the token says so; then that is cut off, and becomes due again when its lease ends.</summary>
    public async Task CloseAsync(CancellationToken patience)
    {
        List<DeliveryJob> left;
        Task rest;
        lock (gate)
        {
            closed = true;
            left = [.. waiting];
            waiting.Clear();
            rest = Task.WhenAll(running.Values);
        }
        left.ForEach(job => GiveBack(job, TimeSpan.Zero));
        await rest.WaitAsync(patience).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    private void Pump()
    {
        lock (gate)
        {
            while (running.Count < Math.Max(1, (int)window) && waiting.TryDequeue(out var job))
                if (job.Delivery.DueAt - time.GetUtcNow() > AttemptTimeout + Margin) running[job] = Task.Run(() => RunAsync(job), CancellationToken.None);
        }
    }

    private async Task RunAsync(DeliveryJob job)
    {
        var began = time.GetTimestamp();
        lock (gate) startedAt.Add(began);
        try
        {
            if (await AttemptAsync(job) is { } attempt) Record(job, attempt, began);
        }
        catch (BrokenCircuitException)
        {
            GiveBack(job, OpenFor() is { Ticks: > 0 } left ? left : TimeSpan.FromSeconds(1));
        }
        catch (OperationCanceledException) when (stopping.IsCancellationRequested)
        {
            // Its lease ends by itself.
        }
        finally
        {
            lock (gate)
            {
                startedAt.Remove(began);
                running.Remove(job);
            }
            Pump();
        }
    }

    private async Task<Attempt?> AttemptAsync(DeliveryJob job)
    {
        if (job.Body is null) return new Attempt(null, WebhookReasons.EventExpired, null, null);
        if (job.Keys is null) return new Attempt(null, WebhookReasons.SecretUnreadable, null, null);
        try
        {
            return await pipeline.ExecuteAsync(
                static async (state, ct) => await state.client.PostAsync(state.job.Url, WebhookDelivery.WebhookId(state.job.Delivery.EndpointId, state.job.Delivery.Number), state.job.Keys!, state.job.Body!, ct),
                (client, job), stopping);
        }
        catch (TimeoutRejectedException)
        {
            return new Attempt(null, WebhookReasons.Timeout, null, null);
        }
    }

    private void Record(DeliveryJob job, Attempt attempt, long began)
    {
        var took = time.GetElapsedTime(began);
        var next = DeliveryJudgement.Of(attempt, job.Delivery.Attempts + 1, Random.Shared.NextDouble());
        lock (gate)
        {
            (lastWasSlow, proven) = (took > SlowAfter, attempt.Succeeded);
            // Half as many after an overload, one more for each window that went well.
            window = next.Slow ? Math.Max(1, window / 2) : attempt.Succeeded ? Math.Min(MostAtOnce, window + (1 / window)) : window;
        }
        record(new DeliveryRecord(job.Delivery, attempt, next.State, next.After, next.Pause, next.Disable, time.GetUtcNow(), (int)took.TotalMilliseconds));
    }

    private TimeSpan OpenFor()
    {
        lock (gate) return openUntil - time.GetUtcNow() is { Ticks: > 0 } left ? left : TimeSpan.Zero;
    }

    /// <summary>Twice as long each time that it was tried in between.</summary>
    public static TimeSpan BreakAfter(int halfOpenAttempts) => FirstBreak * Math.Pow(2, Math.Min(halfOpenAttempts, 10)) is var longer && longer < MaxBreak ? longer : MaxBreak;

    private void GiveBack(DeliveryJob job, TimeSpan after) => record(new DeliveryRecord(job.Delivery, null, DeliveryState.Pending, after, null, null, time.GetUtcNow(), 0));
}
