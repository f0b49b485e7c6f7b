using System.Collections.Concurrent;
using System.Net;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Xunit;

namespace Api.Tests.Images;

/// <summary>A real HTTP server on a loopback address that gives what the test says.</summary>
public sealed class FileServer : IAsyncDisposable
{
    private readonly WebApplication _app;

    private FileServer(WebApplication app) => _app = app;

    public ConcurrentDictionary<string, Func<HttpContext, Task>> Answers { get; } = new();
    public ConcurrentQueue<string> Asked { get; } = new();
    public string Url { get; private set; } = "";

    public static async Task<FileServer> StartAsync()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(o => o.Listen(IPAddress.Loopback, 0));
        var server = new FileServer(builder.Build());
        server._app.MapGet("/{name}", server.AnswerAsync);
        await server._app.StartAsync(TestContext.Current.CancellationToken);
        server.Url = $"http://127.0.0.1:{new Uri(server._app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.Single()).Port}";
        return server;
    }

    public void Give(string name, byte[] bytes) => Answers[name] = async http =>
    {
        http.Response.ContentLength = bytes.Length;
        await http.Response.Body.WriteAsync(bytes, http.RequestAborted);
    };

    private Task AnswerAsync(HttpContext http)
    {
        var name = (string)http.Request.RouteValues["name"]!;
        Asked.Enqueue(name);
        if (Answers.TryGetValue(name, out var answer)) return answer(http);
        http.Response.StatusCode = 404;
        return Task.CompletedTask;
    }

    public async ValueTask DisposeAsync()
    {
        using var now = new CancellationTokenSource();
        await now.CancelAsync();
        await _app.StopAsync(now.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await _app.DisposeAsync();
    }
}
