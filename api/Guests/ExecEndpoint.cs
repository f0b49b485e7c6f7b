using System.Net.Mime;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using Api.Http;
using Contracts;

namespace Api.Guests;

/// <summary>Runs a command in a guest and passes on what it puts out, line by line or as a whole. Guarantees: each stream in order; a streamed answer whose last line is not its end was cut off;
/// the command is killed when the caller goes away. A whole answer keeps the first bytes, and says that there were more.</summary>
public static class ExecEndpoint
{
    public const string Lines = "application/x-ndjson";
    public const int MaxWholeBytes = 1024 * 1024, MaxInputBytes = 128 * 1024, DefaultTimeoutSeconds = 3600, MaxUser = 65_535;
    private static readonly JsonSerializerOptions Json = new(JsonSerializerOptions.Web) { DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull };
    private static readonly Dictionary<string, int> Signals = new() { ["HUP"] = 1, ["INT"] = 2, ["QUIT"] = 3, ["KILL"] = 9, ["USR1"] = 10, ["USR2"] = 12, ["TERM"] = 15, ["CONT"] = 18, ["STOP"] = 19 };

    public static async Task<IResult> Run(Guid id, ExecCreate? exec, HttpContext http, GuestAccess guests)
    {
        if (exec is null) return ApiProblem.Of(400, "invalid_request", "A JSON object is expected.");
        var errors = Check(exec, out var input);
        if (errors.Count > 0) return ApiProblem.Validation(errors);
        var request = new ExecRequest(exec.Command!, exec.Environment ?? new Dictionary<string, string>(), exec.Directory, exec.User, (exec.TimeoutSeconds ?? DefaultTimeoutSeconds) * 1000L);
        var whole = !http.Request.Headers.Accept.ToString().Contains(Lines, StringComparison.OrdinalIgnoreCase);
        return await guests.UseAsync(id, http, request, new { Command = exec.Command![0], Arguments = exec.Command.Count - 1 }, async (session, _, ct) =>
        {
            // Beside reading, or a command that puts out more than it takes would wait for ever.
            using var read = CancellationTokenSource.CreateLinkedTokenSource(ct);
            var feeding = FeedAsync(session, input, read.Token);
            try
            {
                return whole ? await WholeAsync(session, http, ct) : await StreamAsync(session, http, ct);
            }
            finally
            {
                await read.CancelAsync();
                await feeding;
            }
        });
    }

    public static async Task<IResult> Signal(Guid id, Guid execId, ExecSignal? signal, HttpContext http, GuestRelay relay, GuestSandboxes sandboxes)
    {
        if (signal is null) return ApiProblem.Of(400, "invalid_request", "A JSON object is expected.");
        if (signal.Signal is null || !Signals.TryGetValue(signal.Signal, out var number))
            return ApiProblem.Validation("signal", $"takes {string.Join(", ", Signals.Keys)}");
        if (await sandboxes.FindAsync(id, http) is not { } name) return ApiProblem.SandboxNotFound();
        if (relay.Find(id, execId) is not { } session)
            return ApiProblem.Of(404, "exec_not_found", "No such command runs: it has ended, or its node has been connected to another replica of the API since, which ended it.");
        await sandboxes.TellAsync(id, name, http, new { ExecId = execId, signal.Signal });
        await session.SignalAsync(number);
        return Results.NoContent();
    }

