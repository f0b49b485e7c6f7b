using Npgsql;
using Xunit;

namespace Testing;

/// <summary>A database for each test class, copied from a template that was migrated once in this process.
/// The cluster is the one of ./sandbox test, thrown away after the run; a class that restarts or kills its server takes
/// <see cref="PostgresServer"/> instead, because this one is shared.</summary>
public sealed class PostgresFixture : IAsyncLifetime
{
    private static readonly SemaphoreSlim _oneAtATime = new(1, 1);
    private static string? _template;
    private readonly string _database = NewName("test");

    public string ConnectionString { get; private set; } = "";

    public async ValueTask InitializeAsync()
    {
        await _oneAtATime.WaitAsync();
        try
        {
            _template ??= await MigratedTemplateAsync();
            await ExecuteAsync($"CREATE DATABASE {_database} TEMPLATE {_template}");
        }
        finally
        {
            _oneAtATime.Release();
        }
        ConnectionString = For(_database, pooling: true);
    }

    public async ValueTask DisposeAsync()
    {
        if (ConnectionString.Length == 0)
            return;
        await using (var connection = new NpgsqlConnection(ConnectionString))
            NpgsqlConnection.ClearPool(connection);
        await DropAsync(_database);
    }

    /// <summary>Ends the connections of our own role and drops it. Not WITH (FORCE): that would also end an autovacuum worker, which is not ours to end;
    /// a plain DROP asks it to go, and waits.</summary>
    public static async Task DropAsync(string database)
    {
        await ExecuteAsync($"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}' AND usename = current_user");
        await ExecuteAsync($"DROP DATABASE IF EXISTS {database}");
    }

    private static async Task<string> MigratedTemplateAsync()
    {
        var name = NewName("template");
        await ExecuteAsync($"CREATE DATABASE {name}");
        // Without a pool: a template that anybody is connected to cannot be copied.
        await Migrations.Database.MigrateAsync(For(name, pooling: false), TestContext.Current.CancellationToken);
        return name;
    }

    private static string NewName(string kind) => $"{kind}_{Guid.NewGuid():N}";

    private static string For(string database, bool pooling) =>
        new NpgsqlConnectionStringBuilder(Surroundings.Postgres) { Database = database, Pooling = pooling }.ConnectionString;

    private static async Task ExecuteAsync(string sql)
    {
        await using var connection = new NpgsqlConnection(
            new NpgsqlConnectionStringBuilder(Surroundings.Postgres) { Pooling = false }.ConnectionString);
        await connection.OpenAsync();
#pragma warning disable CA2100 // Names made above, of hexadecimal digits.
        await using var command = new NpgsqlCommand(sql, connection);
#pragma warning restore CA2100
        await command.ExecuteNonQueryAsync();
    }
}
