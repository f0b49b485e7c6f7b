using System.Globalization;
using System.Text;
using Contracts;

namespace GuestAgent.Sessions;

/// <summary>What the agent starts for a program: itself, which takes on the user, the directory and a session of its own, and then becomes the program.
/// A thread of .NET cannot do that between fork and exec. Exit code 127: there is no such program; 126: it cannot be run; as env(1) has them.</summary>
internal static class ExecCommand
{
    public const string Verb = "run";
    private const string None = "-";

    /// <summary>Null when it can be tried.</summary>
    public static string? Problem(ExecRequest request)
    {
        if (request.Command is not { Count: > 0 and <= GuestSessions.MaxArguments } command || string.IsNullOrEmpty(command[0]))
            return "a command has 1 to 256 arguments, of which the first is not empty";
        if (request.Environment is not { Count: <= GuestSessions.MaxEnvironment } environment || environment.Any(v => v.Key is "" || v.Value is null || v.Key.Contains('=')))
            return "an environment has at most 256 variables, whose names hold no =";
        var texts = command.Concat(environment.Keys).Concat(environment.Values).Append(request.Directory ?? "").ToList();
        if (texts.Any(t => t is null || t.Contains('\0')) || texts.Sum(t => Encoding.UTF8.GetByteCount(t)) > GuestSessions.MaxCommandBytes)
            return "arguments and environment are together at most 64 KiB, without NUL";
        return request.User < 0 || request.Directory is { } directory && directory is not ['/', ..] ? "a user is a number, a directory begins with /" : null;
    }

    public static IReadOnlyList<string> Arguments(ExecRequest request) =>
        ["sandbox-agent", Verb, request.User?.ToString(CultureInfo.InvariantCulture) ?? None, request.Directory ?? None, .. request.Command];

    public static IReadOnlyList<string> Environment(ExecRequest request)
    {
        var all = new Dictionary<string, string>
        {
            ["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            ["HOME"] = request.User is null or 0 ? "/root" : "/",
            ["TERM"] = "dumb",
        };
        foreach (var (name, value) in request.Environment)
            all[name] = value;
        return [.. all.Select(v => $"{v.Key}={v.Value}")];
    }

    /// <summary>In the started process. Returns only when it could not become the program.</summary>
    public static unsafe int Become(string[] arguments)
    {
        LibC.NewSession();
        if (arguments is not [var user, var directory, .. { Length: > 0 } command])
            return 126;
        if (user != None && uint.TryParse(user, NumberStyles.None, CultureInfo.InvariantCulture, out var id)
            && (LibC.SetGroups(0, null) < 0 || LibC.SetGroup(id) < 0 || LibC.SetUser(id) < 0))
            return Fail($"user {id}");
        if (LibC.ChangeDirectory(directory == None ? "/" : directory) < 0)
            return Fail(directory);
        LibC.DieWithParent();
        // .NET ignores it, and a program would inherit that.
        LibC.SetSignal(LibC.SignalPipe, 0);
        LibC.Become(command);
        return Fail(command[0]);
    }

    private static int Fail(string what)
    {
        var error = LibC.LastError;
        Console.Error.WriteLine($"sandbox-agent: {what}: {LibC.Describe(error)}");
        return error == LibC.ENoEntry ? 127 : 126;
    }
}
