using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using Contracts;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Worker.Sync;
using Xunit;

namespace Worker.Tests.Sync;

public sealed class JoinNodeTests : IDisposable
{
    private static readonly Guid _installation = Guid.NewGuid();
    private static readonly string _nodeToken = "sbn_" + new string('n', 43), _joinToken = "sbj_" + new string('j', 43);
    private static readonly string _joined = $$"""{"nodeId":"{{Guid.NewGuid()}}","name":"altra-1","token":"{{_nodeToken}}"}""";
    private readonly TemporaryDirectory _directory = new();
    private readonly Warnings _log = new();

    public void Dispose() => _directory.Dispose();

    private string TokenFile => _directory.Of("node.token");

    private JoinNode Join(string url, string? joinToken = null)
    {
        File.WriteAllText(_directory.Of("join.token"), (joinToken ?? _joinToken) + "\n");
        return new JoinNode(url, _directory.Of("join.token"), TokenFile, _installation, TimeProvider.System, _log);
    }

    [Fact]
    public async Task Run_WhenTheApiTakesIt_StoresTheNodesToken()
    {
        await using var api = await Api.StartAsync((201, _joined));
        // Left by a crash, open to all.
        await File.WriteAllTextAsync(TokenFile + ".new", "half", TestContext.Current.CancellationToken);
        var joined = Assert.IsType<JoinOutcome.Joined>(await Join(api.Url).RunAsync(TestContext.Current.CancellationToken));
        Assert.Equal("altra-1", joined.Name);
        Assert.Equal($"POST /v1/nodes/join Bearer {_joinToken} {{\"installation\":\"{_installation}\"}}", Assert.Single(api.Requests));
        Assert.Equal(_nodeToken + "\n", await File.ReadAllTextAsync(TokenFile, TestContext.Current.CancellationToken));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(TokenFile));
        Assert.False(File.Exists(TokenFile + ".new"));

