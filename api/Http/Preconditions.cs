using System.Globalization;
using Microsoft.Net.Http.Headers;

namespace Api.Http;

/// <summary>If-Match of a request (RFC 9110 section 13.1.1), by strong comparison with the version of a row. Where it was not sent, an action goes ahead;
/// what replaces a part of a row by what somebody read before needs it.</summary>
public readonly record struct IfMatch
{
    private readonly IList<EntityTagHeaderValue>? tags;

    private IfMatch(IList<EntityTagHeaderValue>? tags) => this.tags = tags;

    public static IfMatch Of(HttpContext http) => http.Request.Headers.ContainsKey(HeaderNames.IfMatch) ? new(http.Request.GetTypedHeaders().IfMatch) : default;

    /// <summary>428 where it is missing.</summary>
    public IResult? Missing => tags is not null ? null : ApiProblem.Of(428, "precondition_required", "Send If-Match with the ETag of what you have read, or with *.");

    /// <summary>412 where it names other versions than the present one.</summary>
    public IResult? Problem(long version) => tags is null || tags.Any(t => t.Equals(EntityTagHeaderValue.Any) || !t.IsWeak && t.Tag == ETags.Text(version))
        ? null
        : ApiProblem.Of(412, "precondition_failed", "It has changed since; read it again.");
}

/// <summary>The version of what is answered, for If-Match of a later request.</summary>
public static class ETags
{
    public static string Text(long version) => $"\"{version.ToString(CultureInfo.InvariantCulture)}\"";

    public static IResult Tagged(this IResult answer, long version) => new TaggedResult(answer, Text(version));

    private sealed class TaggedResult(IResult answer, string tag) : IResult
    {
        public Task ExecuteAsync(HttpContext httpContext)
        {
            httpContext.Response.Headers.ETag = tag;
            return answer.ExecuteAsync(httpContext);
        }
    }
}
