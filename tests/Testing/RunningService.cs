using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text.Json;
using Contracts;
using Xunit;

namespace Testing;

/// <summary>Database, API and worker as real processes, and what is needed to kill each of them. One for the whole suite: a guest is expensive.</summary>
public sealed class RunningService : IAsyncLifetime
{
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(120);
    private readonly string _directory = Surroundings.NewDirectory("e2e");
    private readonly int _port = FreePort.Next(), _metricsPort = FreePort.Next();
    private ProcessUnderTest? _api, _worker;

    public PostgresServer Database { get; init; } = new();
    /// <summary>Whether a worker of this machine is its node; without one, whoever starts the service brings one.</summary>
    public bool HasWorker { get; init; } = true;
    /// <summary>Settings of the API besides its own.</summary>
    public IReadOnlyDictionary<string, string?> ApiSettings { get; init; } = new Dictionary<string, string?>();
    public HttpClient Client { get; private set; } = null!;
    public string AdminKey { get; private set; } = "";
    public ProcessUnderTest Worker => _worker!;
    public ProcessUnderTest Api => _api!;
    public string WorkerMetrics => $"http://127.0.0.1:{_metricsPort}/metrics";
    public string BaseAddress => $"http://127.0.0.1:{_port}";

    public async ValueTask InitializeAsync()
    {
        await Database.InitializeAsync();
        await using (var migrations = ProcessUnderTest.StartBuilt("migrations", "Sandbox.Migrations",
            ["--connection-file", Database.ConnectionFile, "--admin-key-file", Path.Combine(_directory, "admin.key"), "--node-token-file", Path.Combine(_directory, "node.token")]))
            Assert.True(await migrations.WaitForExitAsync(Patience) == 0, migrations.Output);
        AdminKey = (await File.ReadAllTextAsync(Path.Combine(_directory, "admin.key"))).Trim();
        Client = new HttpClient(new SocketsHttpHandler()) { BaseAddress = new Uri(BaseAddress), Timeout = TimeSpan.FromSeconds(70) };
        Client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", AdminKey);
        StartApi();
        await HealthyAsync();
        if (!HasWorker)
            return;
        StartWorker();
        await Eventually.Async(async () => (await Client.GetFromJsonAsync<Page<NodeView>>("/v1/nodes"))!.Items.Any(n => n.Phase == NodePhase.Ready), "the node is ready", Patience);
    }

    public void StartApi() => _api = ProcessUnderTest.StartBuilt("api", "Sandbox.Api", [], new Dictionary<string, string?>(ApiSettings)
    {
        ["ConnectionStrings__Sandbox"] = Database.ConnectionString,
        ["Urls"] = BaseAddress,
        ["Web__Root"] = Path.Combine(Surroundings.Build, "web"),
        // What is measured is the service, not its limits; those have tests of their own.
        ["RateLimits__PerSecond"] = "1000000",
        ["RateLimits__Burst"] = "1000000",
    });

    public void StartWorker() => _worker = ProcessUnderTest.StartBuilt("worker", "Sandbox.Worker", [], new Dictionary<string, string?>
    {
        ["Worker__ApiUrl"] = BaseAddress,
        ["Worker__TokenFile"] = Path.Combine(_directory, "node.token"),
        ["Worker__StateDirectory"] = Path.Combine(_directory, "node"),
        ["Worker__ImagesDirectory"] = Surroundings.Images,
        ["Worker__MetricsAddress"] = $"127.0.0.1:{_metricsPort}",
    });

    /// <summary>So many simulated nodes in one process, always the same ones; the caller ends it.</summary>
    public ProcessUnderTest StartFleet(int nodes) => ProcessUnderTest.StartBuilt(
        "worker", "Sandbox.Worker", ["fleet", "--nodes", nodes.ToString(System.Globalization.CultureInfo.InvariantCulture), "--admin-key-file", Path.Combine(_directory, "admin.key")],
        new Dictionary<string, string?> { ["Worker__ApiUrl"] = BaseAddress, ["Worker__StateDirectory"] = FleetDirectory, ["Worker__ImagesDirectory"] = Surroundings.Images });

    /// <summary>The worker keeps its token there.</summary>
    public string NodeTokenFile => Path.Combine(_directory, "node.token");

    public string FleetDirectory => Path.Combine(_directory, "fleet");

