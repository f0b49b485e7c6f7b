using Api.Events;
using Contracts;
using Microsoft.EntityFrameworkCore;
using Microsoft.EntityFrameworkCore.Infrastructure;
using Microsoft.EntityFrameworkCore.Migrations;
using Npgsql;
using Testing;
using Xunit;

namespace Api.Tests.Events;

public sealed class EventMigrationTests
{
    private static readonly Guid _operators = Guid.Parse("00000000-0000-0000-0000-000000000001"), _tenant = Guid.Parse("00000000-0000-0000-0000-000000000002");

    /// <summary>Numbers begin anew in each project, in the order of old; what was everybody's is the operators'; the next number follows. And back.</summary>
    [Fact]
    public async Task EventNumbers_OfEventsThatWereThereBefore_AreTheProjectsOwn()
    {
        var ct = TestContext.Current.CancellationToken;
        var name = $"upgrade_{Guid.NewGuid():N}";
        await ExecuteAsync(Surroundings.Postgres, $"CREATE DATABASE {name}");
        var connection = new NpgsqlConnectionStringBuilder(Surroundings.Postgres) { Database = name, Pooling = false }.ConnectionString;
        try
        {
            await using var db = Migrations.Database.Open(connection);
            await db.GetService<IMigrator>().MigrateAsync("OperatingProject", ct);
            await ExecuteAsync(connection, $"""
                INSERT INTO projects (id, name, max_sandboxes, operates) VALUES ('{_operators}', 'default', 1, true), ('{_tenant}', 'tenant', 1, false);
                INSERT INTO events (project_id, at, type, reason, message) VALUES
                  (NULL, now(), 'node.joined', 'r', 'first'), ('{_tenant}', now(), 'sandbox.created', 'r', 'second'), ('{_operators}', now(), 'sandbox.created', 'r', 'third'), ('{_tenant}', now(), 'sandbox.deleted', 'r', 'fourth');
                """);
            await db.Database.MigrateAsync(ct);
            Assert.Equal([(1, "first"), (2, "third")], await OfAsync(db, _operators));
            Assert.Equal([(1, "second"), (2, "fourth")], await OfAsync(db, _tenant));
            db.Events.Add(Event.Infrastructure(EventType.NodePhase, Guid.NewGuid(), "n", "r", "fifth", DateTimeOffset.UnixEpoch));
            await db.SaveChangesAsync(ct);
            Assert.Equal((3, "fifth"), (await OfAsync(db, _operators))[^1]);

            await db.GetService<IMigrator>().MigrateAsync("OperatingProject", ct);
            Assert.Equal([1L, 2L, 3L, 4L, 5L], await db.Database.SqlQuery<long>($"SELECT number AS \"Value\" FROM events ORDER BY number").ToListAsync(ct));
            Assert.Equal(5, (await db.Database.SqlQuery<long>($"SELECT last_number AS \"Value\" FROM event_counter").ToListAsync(ct)).Single());
        }
        finally
        {
            await PostgresFixture.DropAsync(name);
        }
    }

    private static async Task<List<(long, string)>> OfAsync(Api.Data.SandboxDb db, Guid project) =>
        (await db.Events.AsNoTracking().Where(e => e.ProjectId == project).OrderBy(e => e.Number).ToListAsync(TestContext.Current.CancellationToken)).ConvertAll(e => (e.Number, e.Message));

    private static async Task ExecuteAsync(string connectionString, string sql)
    {
        await using var connection = new NpgsqlConnection(new NpgsqlConnectionStringBuilder(connectionString) { Pooling = false }.ConnectionString);
        await connection.OpenAsync();
#pragma warning disable CA2100 // Texts of the tests themselves.
        await using var command = new NpgsqlCommand(sql, connection);
#pragma warning restore CA2100
        await command.ExecuteNonQueryAsync();
    }
}
