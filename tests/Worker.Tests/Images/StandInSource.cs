using System.Collections.Concurrent;
using System.Security.Cryptography;
using Contracts;
using Worker.Images;

namespace Worker.Tests.Images;

/// <summary>An API that has files, and does with them what the test says.</summary>
internal sealed class StandInSource : IImageSource
{
    private readonly ConcurrentDictionary<string, byte[]> _files = new();

    /// <summary>What was asked for, in order.</summary>
    public ConcurrentQueue<(string Sha256, long From)> Asked { get; } = new();
    /// <summary>Bytes after which an answer ends; null: all are given.</summary>
    public int? CutAfter { get; set; }
    /// <summary>Whether it gives other bytes than those that were asked for.</summary>
    public bool Lies { get; set; }
    /// <summary>Whoever asks waits for it.</summary>
    public TaskCompletionSource? Gate { get; set; }
    public int MostAtOnce { get; private set; }
    private int _atOnce;

    public PlannedImageFile Add(ImageFileRole role, byte[] bytes)
    {
        var sha256 = Convert.ToHexStringLower(SHA256.HashData(bytes));
        _files[sha256] = bytes;
        return new PlannedImageFile(role, sha256, bytes.Length);
    }

    public async Task<Stream> OpenAsync(string sha256, long from, CancellationToken ct)
    {
        Asked.Enqueue((sha256, from));
        lock (_files)
            MostAtOnce = Math.Max(MostAtOnce, ++_atOnce);
        try
        {
            if (Gate is { } gate)
                await gate.Task.WaitAsync(ct);
        }
        finally
        {
            lock (_files)
                _atOnce--;
        }
        if (!_files.TryGetValue(sha256, out var bytes))
            throw new IOException("the API answers 404");
        var rest = bytes[(int)from..];
        if (Lies)
            rest = [.. rest.Select(b => (byte)~b)];
        return new MemoryStream(rest[..Math.Min(CutAfter ?? rest.Length, rest.Length)]);
    }
}
