using Api.Data;
using Microsoft.EntityFrameworkCore;
using Npgsql;

namespace Api.Http;

public static class Health
{
    /// <summary>Open to all: 200 when the database answers, else 503. Says nothing more.</summary>
    public static void MapHealth(this IEndpointRouteBuilder routes) => routes.MapGet("/health", async (SandboxDb db, CancellationToken ct) =>
    {
        try
        {
            await db.Database.ExecuteSqlAsync($"SELECT 1", ct);
            return Results.Ok(new { status = "ok" });
        }
        catch (Exception e) when (e is NpgsqlException or TimeoutException or InvalidOperationException)
        {
            return Results.Json(new { status = "database_unavailable" }, statusCode: 503);
        }
    }).AllowAnonymous().WithTags("Health").WithSummary("Whether the service and its database answer.");
}