    /// <summary>What ./sandbox down does to the guests of a worker that has ended.</summary>
    public Task ShutNodeDownAsync() => EndAllAsync("shut-down");

    private async Task EndAllAsync(string verb)
    {
        await using var end = ProcessUnderTest.StartBuilt("worker", "Sandbox.Worker", [verb, "--state-directory", Path.Combine(_directory, "node")]);
        Assert.True(await end.WaitForExitAsync(Patience) == 0, end.Output);
    }

    public Task HealthyAsync() => Eventually.Async(async () =>
    {
        using var health = await Client.GetAsync("/health");
        return health.IsSuccessStatusCode;
    }, "the API is healthy", Patience);

    public string RuntimeDirectory(Guid id) => Path.Combine(_directory, "node", "vms", id.ToString("N"));

    /// <summary>Every process whose command line names the sandbox's runtime directory.</summary>
    public IReadOnlyList<int> ProcessesOf(Guid id) => [.. Directory.GetDirectories("/proc").Select(Path.GetFileName)
        .Where(name => int.TryParse(name, out _)).Select(name => int.Parse(name!, System.Globalization.CultureInfo.InvariantCulture))
        .Where(pid => CommandLine(pid).Contains(RuntimeDirectory(id), StringComparison.Ordinal))];

    public static bool CgroupIsLeft(Guid id) => Directory.EnumerateDirectories("/sys/fs/cgroup", $"*{id:N}*", new EnumerationOptions { RecurseSubdirectories = true, IgnoreInaccessible = true }).Any();

    private static string CommandLine(int pid)
    {
        try
        {
            return File.ReadAllText($"/proc/{pid}/cmdline");
        }
        catch (IOException)
        {
            return "";
        }
    }

    public async Task<SandboxView> CreateAsync(string name, params string[] classes)
    {
        using var response = await Client.PostAsJsonAsync("/v1/sandboxes", new { name, image = "guest", memoryMib = 256, accelerators = classes.Select(c => new { @class = c }) });
        Assert.True(response.IsSuccessStatusCode, await response.Content.ReadAsStringAsync());
        return (await response.Content.ReadFromJsonAsync<SandboxView>())!;
    }

    public async Task<SandboxView?> FindAsync(Guid id)
    {
        using var response = await Client.GetAsync($"/v1/sandboxes/{id}");
        return response.StatusCode == System.Net.HttpStatusCode.NotFound ? null : await response.EnsureSuccessStatusCode().Content.ReadFromJsonAsync<SandboxView>();
    }

    public async Task<SandboxView> UntilAsync(Guid id, Func<SandboxView, bool> condition, string what, TimeSpan? deadline = null)
    {
        SandboxView? last = null;
        try
        {
            return await Eventually.GetAsync(async () => (last = await FindAsync(id)) is { } view && condition(view) ? view : null, what, deadline ?? Patience);
        }
        catch (TimeoutException e)
        {
            throw new TimeoutException($"{e.Message}; last seen: {JsonSerializer.Serialize(last)}", e);
        }
    }

    public async Task<IReadOnlyList<FaultSampleView>> FaultsAsync(Guid id) => (await Client.GetFromJsonAsync<Page<FaultSampleView>>($"/v1/sandboxes/{id}/faults?limit=1000"))!.Items;

    public async Task DeleteAsync(Guid id)
    {
        (await Client.DeleteAsync($"/v1/sandboxes/{id}")).Dispose();
        await Eventually.Async(async () => await FindAsync(id) is null, $"{id} is gone", Patience);
    }

    public async Task NothingIsLeftAsync(Guid id)
    {
        Assert.Empty(ProcessesOf(id));
        Assert.False(Directory.Exists(RuntimeDirectory(id)));
        Assert.False(CgroupIsLeft(id));
        Assert.DoesNotContain((await Client.GetFromJsonAsync<Page<DeviceView>>("/v1/devices"))!.Items, d => d.SandboxId == id || d.Phase is DevicePhase.Assigned or DevicePhase.Cleaning);
    }

    public async ValueTask DisposeAsync()
    {
        if (_worker is not null)
        {
            await _worker.DisposeAsync();
            await EndAllAsync("destroy-all");
        }
        if (_api is not null) await _api.DisposeAsync();
        Client?.Dispose();
        await Database.DisposeAsync();
    }
}
