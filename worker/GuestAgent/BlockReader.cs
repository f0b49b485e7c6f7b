using System.Diagnostics;
using System.Runtime.InteropServices;
using Contracts;

namespace GuestAgent;

/// <summary>Reads the first NVMe namespace past the page cache, so that every byte is a DMA of the device.</summary>
internal static unsafe class BlockReader
{
    private const string Disk = "/dev/nvme0n1";
    private const int MaxMib = 4096;
    private const nuint ChunkBytes = 1 << 20, Alignment = 4096;

    public static AgentBlockReadDone Read(AgentBlockRead read)
    {
        if (read.Mib is < 1 or > MaxMib)
            return new(read.Id, 0, 0, "OutOfRange");
        var disk = LibC.Open(Disk, LibC.ReadOnly | LibC.Direct | LibC.CloseOnExec);
        if (disk < 0)
            return new(read.Id, 0, 0, $"NoDisk: {LibC.Describe(LibC.LastError)}");
        var buffer = NativeMemory.AlignedAlloc(ChunkBytes, Alignment);
        var started = Stopwatch.GetTimestamp();
        long done = 0, offset = 0;
        string? error = null;
        while (done < (long)read.Mib << 20 && error is null)
        {
            var count = LibC.ReadAt(disk, buffer, (nint)ChunkBytes, offset);
            // A disk smaller than the amount asked for is read again from its beginning.
            if (count == 0 && offset > 0)
                offset = 0;
            else if (count <= 0)
                error = count == 0 ? "EmptyDisk" : $"ReadFailed: {LibC.Describe(LibC.LastError)}";
            else
            {
                done += count;
                offset += count;
            }
        }
        var elapsed = Stopwatch.GetElapsedTime(started);
        NativeMemory.AlignedFree(buffer);
        LibC.Close(disk);
        return new(read.Id, done, (long)elapsed.TotalMicroseconds, error);
    }
}
