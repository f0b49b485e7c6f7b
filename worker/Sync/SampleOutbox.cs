using Contracts;
using Microsoft.Extensions.Logging;
using Worker.Channels;

namespace Worker.Sync;

// Batches of samples that the API has not taken in yet, the oldest first. Guarantees: one leaves when it was taken in, or when there are too many, and that is told in
// the log and counted; so a call that takes long and an API that is away for a minute or two lose nothing. On a crash of the worker what waits is lost.
public sealed class SampleOutbox(TimeProvider time, ILogger<SampleOutbox> log)
{
    // Two minutes of some five hundred guests.
    public const int MaxBatches = 120, MaxBytes = 64 << 20;
    private readonly Lock _lock = new();
    private readonly Queue<byte[]> _batches = new();
    private readonly RareWarning _lost = new(time, log, "The API");
    private TaskCompletionSource _arrived = New();
    private int _bytes;
    private long _samplesLost;
    private byte[]? _handedOut, _leftUnderWay;

    /// <summary>Samples of batches that left for newer ones.</summary>
    public long SamplesLost => Interlocked.Read(ref _samplesLost);

    public void Add(byte[] batch)
    {
        TaskCompletionSource arrived;
        lock (_lock)
        {
            _batches.Enqueue(batch);
            _bytes += batch.Length;
            while (_batches.Count > MaxBatches || (_bytes > MaxBytes && _batches.Count > 1))
            {
                var lost = _batches.Dequeue();
                _bytes -= lost.Length;
                // The one that is under way leaves first, and may be taken in all the same.
                if (ReferenceEquals(lost, _handedOut))
                    _leftUnderWay = lost;
                else
                    Interlocked.Add(ref _samplesLost, SamplesOf(lost));
                _lost.Add("samples are lost: none has been taken in for too long");
            }
            (arrived, _arrived) = (_arrived, New());
        }
        arrived.TrySetResult();
    }

    /// <summary>Waits for one; it stays.</summary>
    public async Task<byte[]> FirstAsync(CancellationToken ct)
    {
        while (true)
        {
            Task arrived;
            lock (_lock)
            {
                if (_batches.TryPeek(out var first))
                {
                    if (_leftUnderWay is { } left)
                        Interlocked.Add(ref _samplesLost, SamplesOf(left));
                    _leftUnderWay = null;
                    return _handedOut = first;
                }
                arrived = _arrived.Task;
            }
            await arrived.WaitAsync(ct);
        }
    }

    /// <summary>It was taken in. It may have left meanwhile, for newer ones: then it was not lost.</summary>
    public void Remove(byte[] batch)
    {
        lock (_lock)
        {
            if (_batches.TryPeek(out var first) && ReferenceEquals(first, batch))
                _bytes -= _batches.Dequeue().Length;
            else if (ReferenceEquals(_leftUnderWay, batch))
                _leftUnderWay = null;
        }
    }

    private static int SamplesOf(byte[] batch)
    {
        var samples = new List<EncodedSample>();
        return FaultSamplesEncoding.TryRead(batch, samples, out var malformed) ? samples.Count + malformed : 0;
    }

    private static TaskCompletionSource New() => new(TaskCreationOptions.RunContinuationsAsynchronously);
}
