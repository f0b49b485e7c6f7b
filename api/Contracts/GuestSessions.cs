using System.Text.Json.Serialization;

namespace Contracts;

// What the API has done inside a guest: sessions between a request of the API and the guest's agent, which the worker passes on.
// Both hops carry the same steps: API and worker in NodeToSession and NodeOfSession over the node's hub, worker and agent in AgentToSession and AgentOfSession.
// Flow control is end to end and counted in frames: an end sends no more frames of data than the other has given it credit for, so a guest that floods
// or a reader that does not read fills at most GuestSessions.Window frames of its own session. The worker holds the guest to it.

/// <summary>Limits of sessions in a guest.</summary>
public static class GuestSessions
{
    /// <summary>The first version of the agent's protocol that has sessions.</summary>
    public const int SinceProtocol = 2;
    public const int MaxOfSandbox = 8;
    public const int MaxFrameBytes = 16 * 1024;
    /// <summary>Frames on their way in one direction of one session.</summary>
    public const int Window = 8;
    public const int MaxArguments = 256, MaxCommandBytes = 64 * 1024, MaxPathBytes = 1024, MaxEnvironment = 256;
    public const int MaxTimeoutSeconds = 24 * 60 * 60;
    public const int SshPort = 22;
    /// <summary>Of a sentence of the agent: what is longer is cut off.</summary>
    public const int MaxDetail = 200;
}

/// <summary>What is to be done in the guest.</summary>
[JsonPolymorphic(TypeDiscriminatorPropertyName = "kind")]
[JsonDerivedType(typeof(ExecRequest), "exec")]
[JsonDerivedType(typeof(FilePutRequest), "put")]
[JsonDerivedType(typeof(FileGetRequest), "get")]
[JsonDerivedType(typeof(TcpRequest), "tcp")]
public abstract record SessionRequest;

/// <summary>Run a program, by no shell. <c>Environment</c> is added to PATH, HOME and TERM of the agent's own. <c>User</c>: numeric id, and group of the same number; null: root.
/// Its output is data of stream 1 and 2; data sent to it is its standard input, which an empty frame ends. <c>TimeoutMilliseconds</c>: null: none.</summary>
public sealed record ExecRequest(IReadOnlyList<string> Command, IReadOnlyDictionary<string, string> Environment, string? Directory, int? User, long? TimeoutMilliseconds) : SessionRequest;

/// <summary>Write a file: what is sent, until an empty frame. It appears under its name complete or not at all. <c>Mode</c>: permission bits.</summary>
public sealed record FilePutRequest(string Path, int Mode, long MaxBytes) : SessionRequest;

/// <summary>Read a regular file, of which the opening tells size and SHA-256.</summary>
public sealed record FileGetRequest(string Path, long MaxBytes) : SessionRequest;

/// <summary>Connect to a TCP port of the guest's own loopback address.</summary>
public sealed record TcpRequest(int Port) : SessionRequest;

/// <summary>Towards the guest.</summary>
[JsonPolymorphic(TypeDiscriminatorPropertyName = "step")]
[JsonDerivedType(typeof(SessionOpen), "open")]
[JsonDerivedType(typeof(SessionInput), "input")]
[JsonDerivedType(typeof(SessionMore), "more")]
[JsonDerivedType(typeof(SessionSignal), "signal")]
[JsonDerivedType(typeof(SessionClose), "close")]
public abstract record ToSession;

/// <summary>Begins a session, with credit for <see cref="GuestSessions.Window"/> frames of output.</summary>
public sealed record SessionOpen(SessionRequest Request) : ToSession;

/// <summary>At most <see cref="GuestSessions.MaxFrameBytes"/>; empty: there is no more.</summary>
public sealed record SessionInput(byte[] Data) : ToSession;

/// <summary>Credit for so many more frames of output.</summary>
public sealed record SessionMore(int Frames) : ToSession;

/// <summary>A signal by its number, to the program and what it has started in its process group.</summary>
public sealed record SessionSignal(int Signal) : ToSession;

