using Microsoft.Extensions.Configuration;
using Migrations;

// sandbox-migrations --connection-file F [--admin-key-file F] [--node-token-file F] [--node-name NAME]
var options = new ConfigurationBuilder().AddCommandLine(args).Build();
if (options["connection-file"] is not { } connectionFile)
{
    Console.Error.WriteLine("usage: Sandbox.Migrations --connection-file F [--admin-key-file F] [--node-token-file F] [--node-name NAME]");
    return 2;
}
var connection = (await File.ReadAllTextAsync(connectionFile)).Trim();
await Database.MigrateAsync(connection, CancellationToken.None);
await using var db = Database.Open(connection);
await Bootstrap.RunAsync(db, options["admin-key-file"], options["node-token-file"], options["node-name"] ?? "local", TimeProvider.System, CancellationToken.None);
Console.WriteLine("The database is up to date.");
return 0;
