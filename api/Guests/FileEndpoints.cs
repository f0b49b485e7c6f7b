using System.Text;
using Api.Http;
using Contracts;
using Microsoft.AspNetCore.Http.Features;

namespace Api.Guests;

/// <summary>Files of a guest. Guarantees: one that is put appears complete or not at all; one that is got has the size and the digest that its headers tell, or the answer is cut off.</summary>
public static class FileEndpoints
{
    private const int DefaultMode = 420, MaxMode = 511;

    public static async Task<IResult> Put(Guid id, HttpContext http, GuestAccess guests, GuestSettings settings, string? path = null, string? mode = null)
    {
        if (PathProblem(path) is { } problem) return problem;
        var bits = DefaultMode;
        if (mode is not null && !TryMode(mode, out bits)) return ApiProblem.Validation("mode", "takes permission bits in octal, 000 to 777");
        if (http.Request.ContentLength > settings.MaxFileBytes) return GuestProblems.Of(http, new SessionEnded(SessionReasons.TooLarge));
        if (http.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } limit) limit.MaxRequestBodySize = settings.MaxFileBytes;
        return await guests.UseAsync(id, http, new FilePutRequest(path!, bits, settings.MaxFileBytes), new { Path = path, Mode = Octal(bits) }, async (session, _, ct) =>
        {
            await SendAsync(http.Request.Body, session, ct);
            OfSession step;
            do step = await session.ReadAsync(ct);
            while (step is not SessionEnded);
            var ended = (SessionEnded)step;
            return ended is { Reason: SessionReasons.Done, SizeBytes: { } size, Sha256: { } sha256 } ? Results.Ok(new GuestFileView(path!, size, sha256)) : GuestProblems.Of(http, ended);
        });
    }

    public static async Task<IResult> Get(Guid id, HttpContext http, GuestAccess guests, GuestSettings settings, string? path = null)
    {
        if (PathProblem(path) is { } problem) return problem;
        return await guests.UseAsync(id, http, new FileGetRequest(path!, settings.MaxFileBytes), new { Path = path }, async (session, opened, ct) =>
        {
            if (opened is not { SizeBytes: { } size, Mode: { } bits, Sha256: { } sha256 }) return GuestProblems.Of(http, new SessionEnded(SessionReasons.AgentMisbehaves));
            void Head()
            {
                http.Response.ContentType = "application/octet-stream";
                http.Response.ContentLength = size;
                http.Response.Headers["Repr-Digest"] = $"sha-256=:{Convert.ToBase64String(Convert.FromHexString(sha256))}:";
                http.Response.Headers["Sandbox-File-Mode"] = Octal(bits);
            }

            if (http.Response.Body == Stream.Null)
            {
                Head();
                return Results.Empty;
            }
            // One frame stays behind until it is known what follows it, so that what fails at once is still told as a problem.
            byte[]? held = null;
            var left = size;
            while (true)
            {
                var step = await session.ReadAsync(ct);
                var isWhole = step is SessionEnded { Reason: SessionReasons.Done } && left == 0;
                var output = step as SessionOutput;
                if (!isWhole && (output is null || output.Data.Length > left))
                {
                    if (!http.Response.HasStarted) return GuestProblems.Of(http, step is SessionEnded { Reason: not SessionReasons.Done } ended ? ended : new SessionEnded(SessionReasons.AgentMisbehaves));
                    http.Abort();
                    return Results.Empty;
                }
                if (!http.Response.HasStarted && (isWhole || held is not null)) Head();
                if (held is not null) await http.Response.Body.WriteAsync(held, ct);
                if (output is null) return Results.Empty;
                held = output.Data;
                left -= held.Length;
            }
        });
    }

    private static async Task SendAsync(Stream body, GuestSession session, CancellationToken ct)
    {
        var buffer = new byte[GuestSessions.MaxFrameBytes];
        while (true)
        {
            var count = await body.ReadAtLeastAsync(buffer, buffer.Length, throwOnEndOfStream: false, ct);
            if (count > 0 && !await session.WriteAsync(buffer.AsMemory(0, count), ct)) return;
            if (count == buffer.Length) continue;
            await session.WriteAsync(Array.Empty<byte>(), ct);
            return;
        }
    }

    private static IResult? PathProblem(string? path) =>
        path is ['/', ..] && !path.EndsWith('/') && !path.Contains('\0') && Encoding.UTF8.GetByteCount(path) <= GuestSessions.MaxPathBytes
            ? null : ApiProblem.Validation("path", $"takes the absolute path of a file, at most {GuestSessions.MaxPathBytes} bytes");

    private static bool TryMode(string text, out int mode)
    {
        mode = 0;
        if (text.Length is < 3 or > 4 || text.Any(c => c is < '0' or > '7')) return false;
        foreach (var digit in text) mode = mode * 8 + (digit - '0');
        return mode <= MaxMode;
    }

    private static string Octal(int mode) => Convert.ToString(mode, 8).PadLeft(3, '0');
}
