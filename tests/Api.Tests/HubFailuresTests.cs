using System.Collections.Concurrent;
using Api.Http;
using Contracts;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.SignalR;
using Microsoft.AspNetCore.SignalR.Client;
using Microsoft.Extensions.Logging;
using Xunit;

namespace Api.Tests;

/// <summary>What hubs refuse is not the log's to grow with; what fails in them is told.</summary>
public sealed class HubFailuresTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    [Fact]
    public async Task Log_HasWhatFailed_NotWhatWasRefused()
    {
        using var lines = new Lines();
        await using var api = service.NewReplica().WithWebHostBuilder(b => b.ConfigureLogging(l => l.AddProvider(lines)));
        await using var node = new StandInNode(api, service.NodeToken, 0) { Installation = service.Installation };
        await node.StartAsync();
        for (var i = 0; i < 10; i++)
            await Assert.ThrowsAsync<HubException>(() => node.Connection.InvokeAsync<NodePlan>(NodeProtocol.Sync, node.Report() with { Installation = Guid.Empty }));
        await using (var second = new StandInNode(api, service.NodeToken, 0) { Installation = Guid.NewGuid() })
            for (var i = 0; i < 10; i++)
                await Assert.ThrowsAsync<HubException>(i == 0 ? second.StartAsync : second.SyncAsync);
        Assert.Equal(1, lines.Count("another machine"));
        Assert.Equal(0, lines.Count("invalid_report") + lines.Count("Failed to invoke") + lines.Count("Sync failed"));

        var tooMuch = node.Report() with { Images = [.. Enumerable.Range(0, 257).Select(n => new ReportedImage($"i{n}", "sha256:00", "arm64", "6.12", true, 1))] };
        await Assert.ThrowsAsync<HubException>(() => node.Connection.InvokeAsync<NodePlan>(NodeProtocol.Sync, tooMuch));
        Assert.Equal(1, lines.Count("NodeHub.Sync failed"));
    }

    [Theory]
    [InlineData(false, 1)]
    [InlineData(true, 0)]
    public async Task Told_OfAStream_LogsWhatFails(bool refused, int expected)
    {
        using var lines = new Lines();
        using var factory = new LoggerFactory([lines]);
        var read = new List<int>();
        await Assert.ThrowsAnyAsync<Exception>(async () =>
        {
            await foreach (var one in new HubFailures(factory.CreateLogger<HubFailures>()).Told("Numbers", NumbersAsync(), CancellationToken.None)) read.Add(one);
        });
        Assert.Equal([1, 2], read);
        Assert.Equal(expected, lines.Count("Numbers failed"));

        async IAsyncEnumerable<int> NumbersAsync()
        {
            yield return 1;
            await Task.Yield();
            yield return 2;
            throw refused ? new HubException("no") : new InvalidOperationException("a defect");
        }
    }

    private sealed class Lines : ILoggerProvider, ILogger
    {
        private readonly ConcurrentQueue<string> _lines = new();
        public int Count(string text) => _lines.Count(l => l.Contains(text, StringComparison.Ordinal));
        public ILogger CreateLogger(string categoryName) => this;
        public void Dispose() { }
        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => NullScope.Instance;
        public bool IsEnabled(LogLevel logLevel) => true;
        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            _lines.Enqueue($"{formatter(state, exception)} {exception?.Message}");

        private sealed class NullScope : IDisposable
        {
            public static readonly NullScope Instance = new();
            public void Dispose() { }
        }
    }
}