    private static Dictionary<string, string[]> Check(ExecCreate exec, out byte[] input)
    {
        var errors = new Dictionary<string, string[]>();
        input = [];
        var texts = (exec.Command ?? []).Concat(exec.Environment?.SelectMany(v => (string[])[v.Key, v.Value]) ?? []).ToList();
        if (exec.Command is not { Count: > 0 and <= GuestSessions.MaxArguments } command || string.IsNullOrEmpty(command[0])) errors["command"] = [$"takes 1 to {GuestSessions.MaxArguments} texts, of which the first is not empty"];
        else if (texts.Any(t => t is null || t.Contains('\0')) || texts.Sum(t => Encoding.UTF8.GetByteCount(t)) > GuestSessions.MaxCommandBytes)
            errors["command"] = [$"takes texts without NUL, with the environment at most {GuestSessions.MaxCommandBytes} bytes"];
        if (exec.Environment is { } environment && (environment.Count > GuestSessions.MaxEnvironment || environment.Keys.Any(k => k is "" || k.Contains('='))))
            errors["environment"] = [$"takes at most {GuestSessions.MaxEnvironment} variables, whose names hold no ="];
        if (exec.Directory is { } directory && (directory is not ['/', ..] || directory.Contains('\0') || Encoding.UTF8.GetByteCount(directory) > GuestSessions.MaxPathBytes)) errors["directory"] = ["takes an absolute path"];
        if (exec.User is < 0 or > MaxUser) errors["user"] = [$"takes 0 to {MaxUser}"];
        if (exec.TimeoutSeconds is < 1 or > GuestSessions.MaxTimeoutSeconds) errors["timeoutSeconds"] = [$"takes 1 to {GuestSessions.MaxTimeoutSeconds}"];
        if (exec.Stdin is { } stdin)
        {
            var bytes = new byte[MaxInputBytes];
            if (Convert.TryFromBase64String(stdin, bytes, out var count)) input = bytes[..count];
            else errors["stdin"] = [$"takes base64 of at most {MaxInputBytes} bytes"];
        }
        return errors;
    }

    private static async Task FeedAsync(GuestSession session, byte[] input, CancellationToken ct)
    {
        try
        {
            foreach (var part in input.Chunk(GuestSessions.MaxFrameBytes).Append([]))
                if (!await session.WriteAsync(part, ct)) return;
        }
        catch (OperationCanceledException)
        {
            // The command has ended and reads no more.
        }
    }

    private static async Task<IResult> WholeAsync(GuestSession session, HttpContext http, CancellationToken ct)
    {
        MemoryStream[] streams = [new(), new()];
        var (left, truncated) = (MaxWholeBytes, false);
        while (true)
        {
            var step = await session.ReadAsync(ct);
            if (step is SessionEnded { Reason: SessionReasons.KeyEnded } refused) return GuestProblems.Of(http, refused);
            if (step is SessionEnded ended) return Results.Json(new ExecAnswer(session.Id, streams[0].ToArray(), streams[1].ToArray(), truncated, EndOf(ended)));
            if (step is not SessionOutput { Stream: 1 or 2 } output) continue;
            var kept = Math.Min(left, output.Data.Length);
            streams[output.Stream - 1].Write(output.Data, 0, kept);
            left -= kept;
            truncated |= kept < output.Data.Length;
        }
    }

    private static async Task<IResult> StreamAsync(GuestSession session, HttpContext http, CancellationToken ct)
    {
        http.Response.ContentType = Lines;
        http.Response.Headers["X-Accel-Buffering"] = "no";
        await WriteAsync(http, new ExecLine(session.Id, null, null, null), ct);
        while (true)
        {
            var step = await session.ReadAsync(ct);
            if (step is SessionOutput output) await WriteAsync(http, new ExecLine(null, output.Stream == 1 ? "stdout" : "stderr", output.Data, null), ct);
            else if (step is SessionEnded ended)
            {
                await WriteAsync(http, new ExecLine(null, null, null, EndOf(ended)), ct);
                return Results.Empty;
            }
        }
    }

    private static async Task WriteAsync(HttpContext http, ExecLine line, CancellationToken ct)
    {
        await http.Response.Body.WriteAsync((byte[])[.. JsonSerializer.SerializeToUtf8Bytes(line, Json), (byte)'\n'], ct);
        await http.Response.Body.FlushAsync(ct);
    }

    private static ExecEnd EndOf(SessionEnded ended) => new(ended.Reason, ended.ExitCode, ended.Signal);
}
