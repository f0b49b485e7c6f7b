using System.Collections.Concurrent;
using Contracts;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.SignalR;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Worker.Tests.Real;

/// <summary>The API as a worker sees it: a plan to hand out, and everything that was reported.</summary>
internal sealed class FakeApi : IAsyncDisposable
{
    private readonly WebApplication _app;
    private readonly Lock _lock = new();
    private NodePlan _plan = new(1, [], [], [], NodeProtocol.Version, NodeProtocol.Minor);

    private FakeApi(WebApplication app) => _app = app;

    public string Url { get; private set; } = "";
    public NodeReport? Report { get; private set; }
    public string? LastToken { get; private set; }
    public NodeInventory? Inventory { get; private set; }
    public ConcurrentQueue<FaultSample> Samples { get; } = new();
    public ConcurrentQueue<ConsoleChunk> Chunks { get; } = new();
    public ConcurrentQueue<NodeOfSession> SessionSteps { get; } = new();

    public static async Task<FakeApi> StartAsync(string url = "http://127.0.0.1:0")
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.SetMinimumLevel(LogLevel.Error);
        builder.WebHost.UseUrls(url);
        builder.Services.AddSignalR(hub => { hub.MaximumReceiveMessageSize = 1 << 20; hub.EnableDetailedErrors = true; })
            .AddJsonProtocol(json => json.PayloadSerializerOptions.TypeInfoResolverChain.Insert(0, NodeJson.Default));
        FakeApi? api = null;
        builder.Services.AddSingleton(_ => api!);
        var app = builder.Build();
        app.MapHub<NodeHub>(NodeProtocol.HubPath);
        api = new FakeApi(app);
        await app.StartAsync();
        api.Url = app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First();
        return api;
    }

    public async Task PlanAsync(IReadOnlyList<PlannedSandbox> sandboxes, params Guid[] watched)
    {
        lock (_lock)
            _plan = new NodePlan(_plan.Revision + 1, sandboxes, watched, [], NodeProtocol.Version, NodeProtocol.Minor);
        await Hub.Clients.All.SendAsync(NodeProtocol.PlanChanged);
    }

    public Task TypeAsync(Guid id, byte[] keys) => Hub.Clients.All.SendAsync(NodeProtocol.ConsoleInput, new ConsoleKeys(id, keys));

    public Task ToSessionAsync(NodeToSession step) => Hub.Clients.All.SendAsync(NodeProtocol.ToSession, step);

    public ReportedSandbox? Find(Guid id) => Report?.Sandboxes.FirstOrDefault(s => s.Id == id);

    public Task<ReportedSandbox> UntilAsync(Guid id, Func<ReportedSandbox, bool> condition, string what, int seconds = 10) =>
        Eventually.GetAsync(() => Find(id) is { } found && condition(found) ? found : null, what, seconds);

    public async ValueTask DisposeAsync() => await _app.DisposeAsync();

    private IHubContext<NodeHub> Hub => _app.Services.GetRequiredService<IHubContext<NodeHub>>();

    internal sealed class NodeHub(FakeApi api) : Hub
    {
        public NodePlan Sync(NodeReport report)
        {
            api.LastToken = Context.GetHttpContext()!.Request.Headers.Authorization;
            lock (api._lock)
            {
                api.Report = report;
                return api._plan;
            }
        }

        public void OfSession(NodeOfSession told) => api.SessionSteps.Enqueue(told);

        public void Inventory(NodeInventory inventory) => api.Inventory = inventory;

        public bool Faults(byte[] batch)
        {
            var samples = new List<EncodedSample>();
            if (!FaultSamplesEncoding.TryRead(batch, samples, out var malformed) || malformed > 0)
                throw new HubException("this is no batch of samples");
            foreach (var sample in samples)
                api.Samples.Enqueue(sample.Decode());
            return true;
        }

        public void ConsoleOutput(ConsoleChunk chunk) => api.Chunks.Enqueue(chunk);
    }
}
