using System.Text.RegularExpressions;
using Contracts;

namespace Worker.Agent;

/// <summary>Pure: whether what a guest says in a session is of the protocol's shape and size. Nothing of it is true only because it is told.</summary>
internal static partial class GuestSteps
{
    public static bool IsSound(SessionOpened opened) =>
        opened is { SizeBytes: null or >= 0, Mode: null or (>= 0 and <= 0xfff) } && IsSha256OrNull(opened.Sha256);

    public static bool IsSound(SessionOutput output) => output is { Stream: 1 or 2, Data.Length: <= GuestSessions.MaxFrameBytes };

    public static bool IsSound(SessionEnded ended) =>
        ended is { ExitCode: null or (>= 0 and <= 255), Signal: null or (> 0 and <= 64), SizeBytes: null or >= 0 } && IsSha256OrNull(ended.Sha256)
        && ended.Reason is { Length: > 0 and <= 40 } && Reason().IsMatch(ended.Reason) && ended.Detail is null or { Length: <= GuestSessions.MaxDetail };

    private static bool IsSha256OrNull(string? text) => text is null || Sha256().IsMatch(text);

    [GeneratedRegex("^[0-9a-f]{64}\\z")]
    private static partial Regex Sha256();

    [GeneratedRegex("^[A-Za-z]+\\z")]
    private static partial Regex Reason();
}