        Assert.IsType<JoinOutcome.HasToken>(await Join(api.Url).RunAsync(TestContext.Current.CancellationToken));
        Assert.Single(api.Requests);
    }

    [Fact]
    public async Task Run_WhenTheApiFails_AsksAgain()
    {
        await using var api = await Api.StartAsync((503, "{}"), (500, "oops"), (201, _joined));
        Assert.IsType<JoinOutcome.Joined>(await Join(api.Url).RunAsync(TestContext.Current.CancellationToken));
        Assert.Equal(3, api.Requests.Count);
    }

    [Fact]
    public async Task Run_WhenTheApiCannotBeReached_WaitsForIt()
    {
        string url;
        using (var free = new TcpListener(IPAddress.Loopback, 0))
        {
            free.Start();
            url = $"http://127.0.0.1:{((IPEndPoint)free.LocalEndpoint).Port}";
        }
        var joining = Join(url).RunAsync(TestContext.Current.CancellationToken);
        await _log.First.Task.WaitAsync(TimeSpan.FromSeconds(20), TestContext.Current.CancellationToken);
        await using var api = await Api.StartAtAsync(url, (201, _joined));
        Assert.IsType<JoinOutcome.Joined>(await joining);
    }

    [Fact]
    public async Task Run_WhenItIsEnded_Ends()
    {
        using var end = new CancellationTokenSource();
        await using var api = await Api.StartAsync((503, "{}"));
        var joining = Join(api.Url).RunAsync(end.Token);
        await _log.First.Task.WaitAsync(TimeSpan.FromSeconds(20), TestContext.Current.CancellationToken);
        await end.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => joining.WaitAsync(TimeSpan.FromSeconds(20), TestContext.Current.CancellationToken));
        Assert.False(File.Exists(TokenFile));
    }

    [Theory]
    [InlineData(401, """{"code":"join_token_invalid","detail":"Expired."}""", "join_token_invalid", "Expired.")]
    [InlineData(401, "", "join_token_invalid", "The API does not know that join token.")]
    [InlineData(409, """{"code":"join_token_used","detail":"Used."}""", "join_token_used", "Used.")]
    [InlineData(409, """{"code":"node_in_use","detail":"In use."}""", "node_in_use", "In use.")]
    [InlineData(409, """{"code":"node_exists"}""", "node_exists", "The API refuses.")]
    [InlineData(404, "<html>", "UnexpectedAnswer", null)]
    [InlineData(307, "", "UnexpectedAnswer", null)]
    [InlineData(200, """{"token":"sbn_x"}""", "UnexpectedAnswer", null)]
    [InlineData(201, "", "UnexpectedAnswer", null)]
    [InlineData(201, """{"nodeId":"00000000-0000-0000-0000-000000000001","name":"n","token":"sbn_a\r\nX: y"}""", "UnexpectedAnswer", null)]
    [InlineData(201, """{"nodeId":"00000000-0000-0000-0000-000000000001","name":"n","token":null}""", "UnexpectedAnswer", null)]
    public async Task Run_WhenRefused_SaysWhyAndStoresNothing(int status, string body, string code, string? message)
    {
        await using var api = await Api.StartAsync((status, body));
        var refused = Assert.IsType<JoinOutcome.Refused>(await Join(api.Url).RunAsync(TestContext.Current.CancellationToken));
        Assert.Equal(code, refused.Code);
        if (message is not null) Assert.Equal(message, refused.Message);
        Assert.NotEmpty(refused.Remedy);
        Assert.Single(api.Requests);
        Assert.False(File.Exists(TokenFile));
    }

    [Fact]
    public async Task Run_WhenTheAnswerIsTooLong_TakesNothingOfIt()
    {
        await using var api = await Api.StartAsync((201, new string(' ', 20_000) + _joined));
        Assert.Equal("UnexpectedAnswer", Assert.IsType<JoinOutcome.Refused>(await Join(api.Url).RunAsync(TestContext.Current.CancellationToken)).Code);
        Assert.False(File.Exists(TokenFile));
    }

    [Theory]
    [InlineData("")]
    [InlineData("sbn_wrongkind")]
    [InlineData("sbj_two\nlines")]
    public async Task Run_WhenTheJoinTokenIsNone_AsksNobody(string token)
    {
        await using var api = await Api.StartAsync((201, _joined));
        Assert.Equal("JoinTokenUnreadable", Assert.IsType<JoinOutcome.Refused>(await Join(api.Url, token).RunAsync(TestContext.Current.CancellationToken)).Code);
        Assert.Empty(api.Requests);
    }

    private sealed class Warnings : ILogger
    {
        public TaskCompletionSource First { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;
        public bool IsEnabled(LogLevel logLevel) => true;
        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            if (logLevel == LogLevel.Warning) First.TrySetResult();
        }
    }

    /// <summary>Answers what the test says, the last answer from then on.</summary>
    private sealed class Api(WebApplication app) : IAsyncDisposable
    {
        public ConcurrentQueue<string> Requests { get; } = new();
        public string Url { get; private set; } = "";

        public static Task<Api> StartAsync(params (int Status, string Body)[] answers) => StartAtAsync("http://127.0.0.1:0", answers);

        public static async Task<Api> StartAtAsync(string url, params (int Status, string Body)[] answers)
        {
            var builder = WebApplication.CreateSlimBuilder();
            builder.Logging.SetMinimumLevel(LogLevel.Error);
            builder.WebHost.UseUrls(url);
            var app = builder.Build();
            var api = new Api(app);
            app.Run(async http =>
            {
                using var reader = new StreamReader(http.Request.Body);
                api.Requests.Enqueue($"{http.Request.Method} {http.Request.Path} {http.Request.Headers.Authorization} {await reader.ReadToEndAsync()}");
                var (status, body) = answers[Math.Min(api.Requests.Count, answers.Length) - 1];
                http.Response.StatusCode = status;
                if (status == 307) http.Response.Headers.Location = "/elsewhere";
                await http.Response.WriteAsync(body);
            });
            await app.StartAsync();
            api.Url = app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First();
            return api;
        }

        public ValueTask DisposeAsync() => app.DisposeAsync();
    }
}
