using Api.Data;
using Microsoft.EntityFrameworkCore;
using Microsoft.EntityFrameworkCore.Design;

namespace Migrations;

public static class Database
{
    public static async Task MigrateAsync(string connectionString, CancellationToken ct)
    {
        await using var db = Open(connectionString);
        await db.Database.MigrateAsync(ct);
    }

    public static SandboxDb Open(string connectionString)
    {
        var options = new DbContextOptionsBuilder<SandboxDb>();
        SandboxDb.Configure(options, connectionString);
        return new SandboxDb(options.Options);
    }
}

/// <summary>For the tool that writes migrations: it needs a model, not a database.</summary>
public sealed class DesignTime : IDesignTimeDbContextFactory<SandboxDb>
{
    public SandboxDb CreateDbContext(string[] args) => Database.Open("Host=localhost;Database=design");
}
