using System.Net;
using System.Text;
using Contracts;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Worker.Sync;
using Xunit;

namespace Worker.Tests.Sync;

/// <summary>Two tokens of which one is good, wherever the worker crashes.</summary>
public sealed class NodeTokenTests : IDisposable
{
    private const string Old = "sbn_old", Next = "sbn_next";
    private readonly TemporaryDirectory _directory = new();

    public NodeTokenTests() => File.WriteAllText(TokenFile, Old + "\n");

    public void Dispose() => _directory.Dispose();

    private string TokenFile => _directory.Of("node.token");

    [Fact]
    public async Task Fetched_IsShownFirst_AndIsTheOnlyOneOnceItWasTaken()
    {
        var token = new NodeToken(TokenFile);
        Assert.Equal(Old, await token.ReadAsync());
        token.Fetch(Next);
        Assert.Equal((Old + "\n", UnixFileMode.UserRead | UnixFileMode.UserWrite), (await File.ReadAllTextAsync(TokenFile, TestContext.Current.CancellationToken), File.GetUnixFileMode(TokenFile + ".next")));
        Assert.Equal((Next, true), (await token.ReadAsync(), token.IsFetched));
        token.Taken();
        Assert.Equal((Next, false, UnixFileMode.UserRead | UnixFileMode.UserWrite), (await token.ReadAsync(), File.Exists(TokenFile + ".next"), File.GetUnixFileMode(TokenFile)));
        token.Taken();
        Assert.Equal(Next, await token.ReadAsync());
    }

    [Fact]
    public async Task Refused_TheOtherIsShown_AndWhatWasTakenStays()
    {
        var token = new NodeToken(TokenFile);
        token.Fetch(Next);
        await token.ReadAsync();
        Assert.True(token.Refused());
        Assert.Equal(Old, await token.ReadAsync());
        // Neither was taken yet: nothing is thrown away, and it begins anew.
        Assert.False(token.Refused());
        Assert.Equal(Next, await token.ReadAsync());
        Assert.True(token.Refused());
        await token.ReadAsync();
        token.Taken();
        Assert.Equal((Old, false), (await token.ReadAsync(), File.Exists(TokenFile + ".next")));
        Assert.False(token.Refused());
    }

    /// <summary>Whatever an API has taken and answered when the worker dies, one of the two tokens is good to it, and the worker finds it.</summary>
    [Theory]
    // The answer with the token was lost; it was stored and not shown; it was shown, and the answer was lost; it was answered.
    [InlineData(false, Old)]
    [InlineData(true, Old)]
    [InlineData(true, Next)]
    public async Task Crash_AtAnyPoint_LeavesAGoodToken(bool stored, string good)
    {
        if (stored)
            new NodeToken(TokenFile).Fetch(Next);
        var afterwards = new NodeToken(TokenFile);
        for (var attempt = 0; await afterwards.ReadAsync() != good; attempt++)
        {
            Assert.True(attempt < 2, "no good token is shown");
            afterwards.Refused();
        }
        afterwards.Taken();
        Assert.Equal((good + "\n", false), (await File.ReadAllTextAsync(TokenFile, TestContext.Current.CancellationToken), File.Exists(TokenFile + ".next")));
    }

    [Theory]
    [InlineData("sbn_abc-_9", true)]
    [InlineData("sbj_abc", false)]
    [InlineData("sbn_a b", false)]
    [InlineData("sbn_a\nb", false)]
    [InlineData(null, false)]
    public void HasForm_Table(string? text, bool expected) => Assert.Equal(expected, NodeToken.HasForm(text, out _));

    [Theory]
    [InlineData("""{"code":"node_decommissioned"}""", "node_decommissioned")]
    [InlineData("""{"code":"node_token_revoked"}""", "node_token_revoked")]
    [InlineData("""{"code":"node_token_replaced"}""", "node_token_replaced")]
    [InlineData("""{"code":"unauthenticated"}""", "node_token_unknown")]
    [InlineData("""{"code":7}""", "node_token_unknown")]
    [InlineData("[]", "node_token_unknown")]
    [InlineData("<html>", "node_token_unknown")]
    [InlineData("", "node_token_unknown")]
    public void ReasonOf_Table(string body, string expected) => Assert.Equal(expected, TokenRefusal.ReasonOf(Encoding.UTF8.GetBytes(body)).Code);

    [Fact]
    public async Task Open_WhenTheNodeWasDecommissioned_EndsWithThatReason_AfterBothTokensWereTried()
    {
        var shown = new List<string>();
        await using var api = await StartAsync(http =>
        {
            lock (shown)
                shown.Add(http.Request.Headers.Authorization.ToString());
            http.Response.StatusCode = (int)HttpStatusCode.Unauthorized;
            return http.Response.WriteAsync("""{"code":"node_decommissioned"}""");
        });
        var token = new NodeToken(TokenFile);
        token.Fetch(Next);
        var connection = new ApiConnection(new Uri(new Uri(api.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First()), NodeProtocol.HubPath), token, TimeProvider.System, NullLogger.Instance);
        await using var hub = connection.Build();
        var reason = await connection.OpenAsync(hub, TestContext.Current.CancellationToken).WaitAsync(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken);
        Assert.Equal("node_decommissioned", reason?.Code);
        Assert.Equal([$"Bearer {Next}", $"Bearer {Old}"], shown.Distinct());
    }

    private static async Task<WebApplication> StartAsync(RequestDelegate answer)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.SetMinimumLevel(LogLevel.Error);
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        var app = builder.Build();
        app.Run(answer);
        await app.StartAsync();
        return app;
    }
}
