using System.Collections.Concurrent;
using Api.Tests.Events;
using Contracts;

namespace Api.Tests.Replicas;

/// <summary>Follows a project's event stream from its beginning as a browser does: whenever it breaks, it is opened again after the last id.</summary>
public sealed class EventFollower : IAsyncDisposable
{
    private static readonly TimeSpan _pause = TimeSpan.FromMilliseconds(50);
    private readonly CancellationTokenSource _ends = new();
    private readonly ConcurrentQueue<EventView> _events = new();
    private readonly Task _reading;

    public EventFollower(HttpClient http) => _reading = ReadAsync(http);

    public IReadOnlyList<EventView> Events => [.. _events];
    public int Opened { get; private set; }

    private async Task ReadAsync(HttpClient http)
    {
        var last = "0";
        using var timer = new PeriodicTimer(_pause);
        do
        {
            try
            {
                using var reader = await EventReader.OpenAsync(http, lastId: last, ct: _ends.Token);
                Opened++;
                try
                {
                    while (await reader.NextAsync(_ends.Token) is { } told) _events.Enqueue(told);
                }
                finally
                {
                    last = reader.LastId ?? last;
                }
            }
            catch (Exception e) when (e is HttpRequestException or IOException or OperationCanceledException)
            {
                // Its replica has gone, or there is none right now.
            }
        }
        while (await timer.WaitForNextTickAsync(_ends.Token).AsTask().ContinueWith(t => t.IsCompletedSuccessfully, TaskScheduler.Default));
    }

    public async ValueTask DisposeAsync()
    {
        await _ends.CancelAsync();
        await _reading;
        _ends.Dispose();
    }
}
