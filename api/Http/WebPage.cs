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

    /// <summary>Addresses of the page's own router get the page; unknown API addresses get a problem, after sign-in.</summary>
    public static void MapFallback(WebApplication app)
    {
        foreach (var prefix in (string[])["/v1", "/hubs", "/openapi"])
            app.Map($"{prefix}/{{**rest}}", () => ApiProblem.Of(404, "not_found", "There is nothing at this address.")).RequireAuthorization().ExcludeFromDescription();
        if (Files(app) is { } files)
            app.MapFallbackToFile("index.html", new StaticFileOptions { FileProvider = files }).AllowAnonymous();
    }

    private static PhysicalFileProvider? Files(WebApplication app) =>
        app.Configuration["Web:Root"] is { Length: > 0 } root && Directory.Exists(root) ? new PhysicalFileProvider(Path.GetFullPath(root)) : null;
}
