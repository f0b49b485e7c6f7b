using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using Testing;

namespace Api.Tests.Replicas;

/// <summary>The API as a process at an address that it keeps over its starts, with the settings of a test.</summary>
public sealed class ReplicaProcess : IAsyncDisposable
{
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);
    private readonly Dictionary<string, string?> _environment;
    private ProcessUnderTest? _process;

    private ReplicaProcess(string connectionString, int port, IEnumerable<(string Name, string? Value)> settings)
    {
        Port = port;
        _environment = new()
        {
            ["ConnectionStrings__Sandbox"] = connectionString,
            ["Urls"] = Url,
            ["Replica__Url"] = Url,
            ["RateLimits__PerSecond"] = "1000000",
            ["RateLimits__Burst"] = "1000000",
            ["Webhooks__AllowHttp"] = "true",
            ["Webhooks__AllowedNetworks"] = "127.0.0.0/8",
        };
        foreach (var (name, value) in settings) _environment[name] = value;
    }

    public int Port { get; }
    public string Url => $"http://127.0.0.1:{Port.ToString(CultureInfo.InvariantCulture)}";
    /// <summary>What its log has of requests that failed, as far as it is kept.</summary>
    public IEnumerable<string> Errors => (_process?.Lines ?? []).SkipWhile(l => !l.Contains("ExceptionHandlerMiddleware", StringComparison.Ordinal)).Take(60);

    public static async Task<ReplicaProcess> StartAsync(string connectionString, int? port = null, params (string Name, string? Value)[] settings)
    {
        var replica = new ReplicaProcess(connectionString, port ?? FreePort.Next(), settings);
        await replica.StartAsync();
        return replica;
    }

    public async Task StartAsync()
    {
        _process = ProcessUnderTest.Start("dotnet", [Path.Combine(AppContext.BaseDirectory, "Sandbox.Api.dll")], _environment);
        await _process.WaitForLineAsync("Application started", Patience);
    }

    /// <summary>SIGKILL.</summary>
    public async Task KillAsync()
    {
        await _process!.KillAsync();
        await _process.DisposeAsync();
        _process = null;
    }

    public void Freeze() => _process!.Freeze();

    public void Thaw() => _process!.Thaw();

    /// <summary>From that address of the loopback network.</summary>
    public HttpClient Client(string secret, string from = "127.0.0.1")
    {
        var handler = new SocketsHttpHandler
        {
            UseCookies = true,
            ConnectCallback = async (to, ct) =>
            {
                var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
                socket.Bind(new IPEndPoint(IPAddress.Parse(from), 0));
                await socket.ConnectAsync(to.DnsEndPoint, ct);
                return new NetworkStream(socket, ownsSocket: true);
            },
        };
        var client = new HttpClient(handler) { BaseAddress = new Uri(Url), Timeout = Patience };
        client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", secret);
        return client;
    }

    public ValueTask DisposeAsync() => _process?.DisposeAsync() ?? ValueTask.CompletedTask;
}
