using Contracts;

namespace GuestAgent.Sessions;

/// <summary>Why a file could not be read or written, as the end of its session.</summary>
internal static class FileProblem
{
    public static SessionEnded Of(Exception problem) => problem switch
    {
        FileNotFoundException or DirectoryNotFoundException => new(SessionReasons.NotFound),
        PathTooLongException => new(SessionReasons.InvalidRequest, Detail: "the path is longer than the system takes"),
        UnauthorizedAccessException => new(SessionReasons.NotPermitted),
        IOException { HResult: LibC.ENoSpace } => new(SessionReasons.NoSpace),
        _ => new(SessionReasons.Failed, Detail: Short(problem.Message)),
    };

    public static SessionEnded? OfPath(string? path) =>
        path is ['/', ..] && !path.EndsWith('/') && !path.Contains('\0') && System.Text.Encoding.UTF8.GetByteCount(path) <= GuestSessions.MaxPathBytes
            ? null : new(SessionReasons.InvalidRequest, Detail: "the path of a file begins with / and does not end with it");

    private static string Short(string text) => text.Length <= GuestSessions.MaxDetail ? text : text[..GuestSessions.MaxDetail];
}
