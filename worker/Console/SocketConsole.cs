using System.Net.Sockets;
using Worker.Channels;

namespace Worker.Console;

// A console behind a socket of the VMM. Bytes printed while no worker is connected are dropped by the VMM and not counted;
// a line in the console says when that may have happened.
internal sealed class SocketConsole(string socketPath, TimeProvider time) : IConsoleSource
{
    private static readonly TimeSpan NotePeriod = TimeSpan.FromSeconds(1);

    public string Name => socketPath;

    public async Task ServeAsync(SerialConsole console, CancellationToken ct)
    {
        // Without a guest there is no socket: looking for a file is cheaper than a refused connection.
        if (!File.Exists(socketPath))
            return;
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        // A socket's file is never written to: its time is when this very VMM made it.
        var madeAt = File.GetLastWriteTimeUtc(socketPath);
        await SocketFile.ConnectAsync(socket, socketPath, ct);
        await using var stream = new NetworkStream(socket, ownsSocket: false);
        Begin(console, madeAt);
        console.Keys = new KeyWrites(stream).WriteAsync;
        await ListenAsync(console, stream, madeAt.Ticks, ct);
    }

    private async Task ListenAsync(SerialConsole console, NetworkStream stream, long stamp, CancellationToken ct)
    {
        var buffer = new byte[ConsoleRing.Slack];
        await using var noting = time.CreateTimer(_ => NoteListening(console, stamp), null, NotePeriod, NotePeriod);
        try
        {
            while (await ReadAsync(stream, buffer, ct) is > 0 and var read)
                console.Append(buffer.AsSpan(0, read));
        }
        finally
        {
            NoteListening(console, stamp);
        }
    }

    /// <summary>0 at the end of the connection, whichever way it ended.</summary>
    private static async ValueTask<int> ReadAsync(NetworkStream stream, byte[] buffer, CancellationToken ct)
    {
        try
        {
            return await stream.ReadAsync(buffer, ct);
        }
        catch (IOException)
        {
            return 0;
        }
    }

    private void Begin(SerialConsole console, DateTime madeAt)
    {
        var now = time.GetUtcNow();
        if (ConsoleGap.Marker(console.Listening, madeAt.Ticks, madeAt, now) is { } marker)
            console.Append(marker);
        console.Note(new ConsoleListening(madeAt.Ticks, now));
    }

    /// <summary>So that a gap can be told even when this worker is killed. Called by a timer: nothing may escape.</summary>
    private void NoteListening(SerialConsole console, long stamp)
    {
        try
        {
            console.Note(new ConsoleListening(stamp, time.GetUtcNow()));
        }
        catch (Exception problem) when (problem is IOException or ObjectDisposedException)
        {
            // The next append meets the same trouble and tells of it; a disposed ring needs no note.
        }
    }
}
