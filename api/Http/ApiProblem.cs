using System.Text.RegularExpressions;
using Api.Data;
using Microsoft.AspNetCore.Diagnostics;
using Microsoft.EntityFrameworkCore;

namespace Api.Http;

/// <summary>The one place where outcomes become RFC 9457 documents. <c>code</c> is stable and documented; <c>detail</c> is for people.</summary>
public static partial class ApiProblem
{
    /// <summary><c>errors</c>: what each field takes; <c>extensions</c>: what a program needs besides the code to go on.</summary>
    public static IResult Of(int status, string code, string detail, IReadOnlyDictionary<string, string[]>? errors = null, IReadOnlyDictionary<string, object?>? extensions = null) =>
        Results.Problem(statusCode: status, title: Title(status), detail: detail, extensions: Extensions(code, errors, extensions));

    public static IResult Validation(string field, string problem) => Validation(new Dictionary<string, string[]> { [field] = [problem] });

    public static IResult Validation(IReadOnlyDictionary<string, string[]> errors) =>
        Of(StatusCodes.Status422UnprocessableEntity, "validation_failed", "Some fields are not valid; errors names each with what it takes.", errors);

    public static IResult SandboxNotFound() => Of(404, "sandbox_not_found", "There is no sandbox with that id.");

    public static IResult BeingDeleted() => Of(409, "being_deleted", "It is being deleted.");

    /// <summary>What is over the project's quota, by its name in <c>GET /v1/project</c>, each with a sentence.</summary>
    public static IResult QuotaExceeded(IReadOnlyDictionary<string, string[]> over) =>
        Of(409, "quota_exceeded", $"The project's quota is used up: {string.Join("; ", over.Values.Select(v => v[0]))}.", over);

    private static Dictionary<string, object?> Extensions(string code, IReadOnlyDictionary<string, string[]>? errors, IReadOnlyDictionary<string, object?>? others)
    {
        var extensions = new Dictionary<string, object?>(others ?? new Dictionary<string, object?>()) { ["code"] = code };
        if (errors is not null) extensions["errors"] = errors;
        return extensions;
    }

    public static string Title(int status) => status switch
    {
        400 => "The request could not be read",
        401 => "Not signed in",
        403 => "Not allowed",
        404 => "Not found",
        405 => "Method not allowed",
        408 => "The request took too long",
        409 => "Conflict with the present state",
        410 => "No longer kept",
        412 => "It has changed meanwhile",
        413 => "The request is too large",
        415 => "Unsupported media type",
        422 => "The request is not valid",
        428 => "The request needs a condition",
        429 => "Too many requests",
        503 => "Temporarily unavailable",
        _ => "The request failed",
    };

    /// <summary>Turns an exception that escaped a use case into a problem. Anything unknown is a defect: 500, logged by the framework, nothing leaked.</summary>
    public static async Task HandleAsync(HttpContext http)
    {
        var error = http.Features.Get<IExceptionHandlerFeature>()?.Error;
        var result = error switch
        {
            BadHttpRequestException { StatusCode: 413 } => Of(413, "body_too_large", "The body is larger than this endpoint takes."),
            BadHttpRequestException { StatusCode: 415 } => Of(415, "unsupported_media_type", "Send application/json."),
            BadHttpRequestException bad => Of(bad.StatusCode, "invalid_request", Sentence(bad)),
            DbUpdateConcurrencyException => Of(409, "changed_meanwhile", "It was changed by somebody else at the same time; read it again."),
            _ when DatabaseAbsence.Is(error) => Unavailable(http),
            _ => Of(500, "internal_error", "Something failed on our side; the log has it under this trace."),
        };
        await result.ExecuteAsync(http);
    }

    /// <summary>Gives a body to bare status codes (401 of authentication, 404 and 405 of routing).</summary>
    public static Task HandleStatusAsync(HttpContext http) => (http.Response.StatusCode switch
    {
        401 => Of(401, "unauthenticated", "Send an API key as a bearer token, or sign in."),
        403 => Of(403, "forbidden", http.GetEndpoint()?.Metadata.GetMetadata<Access>() is { } access ? $"This takes {access}." : "This key may not do that."),
        404 => Of(404, "not_found", "There is nothing at this address."),
        405 => Of(405, "method_not_allowed", "This address does not take that method."),
        413 => Of(413, "body_too_large", "The body is larger than this endpoint takes."),
        415 => Of(415, "unsupported_media_type", "Send application/json."),
        var status => Of(status, "invalid_request", "The request could not be read."),
    }).ExecuteAsync(http);

    private static IResult Unavailable(HttpContext http)
    {
        http.Response.Headers.RetryAfter = "1";
        return Of(503, "database_unavailable", "The database does not answer right now; try again in a second.");
    }

    private static string Sentence(BadHttpRequestException bad) => bad.InnerException is System.Text.Json.JsonException json
        ? json.Message.Contains("could not be mapped", StringComparison.Ordinal) || json.Message.Contains("Duplicate", StringComparison.OrdinalIgnoreCase)
            ? $"The body has a field that is unknown or repeated, at {json.Path ?? "$"}."
            : $"The body is not the JSON that is expected, at {json.Path ?? "$"}{(json.InnerException is FormatException { Message: var why } && WholeNumber().IsMatch(why) ? ": a whole number is taken, without a point or an exponent, and not beyond all bounds" : "")}."
        : BoundParameter().Match(bad.Message) is { Success: true } bound
            ? $"The parameter {bound.Groups[2].Value} does not take that value{Taken(bound.Groups[1].Value)}."
            : bad.Message;

    /// <summary>What a parameter takes, by the type that the framework names.</summary>
    private static string Taken(string type) => type.TrimEnd('?') switch
    {
        var t when t.Contains("int", StringComparison.Ordinal) || t.Contains("long", StringComparison.Ordinal) || t.Contains("Int", StringComparison.Ordinal) => ": it takes a whole number, without a point or an exponent",
        var t when t.Contains("Guid", StringComparison.Ordinal) => ": it takes an id (a UUID)",
        var t when t.Contains("DateTimeOffset", StringComparison.Ordinal) => ": it takes a time, such as 2026-01-02T03:04:05Z",
        var t when t.Contains("bool", StringComparison.OrdinalIgnoreCase) => ": it takes true or false",
        _ => "",
    };

    [GeneratedRegex(@"\bInt(16|32|64)\b")]
    private static partial Regex WholeNumber();

    [GeneratedRegex(@"^Failed to bind parameter ""(\S+) (\w+)"" from ")]
    private static partial Regex BoundParameter();
}
