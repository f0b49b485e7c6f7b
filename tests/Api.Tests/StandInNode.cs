using Contracts;
using Microsoft.AspNetCore.Http.Connections;
using Microsoft.AspNetCore.Http.Connections.Client;
using Microsoft.AspNetCore.Mvc.Testing;
using Microsoft.AspNetCore.SignalR.Client;

namespace Api.Tests;

/// <summary>A node that a test plays by hand over the real hub: it reports what the test says and keeps the plan it gets.</summary>
public sealed class StandInNode(Uri address, int edu, Action<HttpConnectionOptions> connect) : IAsyncDisposable
{
    private static readonly Verdict _verdict = new(VerdictClass.PassthroughOnly, "Test", "A stand-in.", Origin.Emulated, []);
    private readonly HubConnection _connection = new HubConnectionBuilder().WithUrl(new Uri(address, NodeProtocol.HubPath), connect).Build();

    /// <summary>At an API in this process.</summary>
    public StandInNode(WebApplicationFactory<Api.Data.SandboxDb> api, string token, int edu, bool overWebSocket = false) : this(api.Server.BaseAddress, edu, o =>
    {
        o.HttpMessageHandlerFactory = _ => api.Server.CreateHandler();
        o.Transports = HttpTransportType.LongPolling;
        o.AccessTokenProvider = () => Task.FromResult<string?>(token);
        if (!overWebSocket) return;
        // As a worker does it: its token is shown once, when it connects.
        (o.Transports, o.SkipNegotiation) = (HttpTransportType.WebSockets, true);
        o.WebSocketFactory = async (context, ct) =>
        {
            var client = api.Server.CreateWebSocketClient();
            client.ConfigureRequest = request => request.Headers.Authorization = $"Bearer {token}";
            return await client.ConnectAsync(context.Uri, ct);
        };
    })
    {
    }

    /// <summary>At an API that is a process.</summary>
    public StandInNode(Uri address, string token, int edu) : this(address, edu, o =>
        (o.Transports, o.SkipNegotiation, o.AccessTokenProvider) = (HttpTransportType.WebSockets, true, () => Task.FromResult<string?>(token)))
    {
    }

    public Dictionary<Guid, ReportedSandbox> Sandboxes { get; } = [];
    public Dictionary<string, Guid?> Held { get; } = Enumerable.Range(0, edu).ToDictionary(i => $"edu-{i}", _ => (Guid?)null);
    /// <summary>Those that the node itself has quarantined.</summary>
    public Dictionary<string, Failure> Quarantined { get; } = [];
    public IReadOnlyList<Viommu> DeviceViommus { get; set; } = [Viommu.Smmuv3, Viommu.None];
    public bool FitsKvmtool { get; set; }
    public Origin DeviceOrigin { get; set; } = Origin.Emulated;
    public string? QemuVersion { get; set; } = "7.2";
    public string? KvmtoolVersion { get; set; }
    /// <summary>Null: as a worker of before huge pages.</summary>
    public IReadOnlyList<HugePagePool>? HugePages { get; set; }
    public bool? HasFirmware { get; set; } = true;
    public long? ImageCacheMaxBytes { get; set; }
    /// <summary>Whether devices stay as they are whatever is said of a sandbox: cleaning takes its time.</summary>
    public bool KeepsDevices { get; set; }
    public NodePlan Plan { get; private set; } = new(0, [], [], []);

    public HubConnection Connection => _connection;

    public async Task StartAsync()
    {
        await _connection.StartAsync();
        await SyncAsync();
    }

    public Guid Installation { get; set; } = Guid.NewGuid();

    public NodeReport Report() => new(NodeProtocol.Version, "test", TimeProvider.System.GetUtcNow(), Plan.Revision,
        new NodeFacts("arm64", "6.12", "Debian", "Neoverse N1", 8, 16384, 64, 16384, Acceleration.Tcg, "NoKvm", QemuVersion, [Viommu.Smmuv3, Viommu.None], true, true, null, "boot", [], KvmtoolVersion, HugePages: HugePages, HasFirmware: HasFirmware, ImageCacheMaxBytes: ImageCacheMaxBytes),
        Held.Select(d => new ReportedDevice(d.Key, "edu", "1234", "11e8", "edu", DeviceOrigin, d.Value,
            Quarantined.ContainsKey(d.Key) ? DevicePhase.Quarantined : d.Value is null ? DevicePhase.Available : DevicePhase.Assigned, Quarantined.GetValueOrDefault(d.Key), _verdict, DeviceViommus, FitsKvmtool)).ToList(),
        [new ReportedImage("guest", "sha256:00", "arm64", "6.12", true, 1)], Sandboxes.Values.ToList(), Installation, ProtocolMinor);

    public int ProtocolMinor { get; set; } = NodeProtocol.Minor;

    public async Task<NodePlan> SyncAsync() => Plan = await _connection.InvokeAsync<NodePlan>(NodeProtocol.Sync, Report());

    /// <summary>Whether they were taken in.</summary>
    public async Task<bool> TellAsync(params FaultSample[] samples) => await TellAsync(FaultSamplesEncoding.Batches(samples).Single());

    public Task<bool> TellAsync(byte[] batch) => _connection.InvokeAsync<bool>(NodeProtocol.Faults, batch);

    /// <summary>Says of a sandbox that it is so, in the plan's incarnation or a given one, and reports.</summary>
    public async Task SayAsync(Guid id, VmState state, Failure? failure = null, int? incarnation = null)
    {
        var planned = Plan.Sandboxes.Single(s => s.Id == id);
        foreach (var device in KeepsDevices ? [] : planned.Spec.Devices)
            Held[device] = state is VmState.Stopped or VmState.Failed or VmState.Absent ? null : id;
        Sandboxes[id] = new ReportedSandbox(id, incarnation ?? planned.Incarnation, state, [], failure, null, 1, null, null, null, null, null);
        await SyncAsync();
    }

    /// <summary>Says what it has judged of a sandbox's faults, by the plan's policy or a given one, and reports.</summary>
    public async Task SayStormAsync(Guid id, ConditionStatus status, string reason, StormPolicy? by = null, VmState state = VmState.Running)
    {
        await SayAsync(id, state);
        JudgeStorm(id, status, reason, by);
        await SyncAsync();
    }

    /// <summary>The same for the next report.</summary>
    public void JudgeStorm(Guid id, ConditionStatus status, string reason, StormPolicy? by = null) => Sandboxes[id] = Sandboxes[id] with
    {
        Conditions = [new Condition(ConditionType.FaultStorm, status, reason, "It was 500 a second.", TimeProvider.System.GetUtcNow())],
        StormJudgedBy = by ?? Plan.Sandboxes.Single(s => s.Id == id).FaultStorm,
    };

    public async ValueTask DisposeAsync() => await _connection.DisposeAsync();
}
