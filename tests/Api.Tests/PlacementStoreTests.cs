using Api.Tests.NodeLife;
using Contracts;
using Testing;
using Xunit;

namespace Api.Tests;

/// <summary>Many placements stored at once: each as if it were alone, and one that cannot be stored keeps none of the others back.</summary>
public sealed class PlacementStoreTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    private const int Many = 40;

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Batch_OfTwoProjects_IsStoredAsOneWouldBe_WithAllItsEventsInOrder()
    {
        await using var replica = service.NewReplica();
        using var clients = new TwoClients(service.ClientOf((await service.TenantAsync("batch-a", null, replica)).Secret, replica), service.ClientOf((await service.TenantAsync("batch-b", null, replica)).Secret, replica));
        using var admin = service.Client(replica);
        var (node, id, _) = await service.JoinAsync("batch", replica);
        await using var _1 = node;
        await admin.DoAsync("POST", $"/v1/nodes/{id}/cordon");
        var asked = new List<(HttpClient Client, SandboxView View)>();
        for (var i = 0; i < Many; i++)
        {
            var client = i % 2 == 0 ? clients.A : clients.B;
            asked.Add((client, await client.AskAsync(new { name = $"s{i}", image = "guest", node = "batch", memoryMib = 128, labels = new { number = $"{i}" } })));
        }
        // As one that has lived long: its phases are as many as are kept.
        await service.ExecuteAsync($$"""UPDATE sandboxes SET incarnation = 4, phases = (SELECT jsonb_agg(jsonb_build_object('phase', 'Pending', 'at', '2026-01-01T00:00:00+00:00')) FROM generate_series(1, 64)) WHERE id = '{{asked[0].View.Id}}'""");
        await admin.DoAsync("POST", $"/v1/nodes/{id}/uncordon");
        await Eventually.Async(async () => await service.ScalarAsync($"SELECT count(*) FROM sandboxes WHERE node_id = '{id}' AND phase = 'Scheduled'") == Many, "all are placed", TimeSpan.FromSeconds(60));

        foreach (var (client, before) in asked)
        {
            var now = (await client.FindAsync(before.Id))!;
            var incarnation = before.Id == asked[0].View.Id ? 5 : 1;
            Assert.Equal((Phase.Scheduled, id, incarnation), (now.Phase, now.NodeId, now.Incarnation));
            Assert.Equal((ConditionType.Placed, ConditionStatus.True, "Placed on batch."), now.Conditions.Select(c => (c.Type, c.Status, c.Message)).Single());
            Assert.Equal(Phase.Scheduled, now.Phases[^1].Phase);
            // A timestamp of the database has microseconds.
            Assert.Equal(now.UpdatedAt, now.Phases[^1].At, TimeSpan.FromMicroseconds(1));
            Assert.Equal(incarnation == 5 ? 64 : 2, now.Phases.Count);
            var told = Assert.Single(await client.EventsAsync(before.Id, "sandbox.phaseChanged"), e => e.Reason == "Placed");
            Assert.Equal(($"{before.Name} was placed on batch.", Phase.Scheduled, before.Name), (told.Message, told.Phase, told.SubjectName));
            Assert.Equal(1, await service.ScalarAsync($"""
                SELECT count(*) FROM events WHERE subject_id = '{before.Id}' AND reason = 'Placed' AND labels ->> 'number' = '{before.Labels["number"]}'
                  AND sandbox ->> 'nodeId' = '{id}' AND (sandbox ->> 'incarnation')::int = {incarnation} AND sandbox ->> 'desired' = 'Running'
                """));
        }
        Assert.Equal(0, await service.ScalarAsync("SELECT count(*) FROM (SELECT number, row_number() OVER (PARTITION BY project_id ORDER BY number) AS place FROM events) e WHERE number <> place"));
        Assert.All((await node.SyncAsync()).Sandboxes, s => Assert.Equal(DesiredState.Running, s.Desired));
    }

    private sealed record TwoClients(HttpClient A, HttpClient B) : IDisposable
    {
        public void Dispose()
        {
            A.Dispose();
            B.Dispose();
        }
    }

    [Fact]
    public async Task Batch_WhenOneOfItCannotBeStored_PlacesAllTheOthers()
    {
        await using var replica = service.NewReplica();
        using var client = service.Client(replica);
        var (node, id, _) = await service.JoinAsync("poisoned", replica);
        await using var _1 = node;
        await client.DoAsync("POST", $"/v1/nodes/{id}/cordon");
        // Whoever places it finds that it does not wait any more.
        await service.ExecuteAsync("""
            CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
            CREATE TRIGGER poison BEFORE UPDATE ON sandboxes FOR EACH ROW WHEN (NEW.name = 'poison' AND NEW.phase = 'Scheduled') EXECUTE FUNCTION poison();
            """);
        try
        {
            for (var i = 0; i < 9; i++) await client.AskAsync(new { name = i == 4 ? "poison" : $"p{i}", image = "guest", node = "poisoned", memoryMib = 128 });
            await client.DoAsync("POST", $"/v1/nodes/{id}/uncordon");
            await Eventually.Async(async () => await service.ScalarAsync($"SELECT count(*) FROM sandboxes WHERE node_id = '{id}' AND phase = 'Scheduled'") == 8, "the others are placed", TimeSpan.FromSeconds(60));
            Assert.Equal(1, await service.ScalarAsync("SELECT count(*) FROM sandboxes WHERE name = 'poison' AND phase = 'Pending' AND node_id IS NULL"));
            Assert.Equal(8, await service.ScalarAsync($"SELECT count(*) FROM events WHERE reason = 'Placed' AND sandbox ->> 'nodeId' = '{id}'"));
        }
        finally
        {
            await service.ExecuteAsync("DROP TRIGGER poison ON sandboxes");
        }
        await Eventually.Async(async () => await service.ScalarAsync("SELECT count(*) FROM sandboxes WHERE name = 'poison' AND phase = 'Scheduled'") == 1, "then it is placed, too", TimeSpan.FromSeconds(60));
    }
}
