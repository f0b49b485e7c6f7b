using System.Globalization;
using System.Net.Mime;
using System.Security.Claims;
using System.Text;
using System.Text.Json;
using Api.Dashboard;
using Api.Data;
using Api.Http;
using Microsoft.EntityFrameworkCore;
using Microsoft.Extensions.Hosting;

namespace Api.Events;

/// <summary>Events as Server-Sent Events. Written by hand: the framework's writer has neither comments nor a block that only sets the reader's last id.
/// Guarantees: each event after the reader's number once, in order; the id of a block is the number to resume after, and it moves on with each heartbeat even when a filter lets nothing through.
/// Ends when the service stops, when the key is gone, or when the reader is; a reader that comes back with its last id, to whichever replica, misses nothing.
/// Assumes: the signal may be late or lost, so the database is read again at each heartbeat.</summary>
public static class EventStream
{
    public static readonly TimeSpan Heartbeat = TimeSpan.FromSeconds(15);
    private const int Batch = 200;

    public static async Task<IResult> GetAsync(HttpContext http, IServiceScopeFactory scopes, EventSignal signal, EventStreams streams, OpenConnections connections, IHostApplicationLifetime host, TimeProvider time,
        CancellationToken ct, long? after = null, Guid? sandbox = null, string[]? type = null)
    {
        if (after < 0) return ApiProblem.Validation("after", "takes a number of at least 0");
        if (EventFilter.Problem(type) is { } problem) return ApiProblem.Validation("type", problem);
        if (http.Request.Headers["Last-Event-ID"] is [{ Length: > 0 } last, ..])
        {
            // What a reader got last counts for more than where it once began.
            if (!long.TryParse(last, NumberStyles.None, CultureInfo.InvariantCulture, out var number)) return ApiProblem.Validation("Last-Event-ID", "takes the id of an event of this stream");
            after = number;
        }
        var project = http.User.ProjectId();
        long from;
        await using (var scope = scopes.CreateAsyncScope())
        {
            var db = scope.ServiceProvider.GetRequiredService<SandboxDb>();
            from = after ?? await EventReading.LastNumberAsync(db, project, ct);
            if (await EventReading.ReadAsync(db, project, from, null, null, 1, ct) is EventReading.Reading.Expired expired) return EventEndpoints.Expired(expired);
        }
        var actor = http.User.ActorId();
        if (!streams.TryOpen(actor)) return ApiProblem.Of(429, "too_many_streams", $"A key has at most {EventStreams.MostOfAKey} event streams open; close one first.");
        var id = $"events {http.Connection.Id} {http.TraceIdentifier}";
        using var ends = CancellationTokenSource.CreateLinkedTokenSource(ct, host.ApplicationStopping);
        // A watch that has just looked may hold it a moment longer than the stream is open.
        connections.Add(id, http.User, () => Abort(ends), time.GetUtcNow());
        try
        {
            await WriteAsync(http, scopes, signal, time, new(project, type is null or [] ? null : EventFilter.Like(type), sandbox), from, ends.Token);
        }
        catch (OperationCanceledException) when (ends.IsCancellationRequested)
        {
            // The reader has gone, may not read any more, or is to come back to another replica.
        }
        finally
        {
            connections.Remove(id);
            streams.Close(actor);
        }
        return Results.Empty;
    }

    private static void Abort(CancellationTokenSource stream)
    {
        try
        {
            stream.Cancel();
        }
        catch (ObjectDisposedException)
        {
            // It has ended by itself.
        }
    }

    private sealed record Wanted(Guid Project, string[]? Like, Guid? Subject);

    private static async Task WriteAsync(HttpContext http, IServiceScopeFactory scopes, EventSignal signal, TimeProvider time, Wanted wanted, long from, CancellationToken ct)
    {
        http.Response.ContentType = MediaTypeNames.Text.EventStream;
        http.Response.Headers["X-Accel-Buffering"] = "no";
        // Asked by HEAD: there is nobody to write to.
        if (http.Response.Body == Stream.Null) return;
        var text = new StringBuilder();
        // Even a reader that is cut off before the first event knows where to go on.
        AppendHeartbeat(text, from);
        var beat = time.GetTimestamp();
        while (true)
        {
            var next = signal.Next(wanted.Project);
            await using (var scope = scopes.CreateAsyncScope())
            {
                var db = scope.ServiceProvider.GetRequiredService<SandboxDb>();
                var last = await EventReading.LastNumberAsync(db, wanted.Project, ct);
                if (await EventReading.ReadAsync(db, wanted.Project, from, wanted.Like, wanted.Subject, Batch, ct) is not EventReading.Reading.Rows { Events: var rows }) return;
                foreach (var row in rows) Append(text, row);
                from = rows.Count == 0 ? Math.Max(from, last) : rows.Count < Batch ? Math.Max(rows[^1].Number, last) : rows[^1].Number;
                if (rows.Count == Batch) next = Task.CompletedTask;
            }
            if (text.Length == 0 && time.GetElapsedTime(beat) >= Heartbeat) AppendHeartbeat(text, from);
            if (text.Length > 0)
            {
                await http.Response.WriteAsync(text.ToString(), ct);
                await http.Response.Body.FlushAsync(ct);
                text.Clear();
                beat = time.GetTimestamp();
            }
            var left = Heartbeat - time.GetElapsedTime(beat);
            if (left > TimeSpan.Zero) await signal.WaitAsync(next, left, ct);
        }
    }

    // No event field: every event is a "message", so that a reader needs no list of types.
    private static void Append(StringBuilder text, Event row) =>
        text.Append(CultureInfo.InvariantCulture, $"id: {row.Number}\ndata: {JsonSerializer.Serialize(row.ToView(), JsonSerializerOptions.Web)}\n\n");

    private static void AppendHeartbeat(StringBuilder text, long from) => text.Append(CultureInfo.InvariantCulture, $": heartbeat\nid: {from}\n\n");
}
