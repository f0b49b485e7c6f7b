using Microsoft.Extensions.Configuration;
using Migrations;
using Npgsql;

// sandbox-migrations --connection-file F [--admin-key-file F] [--node-token-file F] [--node-name NAME]
var options = new ConfigurationBuilder().AddCommandLine(args).Build();
if (options["connection-file"] is not { } connectionFile)
{
    Console.Error.WriteLine("usage: Sandbox.Migrations --connection-file F [--admin-key-file F] [--node-token-file F] [--node-name NAME]");
    return 2;
}
var connection = (await File.ReadAllTextAsync(connectionFile)).Trim();
try
{
    await Database.MigrateAsync(connection, CancellationToken.None);
}
catch (NpgsqlException problem) when (problem is not PostgresException)
{
    // Whoever started it tries again until the database is there.
    Console.Error.WriteLine($"migrations: the database does not answer: {problem.Message}");
    return 1;
}
await using var db = Database.Open(connection);
await Bootstrap.RunAsync(db, options["admin-key-file"], options["node-token-file"], options["node-name"] ?? "local", TimeProvider.System, CancellationToken.None);
Console.WriteLine("The database is up to date.");
return 0;
