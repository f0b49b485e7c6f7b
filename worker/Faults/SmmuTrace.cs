using System.Runtime.InteropServices;
using System.Text.Json;
using Microsoft.Extensions.Logging;

namespace Worker.Faults;

/// <summary>A trace event of QEMU. The names differ between versions; those that one lacks are passed over.</summary>
public sealed record TraceEvent(string Name, bool Tlb);

// Counts SMMU events from QEMU's trace log. Guarantees: counts never go back and no line is counted twice, over worker restarts too,
// because how far the log was read is kept beside the counts; the log's disk use is bounded, because what was read is given back;
// a guest that floods the log makes the counts a lower bound and not the node slow, because tracing pauses.
// Assumes: the log belongs to the VM's user, so it is opened without following links and only counted.
public sealed class SmmuTrace : IAsyncDisposable
{
    public static readonly IReadOnlyList<TraceEvent> Events =
    [
        new("smmuv3_record_event", false), new("smmuv3_propagate_event", false),
        new("smmu_iotlb_lookup_hit", true), new("smmu_iotlb_lookup_miss", true),
    ];

    private const int MaxBytesPerRead = 1 << 20;
    private const int ChunkBytes = 64 * 1024;
    private static readonly TimeSpan Period = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan FloodPause = TimeSpan.FromSeconds(10);
    private readonly string _logPath, _statePath;
    private readonly Func<string, bool, CancellationToken, Task> _switchEvent;
    private readonly bool _withTlb;
    private readonly TimeProvider _time;
    private readonly ILogger _log;
    private readonly CancellationTokenSource _end = new();
    private readonly Task _running;
    private volatile SmmuCounts _counts;
    private long? _pausedAt;
    private volatile bool _on;

    public SmmuTrace(
        string logPath, string statePath, bool withTlb, Func<string, bool, CancellationToken, Task> switchEvent, TimeProvider time, ILogger log)
    {
        (_logPath, _statePath, _withTlb, _switchEvent, _time, _log) = (logPath, statePath, withTlb, switchEvent, time, log);
        _counts = Load(statePath);
        _running = Task.Run(RunAsync);
    }

    public SmmuCounts Counts => _counts;
    /// <summary>Events are being traced, or were and are paused by a flood.</summary>
    public bool On => _on;
    public bool WithTlb => _withTlb;

    /// <summary>Switches the events on; called at each connection to the VMM.</summary>
    public async Task SwitchOnAsync(CancellationToken ct)
    {
        _on = await SwitchAsync(true, ct);
    }

    public async ValueTask DisposeAsync()
    {
        await _end.CancelAsync();
        await _running;
        _end.Dispose();
    }

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
        try
        {
            var flooded = ReadNew();
            if (flooded && _pausedAt is null)
            {
                _pausedAt = _time.GetTimestamp();
                _log.LogWarning("{Log}: the guest floods the SMMU's events; tracing pauses", _logPath);
                await SwitchAsync(false, ct);
            }
            else if (_pausedAt is { } since && !flooded && _time.GetElapsedTime(since) > FloodPause)
            {
                await SwitchAsync(true, ct);
                _pausedAt = null;
            }
        }
        catch (Exception problem) when (problem is IOException or InvalidOperationException)
        {
            // The VMM is ending or is between two connections; the next period tries again.
            _log.LogDebug("{Log}: {Problem}", _logPath, problem.Message);
        }
    }

    /// <summary>False when the VMM knows none of the events that tell of faults.</summary>
    private async Task<bool> SwitchAsync(bool on, CancellationToken ct)
    {
        var known = false;
        foreach (var traced in Events.Where(e => !e.Tlb || _withTlb))
        {
            try
            {
                await _switchEvent(traced.Name, on, ct);
                known |= !traced.Tlb;
            }
            catch (Vms.Qemu.QmpException)
            {
                // This version names the event otherwise.
            }
        }
        return known;
    }

    /// <summary>True when the log grows faster than it may.</summary>
    private bool ReadNew()
    {
        using var file = LibC.OpenWithoutFollowing(_logPath, write: true);
        if (file is null)
            return false;
        var before = _counts;
        var counts = before;
        var length = RandomAccess.GetLength(file);
        var flooded = length - counts.Offset > MaxBytesPerRead;
        var end = Math.Min(length, counts.Offset + MaxBytesPerRead);
        var buffer = new byte[(int)Math.Min(ChunkBytes, Math.Max(0, end - counts.Offset))];
        while (counts.Offset < end)
        {
            var read = RandomAccess.Read(file, buffer, counts.Offset);
            var next = counts.Add(buffer.AsSpan(0, read));
            // A line longer than the buffer is none of QEMU's: it is passed over.
            if (next.Offset == counts.Offset)
            {
                if (read < ChunkBytes)
                    break;
                next = counts with { Offset = counts.Offset + read, LowerBound = true };
            }
            counts = next;
        }
        if (flooded)
            counts = counts with { Offset = length, LowerBound = true };
        if (counts == before)
            return flooded;
        Store(counts);
        _counts = counts;
        LibC.FreeRange(file, counts.Offset);
        return flooded;
    }

    private void Store(SmmuCounts counts)
    {
        File.WriteAllBytes(_statePath + ".new", JsonSerializer.SerializeToUtf8Bytes(counts, SmmuCountsJson.Default.SmmuCounts));
        File.Move(_statePath + ".new", _statePath, overwrite: true);
    }

    private static SmmuCounts Load(string path)
    {
        try
        {
            return File.Exists(path) ? JsonSerializer.Deserialize(File.ReadAllBytes(path), SmmuCountsJson.Default.SmmuCounts) ?? SmmuCounts.Zero : SmmuCounts.Zero;
        }
        catch (JsonException)
        {
            return SmmuCounts.Zero with { LowerBound = true };
        }
    }
}
