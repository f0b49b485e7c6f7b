using System.Globalization;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Worker.Console;

// A console that a VMM writes to the end of a file, with a named pipe for keys. Both lie in the directory of the VM's user, who may put
// anything there under their names.
// Guarantees: no byte is shown twice or lost over restarts of the worker, because where the file's beginning lies in the ring is noted, and
// the rest follows from the ring's own count; what has been taken in is given back to the disk; a guest that prints faster than it
// is read is skipped over, and a line says so. Neither a link is followed, nor a file of somebody else touched, nor a pipe waited at.
// On a crash: the VMM goes on writing; the next worker reads on where this one stopped. Until then the file grows.
internal sealed class FollowedConsole(string outputPath, string keysPath, TimeProvider time) : IConsoleSource
{
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(50);
    internal const long MaxBehind = 4 * ConsoleRing.Capacity;
    internal const long FreeEvery = 1 << 20;
    private readonly Lock _typing = new();

    public string Name => outputPath;

    public async Task ServeAsync(SerialConsole console, CancellationToken ct)
    {
        using var file = LibC.OpenWithoutFollowing(outputPath, write: true);
        if (file is null || LibC.StampOf(file) is not { } stamp || !BelongsToItsDirectory(file) || !LibC.HasOneName(file))
            return;
        var at = console.Resume(stamp);
        console.Keys = TypeAsync;
        var buffer = new byte[ConsoleRing.Slack];
        var (freed, replaced) = (0L, false);
        while (true)
        {
            ct.ThrowIfCancellationRequested();
            at = CatchUp(console, stamp, at, RandomAccess.GetLength(file));
            if (RandomAccess.Read(file, buffer, at) is > 0 and var read)
            {
                console.Append(buffer.AsSpan(0, read));
                at += read;
                if (at - freed >= FreeEvery)
                    LibC.FreeRange(file, freed = at);
                continue;
            }
            // A file that lost its name was read to its end after that was seen.
            if (replaced)
                return;
            if (LibC.StampOf(outputPath) != stamp)
                replaced = true;
            else
                await Task.Delay(Pause, time, ct);
        }
    }

    /// <summary>Where to read on: elsewhere only when too much lies ahead, or the file was cut off.</summary>
    private static long CatchUp(SerialConsole console, long stamp, long at, long length)
    {
        if (length < at)
            return console.Rebase(stamp, length);
        if (length - at <= MaxBehind)
            return at;
        var skipped = length - at - ConsoleRing.Capacity;
        console.Append(Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"\r\n[{skipped} bytes were put out too fast and are left out]\r\n")));
        return console.Rebase(stamp, at + skipped);
    }

    /// <summary>An IOException when the guest is not running or reads no keys.</summary>
    private Task TypeAsync(ReadOnlyMemory<byte> keys, CancellationToken ct)
    {
        lock (_typing)
        {
            using var pipe = LibC.OpenPipeForWriting(keysPath);
            if (pipe is null || !BelongsToItsDirectory(pipe))
                throw new IOException("the serial console takes no keys");
            foreach (var part in ConsoleKeys.Parts(keys, LibC.WholePipeWrite))
                if (!LibC.WriteWhole(pipe, part))
                    throw new IOException("the guest reads no keys");
        }
        return Task.CompletedTask;
    }

    private bool BelongsToItsDirectory(SafeFileHandle file) =>
        LibC.Describe((int)file.DangerousGetHandle())?.Owner is { } owner && owner == LibC.Describe(Path.GetDirectoryName(outputPath)!)?.Owner;
}
