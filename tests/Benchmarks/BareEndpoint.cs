using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Benchmarks;

/// <summary>The least a service can do for a POST: read the body, one INSERT, answer. In a process of its own, on the same database server.</summary>
internal static class BareEndpoint
{
    internal sealed record Row(string Name, string Image, int MemoryMib);

    public static async Task<int> ServeAsync(string connectionFile, string url)
    {
        await using var database = NpgsqlDataSource.Create((await File.ReadAllTextAsync(connectionFile)).Trim());
        await using (var table = database.CreateCommand("create table if not exists bare_row (id uuid primary key, name text not null, image text not null, memory_mib integer not null, created_at timestamptz not null default now())"))
            await table.ExecuteNonQueryAsync();
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.SetMinimumLevel(LogLevel.Warning);
        builder.WebHost.UseUrls(url);
        var app = builder.Build();
        app.MapGet("/health", () => "ok");
        app.MapPost("/rows", async (Row row, CancellationToken ct) =>
        {
            var id = Guid.CreateVersion7();
            await using var insert = database.CreateCommand("insert into bare_row (id, name, image, memory_mib) values ($1, $2, $3, $4)");
            foreach (var value in (object[])[id, row.Name, row.Image, row.MemoryMib])
                insert.Parameters.AddWithValue(value);
            await insert.ExecuteNonQueryAsync(ct);
            return TypedResults.Created($"/rows/{id}", new { id, row.Name });
        });
        await app.RunAsync();
        return 0;
    }
}
