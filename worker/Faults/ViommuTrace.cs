using Contracts;
using Microsoft.Extensions.Logging;
using Worker.Channels;
using Worker.Vms.Qemu;

namespace Worker.Faults;

/// <summary>What a trace tells at one moment; a reason, where there is one, says why that count cannot be shown.</summary>
internal sealed record ViommuReading(ViommuCounts Counts, string? EventsReason, string? HitsReason, string? MissesReason);

// Switches the trace events of the IOMMU that QEMU gives a guest on, and counts what it logs. Guarantees: counts never go back and no line is counted twice, over worker
// restarts too (ViommuLog); a guest that floods the log makes the counts a lower bound and not the node slow, because tracing pauses;
// a log that cannot be given back to the disk ends the tracing when it is too large.
// On a crash: tracing goes on in the VMM, and the next worker counts what was logged meanwhile.
public sealed class ViommuTrace : IAsyncDisposable
{
    /// <summary>One event under the names that QEMU's versions give it, the newest first: where one is known the others are left off, or it would be logged twice.</summary>
    private static readonly string[] SmmuFaults = ["smmuv3_propagate_event", "smmuv3_record_event"], VirtioFaults = ["virtio_iommu_report_fault"], Hits = ["smmu_iotlb_lookup_hit"], Misses = ["smmu_iotlb_lookup_miss"];
    internal const long FloodBytesPerSecond = 4 << 20;
    internal const long MaxKeptBytes = 256L << 20;
    private static readonly TimeSpan Period = TimeSpan.FromSeconds(1);
    internal static readonly TimeSpan FloodPause = TimeSpan.FromSeconds(10);
    private readonly ViommuLog _file;
    private readonly Func<string, bool, CancellationToken, Task> _switchEvent;
    private readonly string[] _faults;
    private readonly bool _hasTlb, _withTlb;
    private readonly TimeProvider _time;
    private readonly RareWarning _trouble;
    private readonly SemaphoreSlim _switching = new(1, 1);
    private readonly CancellationTokenSource _end = new();
    private readonly Task _running;
    private volatile ViommuReading _reading;
    private long? _pausedAt;
    private long _readAt;
    private int _disposed;

    /// <param name="logPath">QEMU's log (-D).</param>
    /// <param name="statePath">A file of the worker's own; the caller removes it when a new VMM begins a new log.</param>
    /// <param name="viommu">What the guest has.</param>
    /// <param name="withTlb">Whether every lookup of an SMMU's TLB is traced as well; virtio-iommu has none.</param>
    /// <param name="switchEvent">Switches one event by QMP; a QmpException means that the VMM does not know it.</param>
    /// <param name="time">For the period and for pauses.</param>
    /// <param name="log">For what goes wrong.</param>
    public ViommuTrace(
        string logPath, string statePath, Viommu viommu, bool withTlb, Func<string, bool, CancellationToken, Task> switchEvent, TimeProvider time, ILogger log)
    {
        _hasTlb = viommu == Viommu.Smmuv3;
        (_faults, _withTlb) = (_hasTlb ? SmmuFaults : VirtioFaults, _hasTlb && withTlb);
        (_switchEvent, _time) = (switchEvent, time);
        _trouble = new RareWarning(time, log, logPath);
        _file = new ViommuLog(logPath, statePath);
        var tlbReason = _withTlb ? NullReasons.TraceOff : NullReasons.TraceCostTooHigh;
        _reading = new ViommuReading(_file.Counts, NullReasons.TraceOff, tlbReason, tlbReason);
        _readAt = time.GetTimestamp();
        _running = Task.Run(RunAsync);
    }

    internal ViommuReading Reading => _reading;

