using System.Globalization;
using System.Net.Http.Json;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Contracts;
using Xunit;

namespace Testing;

/// <summary>An arm64 host with an SMMU, KVM and four PCI functions inside QEMU, with our worker in it, joined by a join token to a service of its own.
/// One boot serves a whole class of tests; its power can be cut.</summary>
public sealed class EmulatedNode : IAsyncLifetime
{
    public const string Name = "emulated";
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(240);
    private readonly string _directory = Surroundings.Optional("SANDBOX_TEST_NODE") is null ? "" : Surroundings.NewDirectory("node");
    private ProcessUnderTest? _machine;

    public RunningService Service { get; } = new() { HasWorker = false };

    /// <summary>The disk behind the node's NVMe controller, as the outermost machine sees it.</summary>
    public string DiskFile => Path.Combine(_directory, "nvme.raw");
    public string TraceLog => Path.Combine(_directory, "trace.log");

    public async ValueTask InitializeAsync()
    {
        if (_directory.Length == 0)
            return;
        await Service.InitializeAsync();
        using var answer = await Service.Client.PostAsJsonAsync("/v1/nodes/join-tokens", new { name = Name });
        Assert.True(answer.IsSuccessStatusCode, await answer.Content.ReadAsStringAsync());
        var token = (await answer.Content.ReadFromJsonAsync<JoinTokenView>())!.Token;
        var config = Path.Combine(_directory, "config");
        Directory.CreateDirectory(config);
        await File.WriteAllTextAsync(Path.Combine(config, "join.token"), token + "\n");
        Start();
        await ReadyAsync();
    }

    public void Start() => _machine = ProcessUnderTest.Start(
        Path.Combine(Surroundings.Repository, "deploy/emulated-node/run.sh"),
        [Surroundings.Optional("SANDBOX_TEST_NODE")!, _directory, Surroundings.Images, new Uri(Service.BaseAddress).Port.ToString(CultureInfo.InvariantCulture)]);

    public async Task<NodeView> ReadyAsync()
    {
        var from = TimeProvider.System.GetUtcNow();
        try
        {
            return await Eventually.GetAsync(async () => await ViewAsync() is { Phase: NodePhase.Ready } node && node.LastReportAt > from ? node : null, "the emulated node is ready", Patience);
        }
        catch (TimeoutException problem)
        {
            throw new TimeoutException($"{problem.Message}\n{_machine?.Output}\n{Tail("console.log")}\n{Tail("log/worker.log")}", problem);
        }
    }

    /// <summary>Null as well where no emulated node can be built.</summary>
    public async Task<NodeView?> ViewAsync() => _machine is null ? null : (await Service.Client.GetFromJsonAsync<Page<NodeView>>("/v1/nodes"))!.Items.FirstOrDefault(n => n.Name == Name);

    public async Task<DeviceView> DeviceAsync(string @class) =>
        (await Service.Client.GetFromJsonAsync<Page<DeviceView>>("/v1/devices"))!.Items.Single(d => d.NodeName == Name && d.Class == @class);

    /// <summary>Settings (Worker__…) that the node's next worker begins with besides its own.</summary>
    public void Configure(string settings) => File.WriteAllText(Path.Combine(_directory, "config", "extra.env"), settings + "\n");

    /// <summary>As a plug that is pulled.</summary>
    public async Task CutPowerAsync() => await _machine!.KillAsync();

    /// <summary>What a command of the node's own root shell prints.</summary>
    public async Task<string> ShellAsync(string command)
    {
        var end = $"end-{Guid.NewGuid():N}";
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(Path.Combine(_directory, "shell.sock")));
        await using var stream = new NetworkStream(socket);
        // The marker is put together by the shell, so that only what it prints has it whole.
        await stream.WriteAsync(Encoding.ASCII.GetBytes($"{{ {command}\n}} 2>&1; echo; echo {end[..8]}''{end[8..]}\n"));
        using var limit = new CancellationTokenSource(Patience);
        var said = new StringBuilder();
        var buffer = new byte[4096];
        while (!said.ToString().Contains(end, StringComparison.Ordinal))
        {
            var read = await stream.ReadAsync(buffer, limit.Token);
            Assert.True(read > 0, $"the node's shell ended: {said}");
            said.Append(Encoding.UTF8.GetString(buffer, 0, read));
        }
        return said.ToString()[..said.ToString().IndexOf(end, StringComparison.Ordinal)].Replace("\r", "", StringComparison.Ordinal).Trim();
    }

    /// <summary>Switches one of the outermost QEMU's trace events.</summary>
    public async Task TraceAsync(string name, bool on)
    {
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(Path.Combine(_directory, "qmp.sock")));
        await using var stream = new NetworkStream(socket);
        using var reader = new StreamReader(stream);
        await reader.ReadLineAsync();
        foreach (var command in (string[])["{\"execute\":\"qmp_capabilities\"}", $"{{\"execute\":\"trace-event-set-state\",\"arguments\":{{\"name\":\"{name}\",\"enable\":{(on ? "true" : "false")}}}}}"])
        {
            await stream.WriteAsync(Encoding.ASCII.GetBytes(command + "\n"));
            string? line;
            while ((line = await reader.ReadLineAsync()) is not null && line.Contains("\"event\"", StringComparison.Ordinal))
            {
            }
            using var answer = JsonDocument.Parse(line ?? "{}");
            Assert.True(answer.RootElement.TryGetProperty("return", out _), line);
        }
    }

    public string Tail(string file)
    {
        var path = Path.Combine(_directory, file);
        return File.Exists(path) ? string.Join('\n', File.ReadLines(path).TakeLast(40)) : $"no {file}";
    }

    public async ValueTask DisposeAsync()
    {
        if (_machine is null)
            return;
        await _machine.DisposeAsync();
        await Service.DisposeAsync();
    }
}
