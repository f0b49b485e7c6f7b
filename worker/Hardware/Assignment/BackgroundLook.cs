using Contracts;
using Microsoft.Extensions.Logging;

namespace Worker.Hardware.Assignment;

// Looks at the host on a thread of its own: a reading of sysfs blocks for as long as the kernel holds the device for an unbinding or a reset, for good
// where that hangs, and reports must go on.
// Guarantees: never two looks at once; nobody waits beyond a limit, and a report not once more for a look that is known to hang. Such a look leaves what was
// seen before it, and is told once. On a crash: nothing is kept.
internal sealed class BackgroundLook(TimeProvider time, ILogger log)
{
    private readonly Lock _lock = new();
    private Task _running = Task.CompletedTask;
    private bool _looks;
    private long? _lookedAt;
    private Failure? _problem;

    /// <summary>Null while looks come back.</summary>
    public Failure? Problem
    {
        get
        {
            lock (_lock)
                return _problem;
        }
    }

    /// <summary>Looks when the last look is older than that. What was seen may be older afterwards: when the look does not come back within the limit.</summary>
    public void IfOlderThan(TimeSpan age, TimeSpan limit, Action look)
    {
        Task running;
        lock (_lock)
        {
            if (_lookedAt is { } at && time.GetElapsedTime(at) < age)
                return;
            running = Begin(look);
            if (_problem is not null)
                return;
        }
        if (Task.WhenAny(running).Wait(limit))
            running.GetAwaiter().GetResult();
        else
            Hangs(running);
    }

    /// <summary>Looks once more, begun after this call; false when that did not come back within the limit.</summary>
    public async Task<bool> AnewAsync(TimeSpan limit, Action look, CancellationToken ct)
    {
        Task waitedFor;
        lock (_lock)
            waitedFor = _running;
        try
        {
            await Task.WhenAny(waitedFor).WaitAsync(limit, ct);
            lock (_lock)
                waitedFor = Begin(look);
            await waitedFor.WaitAsync(limit, ct);
            return true;
        }
        catch (TimeoutException)
        {
            Hangs(waitedFor);
            return false;
        }
    }

    private Task Begin(Action look)
    {
        if (!_running.IsCompleted)
            return _running;
        var now = time.GetTimestamp();
        _looks = true;
        return _running = Task.Factory.StartNew(() => Look(look, now), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
    }

    private void Look(Action look, long began)
    {
        var came = false;
        try
        {
            look();
            came = true;
        }
        finally
        {
            lock (_lock)
            {
                _looks = false;
                _lookedAt = came ? began : _lookedAt;
                if (_problem is not null)
                    log.LogInformation("Reading the host's PCI functions came back");
                _problem = null;
            }
        }
    }

    private void Hangs(Task running)
    {
        lock (_lock)
        {
            if (!_looks || running != _running || _problem is not null)
                return;
            _problem = AssignmentReasons.ScanHangs.ToFailure(time.GetUtcNow());
            log.LogError("{Reason}: {Message} {Remedy}", _problem.Reason, _problem.Message, _problem.Remedy);
        }
    }
}
