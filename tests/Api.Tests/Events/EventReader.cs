using System.Text.Json;
using Contracts;

namespace Api.Tests.Events;

/// <summary>Reads an event stream as a browser does: the last id is kept also of blocks without data, comments are counted and left out.</summary>
public sealed class EventReader : IDisposable
{
    private readonly HttpResponseMessage _response;
    private readonly StreamReader _reader;

    private EventReader(HttpResponseMessage response, Stream body) => (_response, _reader) = (response, new StreamReader(body));

    public string? LastId { get; private set; }
    public int Comments { get; private set; }

    public static async Task<EventReader> OpenAsync(HttpClient client, string query = "", string? lastId = null, CancellationToken ct = default)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, $"/v1/events/stream{query}");
        if (lastId is not null) request.Headers.Add("Last-Event-ID", lastId);
        var response = await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, ct);
        response.EnsureSuccessStatusCode();
        return new EventReader(response, await response.Content.ReadAsStreamAsync(ct));
    }

    /// <summary>The next event; null: the stream has ended.</summary>
    public async Task<EventView?> NextAsync(CancellationToken ct)
    {
        string? data = null;
        while (await _reader.ReadLineAsync(ct) is { } line)
        {
            if (line.StartsWith(':')) Comments++;
            else if (line.StartsWith("id: ", StringComparison.Ordinal)) LastId = line[4..];
            else if (line.StartsWith("data: ", StringComparison.Ordinal)) data = line[6..];
            else if (line.Length == 0 && data is not null) return JsonSerializer.Deserialize<EventView>(data, JsonSerializerOptions.Web);
        }
        return null;
    }

    /// <summary>Reads whole lines until there has been one more comment.</summary>
    public async Task HeartbeatAsync(CancellationToken ct)
    {
        for (var had = Comments; Comments == had;)
        {
            if (await _reader.ReadLineAsync(ct) is not { } line) throw new IOException("the stream has ended");
            if (line.StartsWith(':')) Comments++;
        }
        if (await _reader.ReadLineAsync(ct) is { } id && id.StartsWith("id: ", StringComparison.Ordinal)) LastId = id[4..];
        await _reader.ReadLineAsync(ct);
    }

    public void Dispose()
    {
        _reader.Dispose();
        _response.Dispose();
    }
}
