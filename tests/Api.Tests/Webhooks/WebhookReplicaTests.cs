using System.Globalization;
using Contracts;
using Testing;
using Xunit;

namespace Api.Tests.Webhooks;

/// <summary>What is left when a replica stops, or is killed, in the middle of attempts.</summary>
public sealed class WebhookReplicaTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    private static readonly TimeSpan _patience = TimeSpan.FromSeconds(60);

    [Fact]
    public async Task Deliver_WhenAReplicaIsKilledMidway_AnotherDeliversIt_StillInOrder()
    {
        await using var receiver = await WebhookReceiver.StartAsync();
        receiver.Answer = (http, _) => Task.Delay(Timeout.Infinite, http.RequestAborted);
        Guid id;
        var subject = Guid.NewGuid();
        await using (var api = await StartApiAsync())
        {
            // Made by a replica that is gone again before it could deliver: only the process does.
            await using (var bench = await WebhookBench.StartAsync(service))
            {
                id = (await bench.CreateAsync(receiver.Url, new { enabled = false })).Webhook.Id;
                await bench.HappenAsync(subject, subject);
            }
            await service.ScalarAsync($"UPDATE webhook_endpoints SET disabled = NULL WHERE id = '{id}' RETURNING 1");
            await Eventually.Async(() => receiver.Received.Count == 1, "the process is in the middle of an attempt", _patience);
            await api.KillAsync();
        }
        receiver.AnswerWith(200);
        await using var survivor = await WebhookBench.StartAsync(service, fakeTime: true);
        Assert.Single(receiver.Received);
        survivor.Time.Advance(TimeSpan.FromMinutes(2));
        await survivor.LookedAsync();
        await Eventually.Async(async () => await service.ScalarAsync($"SELECT count(*) FROM webhook_deliveries WHERE endpoint_id = '{id}' AND state = 'Succeeded'") == 2, "what it had claimed comes back", _patience);
        Assert.Equal([1, 1, 2], receiver.Received.Select(r => r.Payload.Data.Number!.Value));
        Assert.Equal(receiver.Received[0].Id, receiver.Received[1].Id);
    }

    [Fact]
    public async Task Stop_WhileAttemptsRun_WaitsForThem_AndStoresWhatCame()
    {
        await using var receiver = await WebhookReceiver.StartAsync();
        var (go, bench) = (new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously), await WebhookBench.StartAsync(service));
        receiver.Answer = (_, _) => go.Task;
        var id = (await bench.CreateAsync(receiver.Url)).Webhook.Id;
        await bench.HappenAsync([.. Enumerable.Range(0, 5).Select(_ => Guid.NewGuid())]);
        await Eventually.Async(() => receiver.Received.Count == 5, "all are being attempted", _patience);
        var stopping = bench.DisposeAsync().AsTask();
        Assert.False(stopping.IsCompleted);
        go.SetResult();
        await stopping;
        Assert.Equal(5, await service.ScalarAsync($"SELECT count(*) FROM webhook_deliveries WHERE endpoint_id = '{id}' AND state = 'Succeeded' AND attempts = 1"));
    }

    private async Task<ProcessUnderTest> StartApiAsync()
    {
        var api = ProcessUnderTest.Start("dotnet", [Path.Combine(AppContext.BaseDirectory, "Sandbox.Api.dll")], new Dictionary<string, string?>
        {
            ["ConnectionStrings__Sandbox"] = service.ConnectionString,
            ["Urls"] = $"http://127.0.0.1:{FreePort.Next().ToString(CultureInfo.InvariantCulture)}",
            ["Webhooks__AllowHttp"] = "true",
            ["Webhooks__AllowedNetworks"] = "127.0.0.0/8",
        });
        await api.WaitForLineAsync("Application started", _patience);
        return api;
    }
}
