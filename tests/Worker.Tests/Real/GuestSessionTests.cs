using System.Security.Cryptography;
using System.Text;
using Contracts;
using Xunit;

namespace Worker.Tests.Real;

/// <summary>Commands and files in a real guest, asked for as the API asks.</summary>
public sealed class GuestSessionTests : IAsyncLifetime
{
    private readonly TemporaryDirectory _state = new();
    private readonly Guid _id = Guid.NewGuid();
    private FakeApi _api = null!;
    private WorkerProcess? _worker;

    public async ValueTask InitializeAsync()
    {
        _api = await FakeApi.StartAsync();
        var token = _state.Of("token");
        await File.WriteAllTextAsync(token, "sbn_test\n");
        Assert.SkipWhen(WorkerProcess.QemuProblem is not null, WorkerProcess.QemuProblem ?? "");
        Assert.SkipWhen(WorkerProcess.Images is null, "there is no guest image: build it with ./sandbox image");
        _worker = WorkerProcess.Start(_state.Of("node"), WorkerProcess.Images!, _api.Url, token);
        await _api.PlanAsync([new PlannedSandbox(_id, "guest", 1, DesiredState.Running, false, new SandboxSpec("guest", 1, 256, Viommu.None, [], null, [], Vmm.Qemu))]);
        await _api.UntilAsync(_id, s => s.State is VmState.Running or VmState.Failed, "the guest runs", 90);
    }

    public async ValueTask DisposeAsync()
    {
        _worker?.Dispose();
        var left = _worker is null ? 0 : await WorkerProcess.DestroyAllAsync(_state.Of("node"));
        await _api.DisposeAsync();
        _state.Dispose();
        Assert.Equal(0, left);
    }

    private static ExecRequest Shell(string script, long? timeout = null, int? user = null) =>
        new(["sh", "-c", script], new Dictionary<string, string> { ["WORD"] = "it's" }, null, user, timeout);

    private async Task<Guid> OpenAsync(SessionRequest request)
    {
        var session = Guid.NewGuid();
        await _api.ToSessionAsync(new(_id, session, new SessionOpen(request)));
        return session;
    }

    private IReadOnlyList<OfSession> Of(Guid session) => [.. _api.SessionSteps.Where(s => s.Session == session).Select(s => s.Step)];

    private static byte[] Output(IReadOnlyList<OfSession> steps, int stream) => [.. steps.OfType<SessionOutput>().Where(o => o.Stream == stream).SelectMany(o => o.Data)];

    private Task SendAsync(Guid session, ToSession step) => _api.ToSessionAsync(new(_id, session, step));

    /// <summary>Gives credit for all that is put out, until the end.</summary>
    private async Task<(SessionEnded End, IReadOnlyList<OfSession> Steps)> EndAsync(Guid session)
    {
        var given = 0;
        await Eventually.TrueAsync(() =>
        {
            var seen = Of(session).OfType<SessionOutput>().Count();
            for (; given < seen; given++)
                SendAsync(session, new SessionMore(1)).GetAwaiter().GetResult();
            return Of(session) is [.., SessionEnded];
        }, "the session ends", 60);
        var steps = Of(session);
        return ((SessionEnded)steps[^1], steps);
    }

    [Fact]
    public async Task Exec_TellsBothStreamsInputEnvironmentUserAndExitCode()
    {
        var session = await OpenAsync(Shell("cat; echo \"$WORD\" >&2; id -u; exit 7", user: 1000));
        await Eventually.TrueAsync(() => Of(session).Count > 0, "it has begun", 30);
        Assert.IsType<SessionOpened>(Of(session)[0]);
        await SendAsync(session, new SessionInput("typed "u8.ToArray()));
        await SendAsync(session, new SessionInput([]));
        var (end, steps) = await EndAsync(session);
        Assert.Equal(new SessionEnded(SessionReasons.Done, ExitCode: 7), end);
        Assert.Equal(("typed 1000\n", "it's\n"), (Encoding.UTF8.GetString(Output(steps, 1)), Encoding.UTF8.GetString(Output(steps, 2))));
    }

    [Fact]
    public async Task Exec_WhenSignalledOrLateOrMissing_SaysHowItEnded()
    {
        var sleeping = await OpenAsync(Shell("echo ready; sleep 1000 & wait"));
        await Eventually.TrueAsync(() => Output(Of(sleeping), 1).Length > 0, "it runs", 30);
        await SendAsync(sleeping, new SessionSignal(15));
        Assert.Equal(new SessionEnded(SessionReasons.Done, Signal: 15), (await EndAsync(sleeping)).End);
        Assert.Equal(new SessionEnded(SessionReasons.TimedOut, Signal: 9), (await EndAsync(await OpenAsync(Shell("sleep 1000", timeout: 1000)))).End);
        var missing = await EndAsync(await OpenAsync(new ExecRequest(["/no/such"], new Dictionary<string, string>(), null, null, null)));
        Assert.Equal(127, missing.End.ExitCode);
        Assert.Contains("/no/such", Encoding.UTF8.GetString(Output(missing.Steps, 2)), StringComparison.Ordinal);
        // What it left in its process group has ended with it.
        var left = await EndAsync(await OpenAsync(Shell("ps | grep -c '[s]leep 1000'")));
        Assert.Equal("0\n", Encoding.UTF8.GetString(Output(left.Steps, 1)));
    }

