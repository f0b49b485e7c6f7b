namespace Contracts;

// The page connects to DashboardHub.Path (cookie or bearer). Server-to-client data flows through streams that the page opens:
//   Events(long after)            -> stream of EventView, first those after that number, then each new one: a reconnect resumes and misses nothing;
//                                    fails with events_expired when what came after the number is no longer kept, or -1 for from now
//   Faults(Guid sandboxId)        -> stream of FaultSample, live
//   Console(Guid sandboxId, long fromOffset) -> stream of ConsoleFrame, first the ring's content, then live
// and calls: ConsoleAcquire(sandboxId, force) -> ConsoleWriter, ConsoleRelease(sandboxId), ConsoleWrite(sandboxId, base64 bytes).

/// <summary>Where the page connects, and its limits.</summary>
public static class DashboardHubContract
{
    public const string Path = "/hubs/dashboard";
    /// <summary>Most bytes that one ConsoleWrite takes.</summary>
    public const int MaxConsoleWriteBytes = 4096;
}

/// <summary>Either output (<c>Data</c>, base64 in JSON, beginning at byte <c>Offset</c> of the console) or a change of the writer
/// (<c>Data</c> null). <c>Viewers</c>: connections that watch. <c>Writer</c>: name of the key that may type, null if nobody;
/// <c>YouWrite</c>: it is this connection.</summary>
public sealed record ConsoleFrame(long Offset, byte[]? Data, int Viewers, string? Writer, bool YouWrite);

/// <summary>Answer to ConsoleAcquire: whether this connection may type now, and who does otherwise.</summary>
public sealed record ConsoleWriter(bool Acquired, string? Writer);
