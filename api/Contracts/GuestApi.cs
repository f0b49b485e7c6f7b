namespace Contracts;

/// <summary>Body of <c>POST /v1/sandboxes/{id}/exec</c>. <c>Command</c>: a program and its arguments, run by no shell: 1 to 256, with the environment at most 64 KiB.
/// <c>Environment</c>: at most 256 variables besides PATH, HOME and TERM. <c>Directory</c>: absolute; default /. <c>User</c>: a numeric id, 0 to 65535; default 0.
/// <c>TimeoutSeconds</c>: 1 to 86400, default 3600; then the program is killed. <c>Stdin</c>: base64 of at most 128 KiB; null: empty.</summary>
public sealed record ExecCreate(IReadOnlyList<string>? Command, IReadOnlyDictionary<string, string>? Environment, string? Directory, int? User, int? TimeoutSeconds, string? Stdin);

/// <summary>The whole answer of a command. <c>Stdout</c> and <c>Stderr</c>: base64, together the first MiB; <c>Truncated</c>: there was more.</summary>
public sealed record ExecAnswer(Guid ExecId, byte[] Stdout, byte[] Stderr, bool Truncated, ExecEnd End);

/// <summary>How a command ended. <c>ExitCode</c> (0 to 255; 127: there is no such program, 126: it cannot be run) or <c>Signal</c> (its number), or neither when it is not known any more.
/// <c>Reason</c>: Done, TimedOut, AgentLost, NodeLost and others (<see cref="SessionReasons"/>).</summary>
public sealed record ExecEnd(string Reason, int? ExitCode, int? Signal);

/// <summary>One line of a streamed answer (<c>Accept: application/x-ndjson</c>). The first has <c>ExecId</c>, the last <c>End</c>, the others <c>Stream</c> (stdout or stderr) and <c>Data</c> (base64).
/// A stream without a last line was cut off.</summary>
public sealed record ExecLine(Guid? ExecId, string? Stream, byte[]? Data, ExecEnd? End);

/// <summary>Body of <c>POST /v1/sandboxes/{id}/exec/{execId}/signal</c>. <c>Signal</c>: HUP, INT, QUIT, KILL, USR1, USR2, TERM, CONT or STOP.</summary>
public sealed record ExecSignal(string? Signal);

/// <summary>A file that was written into a guest. <c>Sha256</c>: hexadecimal, as the guest's agent computed it of what it wrote.</summary>
public sealed record GuestFileView(string Path, long SizeBytes, string Sha256);