    [Fact]
    public async Task Exec_WhenItFloodsANonReader_StallsOnlyItself()
    {
        var flood = await OpenAsync(Shell("yes"));
        await Eventually.TrueAsync(() => Of(flood).OfType<SessionOutput>().Count() == GuestSessions.Window, "its credit is used up", 30);
        var other = await EndAsync(await OpenAsync(Shell("head -c 400000 /dev/zero | tr '\\0' x; echo done >&2")));
        Assert.Equal((400_000, "done\n"), (Output(other.Steps, 1).Length, Encoding.UTF8.GetString(Output(other.Steps, 2))));
        Assert.Equal(GuestSessions.Window, Of(flood).OfType<SessionOutput>().Count());
        Assert.Equal(VmState.Running, _api.Find(_id)!.State);
        await SendAsync(flood, new SessionClose());
        await Eventually.TrueAsync(() => Encoding.UTF8.GetString(Output(EndAsync(OpenAsync(Shell("ps | grep -c '[y]es$'")).GetAwaiter().GetResult()).GetAwaiter().GetResult().Steps, 1)) == "0\n", "it is killed", 30);
    }

    [Fact]
    public async Task Files_ArePutAndGot_AndRefused()
    {
        var content = RandomNumberGenerator.GetBytes(200_000);
        var sha256 = Convert.ToHexStringLower(SHA256.HashData(content));
        var put = await OpenAsync(new FilePutRequest("/tmp/put", 0b111_101_000, 1_000_000));
        await Eventually.TrueAsync(() => Of(put).Count > 0, "it has begun", 30);
        var sent = 0;
        foreach (var part in content.Chunk(GuestSessions.MaxFrameBytes).Append([]))
        {
            await Eventually.TrueAsync(() => GuestSessions.Window + Of(put).OfType<SessionTook>().Sum(t => t.Frames) > sent, "there is credit", 30);
            await SendAsync(put, new SessionInput(part));
            sent++;
        }
        Assert.Equal(new SessionEnded(SessionReasons.Done, SizeBytes: content.Length, Sha256: sha256), (await EndAsync(put)).End);
        var got = await EndAsync(await OpenAsync(new FileGetRequest("/tmp/put", 1_000_000)));
        Assert.Equal(new SessionOpened(content.Length, 0b111_101_000, sha256), got.Steps[0]);
        Assert.Equal(content, Output(got.Steps, 1));
        Assert.Equal("/tmp/put\n", Encoding.UTF8.GetString(Output((await EndAsync(await OpenAsync(Shell("find /tmp -type f")))).Steps, 1)));
        foreach (var (path, max, reason) in new[] { ("/tmp/none", 9L, SessionReasons.NotFound), ("/tmp", 9L, SessionReasons.NotAFile), ("/dev/zero", 9L, SessionReasons.NotAFile), ("/tmp/put", 9L, SessionReasons.TooLarge), ("relative", 9L, SessionReasons.InvalidRequest) })
            Assert.Equal((path, reason), (path, (await EndAsync(await OpenAsync(new FileGetRequest(path, max)))).End.Reason));
    }

    [Fact]
    public async Task Tcp_ReachesAPortOfTheGuest_AndSaysWhenNothingListens()
    {
        Assert.Equal(SessionReasons.NothingListens, (await EndAsync(await OpenAsync(new TcpRequest(22)))).End.Reason);
        var server = await OpenAsync(Shell("ip link set lo up || ifconfig lo 127.0.0.1 up; nc -l -p 22 -e cat"));
        await Eventually.TrueAsync(() => Of(server).Count > 0, "it runs", 30);
        Guid tunnel = default;
        await Eventually.TrueAsync(() =>
        {
            tunnel = OpenAsync(new TcpRequest(22)).GetAwaiter().GetResult();
            Eventually.TrueAsync(() => Of(tunnel).Count > 0, "it is answered", 30).GetAwaiter().GetResult();
            return Of(tunnel)[0] is SessionOpened;
        }, "it listens", 30);
        await SendAsync(tunnel, new SessionInput("echoed"u8.ToArray()));
        await Eventually.TrueAsync(() => Output(Of(tunnel), 1).Length == 6, "it is echoed", 30);
        await SendAsync(tunnel, new SessionInput([]));
        var (end, steps) = await EndAsync(tunnel);
        Assert.Equal((SessionReasons.Done, "echoed"), (end.Reason, Encoding.UTF8.GetString(Output(steps, 1))));
    }
}
