using System.Text.Json;
using Contracts;
using Microsoft.EntityFrameworkCore;
using Microsoft.EntityFrameworkCore.Infrastructure;
using Microsoft.EntityFrameworkCore.Migrations;
using Npgsql;
using Testing;
using Xunit;

namespace Api.Tests;

public sealed class MigrationTests
{
    /// <summary>What an earlier version has stored is read as what it was.</summary>
    [Fact]
    public async Task AssignedDevices_OfRowsThatWereThereBefore_TakesSafeValues()
    {
        var name = $"upgrade_{Guid.NewGuid():N}";
        await ExecuteAsync(Surroundings.Postgres, $"CREATE DATABASE {name}");
        var connection = new NpgsqlConnectionStringBuilder(Surroundings.Postgres) { Database = name, Pooling = false }.ConnectionString;
        try
        {
            await using var db = Migrations.Database.Open(connection);
            await db.GetService<IMigrator>().MigrateAsync("NodeInventory", TestContext.Current.CancellationToken);
            await ExecuteAsync(connection, """
                INSERT INTO projects (id, name, max_sandboxes) VALUES ('00000000-0000-0000-0000-000000000001', 'p', 1);
                INSERT INTO nodes (id, name, token_sha256, phase, plan_revision) VALUES ('00000000-0000-0000-0000-000000000002', 'n', '\x00', 'Ready', 1);
                INSERT INTO devices (id, node_id, address, class, vendor_id, device_id, description, origin, phase, present)
                  VALUES ('00000000-0000-0000-0000-000000000003', '00000000-0000-0000-0000-000000000002', 'edu-0', 'edu', '1234', '11e8', 'edu', 'Emulated', 'Available', true);
                INSERT INTO sandboxes (id, project_id, name, image, vcpus, memory_mib, accelerators, viommu, labels, ssh_keys, desired, phase, generation, incarnation, launched, conditions, phases, created_at, updated_at)
                  VALUES ('00000000-0000-0000-0000-000000000004', '00000000-0000-0000-0000-000000000001', 's', 'guest', 1, 128, '[]', 'Smmuv3', '{}', '[]', 'Running', 'Pending', 1, 0, false, '[]', '[]', now(), now());
                """);
            await db.Database.MigrateAsync(TestContext.Current.CancellationToken);
            var sandbox = await db.Sandboxes.SingleAsync(TestContext.Current.CancellationToken);
            var device = await db.Devices.SingleAsync(TestContext.Current.CancellationToken);
            var node = await db.Nodes.SingleAsync(TestContext.Current.CancellationToken);
            // The name itself: an empty text would be read as the first member, too.
            Assert.Equal("Qemu", (await db.Database.SqlQuery<string>($"SELECT vmm AS \"Value\" FROM sandboxes").ToListAsync(TestContext.Current.CancellationToken)).Single());
            Assert.Equal((Vmm.Qemu, null), (sandbox.Vmm, sandbox.WantedNode));
            Assert.Equal((0, null, sandbox.UpdatedAt), (sandbox.Priority, sandbox.Rules, sandbox.QueuedAt));
            Assert.Equal((0, false, null, null), (device.Viommus.Count, device.FitsKvmtool, device.OperatorQuarantine, device.LiftQuarantineOf));
            Assert.Null(node.Installation);
        }
        finally
        {
            await PostgresFixture.DropAsync(name);
        }
    }

    [Fact]
    public async Task FaultReadingsEncoded_OfSamplesThatWereJson_KeepsWhatTheySay()
    {
        var name = $"upgrade_{Guid.NewGuid():N}";
        await ExecuteAsync(Surroundings.Postgres, $"CREATE DATABASE {name}");
        var connection = new NpgsqlConnectionStringBuilder(Surroundings.Postgres) { Database = name, Pooling = false }.ConnectionString;
        SourceReading[] before = [
            new("guest.minorFaults", 1234567890123, null, true, Origin.Emulated), new("vmm.majorFaults", 0, null, false, Origin.Hardware), new("smmu.tlbHits", null, "TraceCostTooHigh", false, Origin.Emulated),
            new("smmu.events.C_BAD_STE", 128, null, false, Origin.Emulated), new("io.pageFaults", 300, null, false, Origin.Simulated, new LatencyHistogram([0, 127, 128, .. new long[18], 1L << 53], 1L << 60)),
            new("io.pageFaults", 0, null, false, Origin.Simulated, LatencyHistogram.Empty), new("ats.hits", long.MaxValue, null, false, Origin.Simulated)];
        try
        {
            await using var db = Migrations.Database.Open(connection);
            await db.GetService<IMigrator>().MigrateAsync("FaultMinutes", TestContext.Current.CancellationToken);
            await ExecuteAsync(connection, $"""
                CREATE TABLE fault_samples_20261124 PARTITION OF fault_samples FOR VALUES FROM ('2026-11-24+00') TO ('2026-11-25+00');
                CREATE TABLE fault_minutes_20261124 PARTITION OF fault_minutes FOR VALUES FROM ('2026-11-24+00') TO ('2026-11-25+00');
                INSERT INTO fault_samples VALUES ('00000000-0000-0000-0000-000000000001', '2026-11-24 12:00:59+00', 1, '{JsonSerializer.Serialize(before, JsonSerializerOptions.Web)}'), ('00000000-0000-0000-0000-000000000001', '2026-11-24 12:01:00+00', 1, '[]');
                INSERT INTO fault_minutes SELECT sandbox_id, date_trunc('minute', at), incarnation, at, readings FROM fault_samples;
                """);
            await db.Database.MigrateAsync(TestContext.Current.CancellationToken);
            foreach (var rows in (List<byte[]>[])[
                await db.Database.SqlQuery<byte[]>($"SELECT readings AS \"Value\" FROM fault_samples ORDER BY at").ToListAsync(TestContext.Current.CancellationToken),
                await db.Database.SqlQuery<byte[]>($"SELECT readings AS \"Value\" FROM fault_minutes ORDER BY at").ToListAsync(TestContext.Current.CancellationToken)])
            {
                Assert.Equal(before, FaultSamplesEncoding.Decode(rows[0]));
                Assert.Empty(FaultSamplesEncoding.Decode(rows[1]));
            }
        }
        finally
        {
            await PostgresFixture.DropAsync(name);
        }
    }

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
