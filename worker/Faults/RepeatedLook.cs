namespace Worker.Faults;

// What takes time to observe, looked at again and again beside the sampler. Guarantees: never two looks at once; what the last one saw is told as long as it is fresh,
// and nothing after that, however long a look takes: one that hangs for good ends nothing but itself, and leaves one thread behind at the VM's end.
// Assumes: a look tells what it expects to go wrong as a value. On a crash: nothing is kept.
internal sealed class RepeatedLook<T>(TimeProvider time, Func<CancellationToken, Task<T>> look) where T : class
{
    public static readonly TimeSpan Period = TimeSpan.FromSeconds(1), StaleAfter = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan EndLimit = TimeSpan.FromSeconds(1);
    private volatile Seen? _last;

    private sealed record Seen(T Value, long At);

    /// <summary>Looks on a thread of its own: the kernel may answer late, or never. At the end a look that still runs is given a moment, for it may be writing.</summary>
    public static RepeatedLook<T> Blocking(TimeProvider time, Func<T> look) => new(time, async ct =>
    {
        var running = Task.Factory.StartNew(look, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        try
        {
            return await running.WaitAsync(ct);
        }
        catch (OperationCanceledException) when (ct.IsCancellationRequested)
        {
            await Task.WhenAny(running, Task.Delay(EndLimit, time, CancellationToken.None));
            throw;
        }
    });

    /// <summary>Null when nothing was seen yet, or only too long ago.</summary>
    public T? Latest => _last is { } last && time.GetElapsedTime(last.At) <= StaleAfter ? last.Value : null;

    public async Task RunAsync(CancellationToken ct)
    {
        while (true)
        {
            var began = time.GetTimestamp();
            _last = new Seen(await look(ct), began);
            await Task.Delay(Period, time, ct);
        }
    }
}