/// <summary>Nobody waits for it any more: what runs is killed, what was begun is undone. Answered by its end.</summary>
public sealed record SessionClose : ToSession;

/// <summary>From the guest.</summary>
[JsonPolymorphic(TypeDiscriminatorPropertyName = "step")]
[JsonDerivedType(typeof(SessionOpened), "opened")]
[JsonDerivedType(typeof(SessionOutput), "output")]
[JsonDerivedType(typeof(SessionTook), "took")]
[JsonDerivedType(typeof(SessionEnded), "ended")]
public abstract record OfSession;

/// <summary>It has begun, with credit for <see cref="GuestSessions.Window"/> frames of input. Of a file that is read: its size, permission bits and SHA-256 (hexadecimal).</summary>
public sealed record SessionOpened(long? SizeBytes = null, int? Mode = null, string? Sha256 = null) : OfSession;

/// <summary><c>Stream</c>: 1 or 2. <c>Data</c>: 1 to <see cref="GuestSessions.MaxFrameBytes"/> bytes; of a connection, empty says that there is no more.</summary>
public sealed record SessionOutput(int Stream, byte[] Data) : OfSession;

/// <summary>Credit for so many more frames of input.</summary>
public sealed record SessionTook(int Frames) : OfSession;

/// <summary>The last step. <c>Reason</c>: one of <see cref="SessionReasons"/>. Of a program exactly one of <c>ExitCode</c> and <c>Signal</c> when it has run;
/// of a file that was written its size and SHA-256.</summary>
public sealed record SessionEnded(string Reason, int? ExitCode = null, int? Signal = null, long? SizeBytes = null, string? Sha256 = null, string? Detail = null) : OfSession;

/// <summary>Why a session has ended, or never began.</summary>
public static class SessionReasons
{
    /// <summary>By itself: the program ended, the file was written or read, the connection was closed.</summary>
    public const string Done = "Done";
    public const string TimedOut = "TimedOut";
    /// <summary>The guest's agent has no sessions yet.</summary>
    public const string AgentTooOld = "AgentTooOld";
    /// <summary>No agent answers: the guest is booting, has none, or has stopped.</summary>
    public const string AgentNotReady = "AgentNotReady";
    /// <summary>The agent, or its guest, has ended meanwhile.</summary>
    public const string AgentLost = "AgentLost";
    /// <summary>The connection between node and API has ended meanwhile.</summary>
    public const string NodeLost = "NodeLost";
    /// <summary>The key, or the browser's session, that asked for it has ended meanwhile.</summary>
    public const string KeyEnded = "KeyEnded";
    /// <summary>The agent said what the protocol does not have.</summary>
    public const string AgentMisbehaves = "AgentMisbehaves";
    public const string TooManySessions = "TooManySessions";
    public const string InvalidRequest = "InvalidRequest";
    public const string NotFound = "NotFound";
    public const string NotPermitted = "NotPermitted";
    /// <summary>The path is there, and is no regular file.</summary>
    public const string NotAFile = "NotAFile";
    public const string TooLarge = "TooLarge";
    public const string NoSpace = "NoSpace";
    /// <summary>The guest's system refused it otherwise; the detail says how.</summary>
    public const string Failed = "Failed";
    public const string NothingListens = "NothingListens";
    /// <summary>The file changed while it was read.</summary>
    public const string Changed = "Changed";
}

/// <summary>Worker to agent: a step of that session.</summary>
public sealed record AgentToSession(Guid Session, ToSession Step) : AgentCommand;

/// <summary>Agent to worker.</summary>
public sealed record AgentOfSession(Guid Session, OfSession Step) : AgentMessage;

/// <summary>API to worker (<see cref="NodeProtocol.ToSession"/>).</summary>
public sealed record NodeToSession(Guid SandboxId, Guid Session, ToSession Step);

/// <summary>Worker to API (<see cref="NodeProtocol.OfSession"/>).</summary>
public sealed record NodeOfSession(Guid SandboxId, Guid Session, OfSession Step);
