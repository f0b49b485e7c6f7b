using System.Text.Json;
using Api.Data;
using Api.Http;
using Contracts;
using Microsoft.EntityFrameworkCore;
using Npgsql;

namespace Api.Faults;

public static class FaultEndpoints
{
    public static void MapFaults(this IEndpointRouteBuilder routes) =>
        routes.MapGet("/v1/sandboxes/{id:guid}/faults", ListAsync).WithTags("Faults")
            .WithSummary("Stored samples, oldest first; the last 15 minutes unless from is given; next goes on with after. A value that could not be observed is null with its reason, never 0.")
            .Produces<Page<FaultSampleView>>().ProducesProblem(404).ProducesProblem(422);

    private static async Task<IResult> ListAsync(Guid id, HttpContext http, SandboxDb db, NpgsqlDataSource source, TimeProvider time, CancellationToken ct,
        DateTimeOffset? from = null, DateTimeOffset? to = null, DateTimeOffset? after = null, int limit = 900)
    {
        if (limit is < 1 or > Paging.MaxLimit) return Paging.LimitProblem();
        var project = http.User.ProjectId();
        if (!await db.Sandboxes.AnyAsync(s => s.Id == id && s.ProjectId == project, ct)) return ApiProblem.SandboxNotFound();
        var until = to ?? time.GetUtcNow().AddMinutes(1);
        var since = from ?? time.GetUtcNow().AddMinutes(-15);
        if (after > since) since = after.Value;
        if (since > until) return ApiProblem.Validation(new Dictionary<string, string[]> { ["from"] = ["takes a time before to"] });

        await using var command = source.CreateCommand("SELECT at, incarnation, readings FROM fault_samples WHERE sandbox_id = $1 AND at >= $2 AND at < $3 AND ($5::timestamptz IS NULL OR at > $5) ORDER BY at LIMIT $4");
        command.Parameters.Add(new() { Value = id });
        command.Parameters.Add(new() { Value = since.UtcDateTime });
        command.Parameters.Add(new() { Value = until.UtcDateTime });
        command.Parameters.Add(new() { Value = limit + 1 });
        command.Parameters.Add(new() { Value = after is { } last ? last.UtcDateTime : DBNull.Value, NpgsqlDbType = NpgsqlTypes.NpgsqlDbType.TimestampTz });
        var items = new List<FaultSampleView>();
        await using var reader = await command.ExecuteReaderAsync(ct);
        while (await reader.ReadAsync(ct))
            items.Add(new FaultSampleView(new DateTimeOffset(reader.GetDateTime(0), TimeSpan.Zero), reader.GetInt32(1),
                JsonSerializer.Deserialize<List<SourceReading>>(reader.GetString(2), JsonSerializerOptions.Web)!));
        return Results.Ok(new Page<FaultSampleView>(items.Take(limit).ToList(), items.Count > limit ? items[limit - 1].At.UtcDateTime.ToString("O") : null));
    }
}
