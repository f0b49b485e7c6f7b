namespace Worker.Vms.Simulated.Memory;

// The host's memory: stream table, context descriptors, translation tables and queues lie in it as words; a frame that nobody writes to costs nothing.
// Frames are handed out one or sixteen at a time (4 and 64 KiB) and read as zeros until written.
internal sealed class PhysicalMemory(ulong origin, int frames)
{
    public const int FrameShift = 12, FrameBytes = 1 << FrameShift, WordsOfFrame = FrameBytes / sizeof(ulong);
    private readonly Stack<int> _small = new(), _large = new();
    private ulong[]?[] _words = new ulong[]?[Math.Min(frames, 1024)];
    private int _next;

    public ulong Origin => origin;
    public int FramesTaken { get; private set; }

    // Physically contiguous and aligned to their size. shift: 12 or 16.
    public bool TryTake(int shift, out ulong address)
    {
        var count = 1 << (shift - FrameShift);
        var free = count == 1 ? _small : _large;
        if (!free.TryPop(out var first))
        {
            first = (_next + count - 1) & -count;
            for (; _next < first && _next < frames; _next++)
                _small.Push(_next);
            if (first + count > frames)
            {
                address = 0;
                return false;
            }
            _next = first + count;
        }
        FramesTaken += count;
        address = origin + ((ulong)first << FrameShift);
        return true;
    }

    public ulong Take(int shift) => TryTake(shift, out var address) ? address : throw new InvalidOperationException("the simulated host has no memory left");

    public void Return(ulong address, int shift)
    {
        var count = 1 << (shift - FrameShift);
        var first = (int)((address - origin) >> FrameShift);
        for (var frame = first; frame < first + count && frame < _words.Length; frame++)
            _words[frame] = null;
        (count == 1 ? _small : _large).Push(first);
        FramesTaken -= count;
    }

    /// <summary>False outside of the memory: an access there is answered with an external abort.</summary>
    public bool TryRead(ulong address, out ulong word)
    {
        var frame = (address - origin) >> FrameShift;
        word = 0;
        if (frame >= (ulong)frames)
            return false;
        if (frame < (ulong)_words.Length && _words[frame] is { } words)
            word = words[(address >> 3) & (WordsOfFrame - 1)];
        return true;
    }

    public ulong Read(ulong address) => TryRead(address, out var word) ? word : throw new ArgumentOutOfRangeException(nameof(address));

    public void Write(ulong address, ulong word)
    {
        var frame = (address - origin) >> FrameShift;
        if (frame >= (ulong)frames)
            throw new ArgumentOutOfRangeException(nameof(address));
        if (frame >= (ulong)_words.Length)
            Array.Resize(ref _words, (int)Math.Min(frames, Math.Max((long)frame + 1, _words.Length * 2L)));
        (_words[frame] ??= new ulong[WordsOfFrame])[(address >> 3) & (WordsOfFrame - 1)] = word;
    }
}
