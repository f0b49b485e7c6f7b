using System.Threading.Channels;
using Contracts;

namespace Api.Dashboard;

/// <summary>Passes serial consoles from workers to viewers, and one viewer's keys to the worker.
/// Guarantees: every viewer sees the bytes in order, each once (offsets), beginning with what the ring still has; one writer at a time.
/// Assumes: a watched console is named in its node's plan; the worker then sends from its ring's start, and overlaps are trimmed here.
/// On a crash of the API nothing is lost that the worker's ring still has: viewers come back with their last offset.</summary>
public sealed class ConsoleRelay(TimeProvider time)
{
    /// <summary>A console that is watched again this soon has lost nothing: the worker need not have noticed.</summary>
    private static readonly TimeSpan KeptUnwatched = TimeSpan.FromSeconds(30);
    public const int MaxViewers = 64;
    private const int RingBytes = 256 * 1024, FrameBytes = 16 * 1024, QueuedFrames = 512;
    private readonly Lock gate = new();
    private readonly Dictionary<Guid, Console> consoles = [];

    private sealed class Console
    {
        public long Start;
        public readonly List<byte> Ring = [];
        public long End => Start + Ring.Count;
        public readonly List<Viewer> Viewers = [];
        public Viewer? Writer;
        public DateTimeOffset UnwatchedSince;
    }

    private sealed record Viewer(string Connection, string Name, Channel<ConsoleFrame> Frames);

    public IReadOnlyList<Guid> WatchedAmong(IEnumerable<Guid> sandboxes)
    {
        lock (gate)
        {
            var now = time.GetUtcNow();
            foreach (var (id, _) in consoles.Where(c => c.Value.Viewers.Count == 0 && now - c.Value.UnwatchedSince > KeptUnwatched).ToList()) consoles.Remove(id);
            return sandboxes.Where(consoles.ContainsKey).ToList();
        }
    }

    public void Output(ConsoleChunk chunk)
    {
        lock (gate)
        {
            if (!consoles.TryGetValue(chunk.SandboxId, out var console)) return;
            var (offset, data) = (chunk.Offset, chunk.Data);
            if (console.Ring.Count == 0 || offset > console.End)
            {
                console.Ring.Clear();
                console.Start = offset;
            }
            var known = (int)Math.Min(console.End - offset, data.Length);
            if (known > 0) (offset, data) = (offset + known, data[known..]);
            if (data.Length == 0) return;
            console.Ring.AddRange(data);
            if (console.Ring.Count > RingBytes)
            {
                var old = console.Ring.Count - RingBytes;
                console.Ring.RemoveRange(0, old);
                console.Start += old;
            }
            foreach (var viewer in console.Viewers)
                if (!viewer.Frames.Writer.TryWrite(Frame(console, viewer, offset, data))) viewer.Frames.Writer.TryComplete();
        }
    }

    /// <summary>Null when it has as many viewers as it may. True in <paramref name="first"/> when nobody watched before: the node's plan has changed.</summary>
    public ChannelReader<ConsoleFrame>? Watch(Guid sandboxId, string connection, string name, long fromOffset, out bool first)
    {
        lock (gate)
        {
            first = !consoles.TryGetValue(sandboxId, out var console);
            if (console is null) consoles[sandboxId] = console = new Console();
            if (console.Viewers.Count >= MaxViewers) return null;
            // A viewer that falls this far behind is ended and comes back with its offset: nobody waits for it.
            var viewer = new Viewer(connection, name, Channel.CreateBounded<ConsoleFrame>(QueuedFrames));
            console.Viewers.Add(viewer);
            var from = Math.Max(fromOffset, console.Start);
            if (fromOffset > console.End) from = console.Start;
            for (var at = from; at < console.End; at += FrameBytes)
                viewer.Frames.Writer.TryWrite(Frame(console, viewer, at, [.. console.Ring.GetRange((int)(at - console.Start), (int)Math.Min(FrameBytes, console.End - at))]));
            Announce(console);
            return viewer.Frames.Reader;
        }
    }

    public void Leave(Guid sandboxId, string connection, ChannelReader<ConsoleFrame> frames)
    {
        lock (gate)
        {
            if (!consoles.TryGetValue(sandboxId, out var console)) return;
            console.Viewers.RemoveAll(v => v.Connection == connection && v.Frames.Reader == frames);
            if (console.Writer is { } writer && !console.Viewers.Contains(writer)) console.Writer = null;
            Announce(console);
            if (console.Viewers.Count == 0) console.UnwatchedSince = time.GetUtcNow();
        }
    }

    public ConsoleWriter Acquire(Guid sandboxId, string connection, bool force)
    {
        lock (gate)
        {
            if (!consoles.TryGetValue(sandboxId, out var console) || console.Viewers.Find(v => v.Connection == connection) is not { } viewer)
                return new ConsoleWriter(false, null);
            if (console.Writer is not null && console.Writer.Connection != connection && !force) return new ConsoleWriter(false, console.Writer.Name);
            console.Writer = viewer;
            Announce(console);
            return new ConsoleWriter(true, viewer.Name);
        }
    }

    public void Release(Guid sandboxId, string connection)
    {
        lock (gate)
        {
            if (!consoles.TryGetValue(sandboxId, out var console) || console.Writer?.Connection != connection) return;
            console.Writer = null;
            Announce(console);
        }
    }

    public bool MayWrite(Guid sandboxId, string connection)
    {
        lock (gate) return consoles.TryGetValue(sandboxId, out var console) && console.Writer?.Connection == connection;
    }

    private static void Announce(Console console)
    {
        foreach (var viewer in console.Viewers) viewer.Frames.Writer.TryWrite(Frame(console, viewer, console.End, null));
    }

    private static ConsoleFrame Frame(Console console, Viewer viewer, long offset, byte[]? data) =>
        new(offset, data, console.Viewers.Count, console.Writer?.Name, console.Writer == viewer);
}
