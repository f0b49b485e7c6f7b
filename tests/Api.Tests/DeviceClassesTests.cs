using System.Net.Http.Json;
using Contracts;
using Xunit;

namespace Api.Tests;

public sealed class DeviceClassesTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    private static async Task<(int Available, int Total)> EduAsync(HttpClient client) =>
        (await client.GetFromJsonAsync<Page<DeviceClassView>>("/v1/device-classes"))!.Items.Where(c => c.Name == "edu").Select(c => (c.Available, c.Total)).Single();

    [Fact]
    public async Task Available_IsWhatCouldBeHandedOutNow()
    {
        await using var node = await service.NodeAsync(edu: 3);
        using var client = service.Client();
        Assert.Equal((3, 3), await EduAsync(client));
        node.Quarantined["edu-0"] = new Failure("FlrFailed", "It did not come clean.", "Look at it.", TimeProvider.System.GetUtcNow());
        await node.SyncAsync();
        Assert.Equal((2, 3), await EduAsync(client));

        Assert.Equal(1, await service.ScalarAsync("UPDATE nodes SET phase = 'Unreachable' RETURNING 1"));
        Assert.Equal((0, 3), await EduAsync(client));
        await node.SyncAsync();
        Assert.Equal((2, 3), await EduAsync(client));
    }
}