    /// <summary>Switches the events on; called at each connection to the VMM. An IOException when the connection ends meanwhile.</summary>
    public async Task SwitchOnAsync(CancellationToken ct)
    {
        await _switching.WaitAsync(ct);
        try
        {
            if (_reading.EventsReason == NullReasons.TraceLogFull)
                return;
            var faults = await SwitchAsync(_faults, true, ct);
            // An earlier worker may have had them on; while they are off, lookups go by that nobody counts.
            if (!_withTlb)
                _file.MarkLost(false, true);
            var hits = _hasTlb && await SwitchAsync(Hits, _withTlb, ct);
            var misses = _hasTlb && await SwitchAsync(Misses, _withTlb, ct);
            _pausedAt = null;
            _reading = new ViommuReading(_file.Counts, Reason(faults), _withTlb ? Reason(hits) : NullReasons.TraceCostTooHigh, _withTlb ? Reason(misses) : NullReasons.TraceCostTooHigh);
        }
        finally
        {
            _switching.Release();
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        await _end.CancelAsync();
        await _running;
        _switching.Dispose();
        _end.Dispose();
    }

    private static string? Reason(bool known) => known ? null : NullReasons.TraceEventMissing;

    private async Task RunAsync()
    {
        using var timer = new PeriodicTimer(Period, _time);
        try
        {
            while (await timer.WaitForNextTickAsync(_end.Token))
                await UpdateAsync(_end.Token);
        }
        catch (OperationCanceledException)
        {
        }
    }

    private async Task UpdateAsync(CancellationToken ct)
    {
        await _switching.WaitAsync(ct);
        try
        {
            var elapsed = Math.Max(1, _time.GetElapsedTime(_readAt).TotalSeconds);
            var refused = _file.Counts.Refused;
            var state = _file.Read();
            if (_file.Counts.Refused - refused is > 0 and var more)
            {
                RefusedInput.Add(UntrustedPeer.Trace, more);
                _trouble.Add($"{more} lines are no event, though they begin like one: what is counted is a lower bound from here on");
            }
            _readAt = _time.GetTimestamp();
            _reading = _reading with { Counts = _file.Counts };
            if (state is { Refused: true, LengthBytes: > MaxKeptBytes })
                await EndAsync(ct);
            else if (_pausedAt is null && state is not null && state.Growth / elapsed > FloodBytesPerSecond)
                await PauseAsync(ct);
            else if (_pausedAt is { } since && _time.GetElapsedTime(since) >= FloodPause)
                await ResumeAsync(ct);
        }
        // The log may be anything that the VM's user put there, and the VMM may be ending: the next period tries again.
        catch (Exception problem) when (problem is not OperationCanceledException || !ct.IsCancellationRequested)
        {
            _trouble.Add($"the IOMMU's events could not be counted: {problem.Message}");
        }
        finally
        {
            _switching.Release();
        }
    }

    private async Task PauseAsync(CancellationToken ct)
    {
        _trouble.Add("the guest floods the IOMMU's events; tracing pauses");
        _file.MarkLost(true, true);
        _reading = _reading with { Counts = _file.Counts };
        await SwitchAllAsync(false, ct);
        _pausedAt = _time.GetTimestamp();
    }

    private async Task ResumeAsync(CancellationToken ct)
    {
        await SwitchAllAsync(true, ct);
        _pausedAt = null;
    }

    private async Task EndAsync(CancellationToken ct)
    {
        _file.MarkLost(true, true);
        _reading = new ViommuReading(_file.Counts, NullReasons.TraceLogFull, NullReasons.TraceLogFull, NullReasons.TraceLogFull);
        await SwitchAllAsync(false, ct);
    }

    private async Task SwitchAllAsync(bool on, CancellationToken ct)
    {
        await SwitchAsync(_faults, on, ct);
        if (!_withTlb)
            return;
        await SwitchAsync(Hits, on, ct);
        await SwitchAsync(Misses, on, ct);
    }

    /// <summary>False when the VMM knows none of the names.</summary>
    private async Task<bool> SwitchAsync(string[] names, bool on, CancellationToken ct)
    {
        foreach (var name in names)
        {
            try
            {
                await _switchEvent(name, on, ct);
                return true;
            }
            catch (QmpException)
            {
                // This version names the event otherwise, or has none.
            }
        }
        return false;
    }
}
