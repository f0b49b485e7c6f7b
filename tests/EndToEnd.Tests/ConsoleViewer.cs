using System.Text;
using Contracts;
using Microsoft.AspNetCore.SignalR.Client;
using Testing;

namespace EndToEnd.Tests;

/// <summary>One viewer of a sandbox's serial console, as the page is one: everything from the console's beginning on.</summary>
public sealed class ConsoleViewer : IAsyncDisposable
{
    private readonly StringBuilder _seen = new();
    private readonly CancellationTokenSource _end = new();
    private readonly Task _watching;

    private ConsoleViewer(HubConnection hub, Guid sandbox) => (Hub, _watching) = (hub, WatchAsync(hub, sandbox));

    public HubConnection Hub { get; }

    public string Text
    {
        get
        {
            lock (_seen)
                return _seen.ToString();
        }
    }

    public static async Task<HubConnection> ConnectAsync(RunningService service)
    {
        var hub = new HubConnectionBuilder().WithUrl(service.BaseAddress + DashboardHubContract.Path, o => o.AccessTokenProvider = () => Task.FromResult<string?>(service.AdminKey)).Build();
        await hub.StartAsync();
        return hub;
    }

    public static async Task<ConsoleViewer> OpenAsync(RunningService service, Guid sandbox) => new(await ConnectAsync(service), sandbox);

    public async Task UntilAsync(string text, TimeSpan? deadline = null)
    {
        try
        {
            await Eventually.Async(() => Text.Contains(text, StringComparison.Ordinal), $"the console shows '{text}'", deadline ?? RunningService.Patience);
        }
        catch (TimeoutException problem)
        {
            throw new TimeoutException($"{problem.Message}; it shows:\n{Text}", problem);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _end.CancelAsync();
        await _watching;
        await Hub.DisposeAsync();
        _end.Dispose();
    }

    private async Task WatchAsync(HubConnection hub, Guid sandbox)
    {
        try
        {
            await foreach (var frame in hub.StreamAsync<ConsoleFrame>("Console", sandbox, 0L, _end.Token))
                lock (_seen)
                    _seen.Append(Encoding.UTF8.GetString(frame.Data ?? []));
        }
        catch (OperationCanceledException)
        {
            // The test has seen enough.
        }
    }
}
