using Microsoft.Net.Http.Headers;

namespace Api.Http;

/// <summary>Headers every answer carries: nothing is framed, sniffed or cached, and scripts come from here only.</summary>
public static class Headers
{
    private const string PagePolicy = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self' ws: wss:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

    /// <summary>JSON is UTF-8 (RFC 8259); the framework fails on a charset that it does not know instead of refusing it.</summary>
    public static Task RefuseCharset(HttpContext http, RequestDelegate next)
    {
        var charset = MediaTypeHeaderValue.TryParse(http.Request.ContentType, out var type) ? type.Charset : default;
        return !charset.HasValue || charset.Equals("utf-8", StringComparison.OrdinalIgnoreCase) || charset.Equals("\"utf-8\"", StringComparison.OrdinalIgnoreCase)
            ? next(http)
            : ApiProblem.Of(415, "unsupported_media_type", "Send application/json in UTF-8.").ExecuteAsync(http);
    }

    /// <summary>HEAD is GET without the body (RFC 9110 section 9.3.2); routing knows only methods that were mapped.</summary>
    public static async Task AnswerHead(HttpContext http, RequestDelegate next)
    {
        if (!HttpMethods.IsHead(http.Request.Method))
        {
            await next(http);
            return;
        }
        http.Request.Method = HttpMethods.Get;
        http.Response.Body = Stream.Null;
        await next(http);
    }

    public static Task Secure(HttpContext http, RequestDelegate next)
    {
        var headers = http.Response.Headers;
        headers.XContentTypeOptions = "nosniff";
        headers.XFrameOptions = "DENY";
        headers["Referrer-Policy"] = "no-referrer";
        // The readable API page is a library's own, with inline script; it stands behind the sign-in.
        if (!http.Request.Path.StartsWithSegments("/docs")) headers.ContentSecurityPolicy = PagePolicy;
        if (http.Request.Path.StartsWithSegments("/v1")) headers.CacheControl = "no-store";
        return next(http);
    }
}
