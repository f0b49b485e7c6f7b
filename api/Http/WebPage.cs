using Microsoft.Extensions.FileProviders;

namespace Api.Http;

/// <summary>The dashboard's built files. They hold nothing secret and are open, so that there is a page to sign in on.</summary>
public static class WebPage
{
    public static void Use(WebApplication app)
    {
        if (Files(app) is not { } files) return;
        app.UseDefaultFiles(new DefaultFilesOptions { FileProvider = files });
        app.UseStaticFiles(new StaticFileOptions { FileProvider = files });
    }

    /// <summary>Addresses of the page's own router get the page; those of the API stay with it (404, 405 and 415 as they are).</summary>
    public static void MapFallback(WebApplication app)
    {
        if (Files(app) is { } files)
            app.MapFallbackToFile("{*path:regex(^(?!(v1|hubs|openapi|docs|health)(/|$)).*$):nonfile}", "index.html", new StaticFileOptions { FileProvider = files }).AllowAnonymous();
    }

    private static PhysicalFileProvider? Files(WebApplication app) =>
        app.Configuration["Web:Root"] is { Length: > 0 } root && Directory.Exists(root) ? new PhysicalFileProvider(Path.GetFullPath(root)) : null;
}
