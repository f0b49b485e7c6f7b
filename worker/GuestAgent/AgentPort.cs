using System.Runtime.InteropServices;
using Contracts;

namespace GuestAgent;

/// <summary>When a line may be dropped: a statistic while the one before has not left, another when the queue is full, a session's never, because its credit bounds it.</summary>
internal enum Loss { WhenLate, WhenFull, Never }

// The agent's end of the virtio-serial port.
// Guarantees: never blocks on a host that does not read; queued output is bounded, statistics go first when it is full;
//   half lines of an ended connection are forgotten in both directions.
// Assumes: while no host is connected the kernel reports a hang-up on the port and reads give 0.
// On a crash: init starts the agent again, which opens the port anew; the worker sees no disconnect and asks again by Hello.
internal sealed unsafe class AgentPort : IDisposable
{
    private const int MaxQueuedBytes = 2 * AgentProtocol.MaxLineBytes;
    private readonly int _descriptor;
    private readonly LineSplitter _lines = new(AgentProtocol.MaxLineBytes);
    private readonly Queue<(byte[] Line, Loss Loss)> _output = new();
    /// <summary>Without those of sessions.</summary>
    private int _queuedBytes;
    private bool _statisticWaits;
    private int _writtenOfFirst;
    private bool _hostConnected;

    private AgentPort(int descriptor) => _descriptor = descriptor;

    /// <summary>How many connections of a host have ended.</summary>
    public int EndedConnections { get; private set; }

    public bool HasOutput => _output.Count > 0;

    /// <summary>The port of this name, or null while the kernel has not announced it.</summary>
    public static AgentPort? Find(string name)
    {
        const string ports = "/sys/class/virtio-ports";
        if (!Directory.Exists(ports))
            return null;
        foreach (var directory in Directory.EnumerateDirectories(ports))
        {
            var nameFile = Path.Combine(directory, "name");
            if (!File.Exists(nameFile) || File.ReadAllText(nameFile).Trim() != name)
                continue;
            var descriptor = LibC.Open("/dev/" + Path.GetFileName(directory), LibC.ReadWrite | LibC.NonBlock | LibC.CloseOnExec);
            return descriptor < 0 ? null : new AgentPort(descriptor);
        }
        return null;
    }

    /// <summary>Waits for the host, for <paramref name="wakeDescriptor"/> or for the time to pass, and answers the lines that arrived.</summary>
    public IReadOnlyList<byte[]> Wait(int wakeDescriptor, int timeoutMilliseconds)
    {
        var items = stackalloc LibC.PollItem[2];
        items[0] = new() { Descriptor = wakeDescriptor, Wanted = LibC.PollIn };
        items[1] = new() { Descriptor = _descriptor, Wanted = (short)(LibC.PollIn | (HasOutput ? LibC.PollOut : 0)) };
        // A port without a host is always "ready" with a hang-up: it is looked at now and then instead of being polled.
        if (_hostConnected)
            LibC.Poll(items, 2, timeoutMilliseconds);
        else
        {
            LibC.Poll(items + 1, 1, 0);
            if (items[1].Seen == LibC.PollHangUp)
                LibC.Poll(items, 1, Math.Min(timeoutMilliseconds, 50));
        }
        if ((items[0].Seen & LibC.PollIn) != 0)
        {
            ulong count;
            LibC.Read(wakeDescriptor, &count, sizeof(ulong));
        }
        var connected = (items[1].Seen & LibC.PollHangUp) == 0;
        if (_hostConnected && !connected)
            Forget();
        _hostConnected = connected;
        // The first bytes of a new host may arrive before the kernel has lifted the hang-up: they count.
        return (items[1].Seen & LibC.PollIn) != 0 ? ReadLines() : [];
    }

    /// <summary>Queues a line.</summary>
    public void Send(byte[] line, Loss loss)
    {
        if (loss == Loss.WhenLate ? _statisticWaits : loss == Loss.WhenFull && _queuedBytes + line.Length > MaxQueuedBytes)
            return;
        _output.Enqueue((line, loss));
        _statisticWaits |= loss == Loss.WhenLate;
        _queuedBytes += loss == Loss.Never ? 0 : line.Length;
        Flush();
    }

    public void Flush()
    {
        while (_output.TryPeek(out var first))
        {
            var line = first.Line;
            nint written;
            fixed (byte* start = line)
                written = LibC.Write(_descriptor, start + _writtenOfFirst, line.Length - _writtenOfFirst);
            if (written <= 0)
                return;
            _writtenOfFirst += (int)written;
            if (_writtenOfFirst < line.Length)
                continue;
            _queuedBytes -= first.Loss == Loss.Never ? 0 : line.Length;
            _statisticWaits &= first.Loss != Loss.WhenLate;
            _writtenOfFirst = 0;
            _output.Dequeue();
        }
    }

    private List<byte[]> ReadLines()
    {
        var lines = new List<byte[]>();
        var buffer = stackalloc byte[4096];
        // Bounded, so that a host that never stops cannot keep the statistics from being sent.
        for (var round = 0; round < 64; round++)
        {
            var count = LibC.Read(_descriptor, buffer, 4096);
            if (count <= 0)
                break;
            lines.AddRange(_lines.Push(new ReadOnlySpan<byte>(buffer, (int)count)));
        }
        return lines;
    }

    private void Forget()
    {
        EndedConnections++;
        _lines.Reset();
        _output.Clear();
        _queuedBytes = 0;
        _statisticWaits = false;
        _writtenOfFirst = 0;
    }

    public void Dispose() => LibC.Close(_descriptor);
}
