using System.Net.Http.Json;
using Contracts;
using Microsoft.AspNetCore.SignalR.Client;
using Testing;

namespace Benchmarks;

/// <summary>A node that says of every sandbox of its plan that it runs, and sends samples of each.</summary>
internal sealed class LoadNode : IAsyncDisposable
{
    private readonly HubConnection _connection;
    private readonly Guid _installation;
    private readonly int _capacity;
    private readonly Dictionary<Guid, ReportedSandbox> _sandboxes = [];
    private long _revision;

    private LoadNode(HubConnection connection, Guid installation, int capacity) => (_connection, _installation, _capacity) = (connection, installation, capacity);

    public IReadOnlyCollection<Guid> Running => _sandboxes.Keys;

    public static async Task<LoadNode> JoinAsync(RunningService service, string name, int capacity)
    {
        using var answer = await service.Client.PostAsJsonAsync("/v1/nodes/join-tokens", new { name });
        var joinToken = (await answer.EnsureSuccessStatusCode().Content.ReadFromJsonAsync<JoinTokenView>())!.Token;
        var installation = Guid.NewGuid();
        using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/nodes/join") { Content = JsonContent.Create(new NodeJoin(installation)) };
        request.Headers.Authorization = new("Bearer", joinToken);
        using var joined = await service.Client.SendAsync(request);
        var token = (await joined.EnsureSuccessStatusCode().Content.ReadFromJsonAsync<NodeJoined>())!.Token;
        var connection = new HubConnectionBuilder().WithUrl(service.BaseAddress + NodeProtocol.HubPath, o => o.AccessTokenProvider = () => Task.FromResult<string?>(token)).Build();
        await connection.StartAsync();
        var node = new LoadNode(connection, installation, capacity);
        await node.SyncAsync();
        return node;
    }

    public async Task SyncAsync()
    {
        var plan = await _connection.InvokeAsync<NodePlan>(NodeProtocol.Sync, Report());
        _revision = plan.Revision;
        foreach (var planned in plan.Sandboxes)
            _sandboxes[planned.Id] = new ReportedSandbox(planned.Id, planned.Incarnation, VmState.Running, [], null, null, 1, null, null, null, null, null);
    }

    /// <summary>The samples of one second. Ten sources, as of a guest under QEMU with an SMMU.</summary>
    public FaultSample[] Samples(int second)
    {
        var at = TimeProvider.System.GetUtcNow();
        SourceReading Value(string source, long value) => new(source, value, null, false, Origin.Simulated);
        SourceReading None(string source, string reason) => new(source, null, reason, false, Origin.Simulated);
        return [.. _sandboxes.Keys.Select((id, i) => new FaultSample(id, 1, at, [
            Value(FaultSource.GuestMinor, 1000 + 7L * second + i), Value(FaultSource.GuestMajor, 3), Value(FaultSource.VmmMinor, 20_000 + second), Value(FaultSource.VmmMajor, 1),
            Value(FaultSource.SmmuEvents, second), Value(FaultSource.SmmuEvents + ".F_TRANSLATION", second), None(FaultSource.SmmuTlbHits, "TraceCostTooHigh"),
            None(FaultSource.SmmuTlbMisses, "TraceCostTooHigh"), None(FaultSource.HostSmmuEvents, "NoAssignedDevice"),
            new("io.pageFaults", 5L * second, null, false, Origin.Simulated, new LatencyHistogram([0, 0, second, 4L * second, .. new long[18]], 40_000L * second))]))];
    }

    /// <summary>Once a second, with a report every third; how many samples.</summary>
    public async Task<long> SendAsync(int seconds, CancellationToken ct)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromSeconds(1));
        var sent = 0L;
        for (var second = 0; second < seconds; second++)
        {
            var samples = Samples(second);
            foreach (var batch in FaultSamplesEncoding.Batches(samples))
                while (!await _connection.InvokeAsync<bool>(NodeProtocol.Faults, batch, ct))
                    await SyncAsync();
            sent += samples.Length;
            if (second % 3 == 0)
                await SyncAsync();
            await timer.WaitForNextTickAsync(ct);
        }
        return sent;
    }

    public ValueTask DisposeAsync() => _connection.DisposeAsync();

    private NodeReport Report() => new(NodeProtocol.Version, "load", TimeProvider.System.GetUtcNow(), _revision,
        new NodeFacts("arm64", "6.12", "Debian", "Neoverse N1", _capacity, 256L * _capacity, _capacity, 256L * _capacity, Acceleration.Tcg, "NoKvm", "11.1", [Viommu.Smmuv3, Viommu.None], true, true, null, "boot", [], null),
        [], [new ReportedImage("guest", "sha256:00", "arm64", "6.12", true, 1)], [.. _sandboxes.Values], _installation, NodeProtocol.Minor);
}
