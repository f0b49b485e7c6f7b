using System.Text;
using Microsoft.Extensions.Logging.Abstractions;
using Worker.Console;
using Worker.Tests.Channels;
using Xunit;

namespace Worker.Tests.Console;

public sealed class SerialConsoleTests : IAsyncLifetime
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(10);
    private readonly TemporaryDirectory _directory = new();
    private ScriptedPeer _server = null!;
    private SerialConsole _console = null!;

    private static CancellationToken Ct => ScriptedPeer.Ct;
    private string SocketPath => _directory.Of("serial.sock");

    public ValueTask InitializeAsync()
    {
        _server = new ScriptedPeer(SocketPath);
        _console = Open();
        return ValueTask.CompletedTask;
    }

    public async ValueTask DisposeAsync()
    {
        await _console.DisposeAsync();
        _server.Dispose();
        _directory.Dispose();
    }

    private SerialConsole Open() => new(SocketPath, _directory.Of("ring"), TimeProvider.System, NullLogger.Instance);

    private string Text() => Encoding.UTF8.GetString(_console.Read(0, int.MaxValue).Data);

    private Task UntilTextAsync(string text) => Eventually.TrueAsync(() => Text() == text, $"the console shows {text}");

    [Fact]
    public async Task Read_WhenTheGuestPrints_ShowsItFromAnyOffset()
    {
        using var guest = await _server.AcceptAsync();
        await guest.SayAsync("hello");
        await UntilTextAsync("hello");
        Assert.Equal((5, 3L, "lo"), (_console.End, _console.Read(3, 10).Offset, Encoding.UTF8.GetString(_console.Read(3, 10).Data)));
    }

    [Fact]
    public async Task WaitForOutput_WhenSeveralWait_AllWakeAndNoneBeforeItsOffset()
    {
        using var guest = await _server.AcceptAsync();
        var waits = new[] { 0L, 0, 2, 4, 5 }.Select(beyond => _console.WaitForOutputAsync(beyond, Ct)).ToList();
        await guest.SayAsync("abcde");
        await Task.WhenAll(waits[..4]).WaitAsync(Limit, Ct);
        Assert.False(waits[4].IsCompleted);
        await guest.SayAsync("f");
        await waits[4].WaitAsync(Limit, Ct);
    }

    [Fact]
    public async Task WaitForOutput_ByReadersOfAFastGuest_NeverMissesAByte()
    {
        using var guest = await _server.AcceptAsync();
        var said = new byte[200_000];
        new Random(3).NextBytes(said);
        var readers = Enumerable.Range(0, 3).Select(_ => Task.Run(FollowAsync, Ct)).ToList();
        foreach (var part in said.Chunk(777))
            await guest.SayAsync(part);
        foreach (var heard in await Task.WhenAll(readers).WaitAsync(Limit, Ct))
            Assert.True(heard.SequenceEqual(said));

        async Task<List<byte>> FollowAsync()
        {
            var heard = new List<byte>();
            while (heard.Count < said.Length)
            {
                await _console.WaitForOutputAsync(heard.Count, Ct);
                heard.AddRange(_console.Read(heard.Count, 1000).Data);
            }
            return heard;
        }
    }

    [Fact]
    public async Task WaitForOutput_WhenCancelledOrDisposed_Ends()
    {
        using var impatient = new CancellationTokenSource(TimeSpan.FromMilliseconds(50));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => _console.WaitForOutputAsync(0, impatient.Token));
        var waiting = _console.WaitForOutputAsync(0, Ct);
        await _console.DisposeAsync();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => waiting.WaitAsync(Limit, Ct));
        Assert.Empty(_console.Read(0, 10).Data);
    }

    [Fact]
    public async Task Write_WhenConnected_ReachesTheGuest()
    {
        using var guest = await _server.AcceptAsync();
        await guest.SayAsync("# ");
        await UntilTextAsync("# ");
        await _console.WriteAsync("ls\n"u8.ToArray(), Ct);
        Assert.Equal("ls", await guest.HearLineAsync());
    }

    [Fact]
    public async Task Write_OfKeysTypedFasterThanTheGuestReads_LosesNone()
    {
        using var guest = await _server.AcceptAsync();
        await guest.SayAsync("# ");
        await UntilTextAsync("# ");
        var writes = new List<Task>();
        // Until the socket takes no more.
        do
            writes.Add(_console.WriteAsync(Enumerable.Repeat((byte)'p', 4096).ToArray(), Ct));
        while (await Task.WhenAny(writes[^1], Task.Delay(100, Ct)) == writes[^1]);
        var pasted = 4096 * writes.Count;
        for (var i = 0; i < 200; i++)
            writes.Add(_console.WriteAsync("k"u8.ToArray(), Ct));
        writes.Add(_console.WriteAsync("\n"u8.ToArray(), Ct));
        var line = await guest.HearLineAsync();
        await Task.WhenAll(writes).WaitAsync(Limit, Ct);
        Assert.Equal(pasted + 200, line!.Length);
    }

    [Fact]
    public async Task Write_WhenThereIsNoGuest_IsAnIoException()
    {
        await using var alone = new SerialConsole(_directory.Of("none.sock"), _directory.Of("other"), TimeProvider.System, NullLogger.Instance);
        await Assert.ThrowsAsync<IOException>(() => alone.WriteAsync("x"u8.ToArray(), Ct));
    }

    [Fact]
    public async Task Output_WhenTheWorkerWasAwayFromTheSameVmm_ShowsTheGap()
    {
        using (var guest = await _server.AcceptAsync())
        {
            await guest.SayAsync("before");
            await UntilTextAsync("before");
            await _console.DisposeAsync();
        }
        _console = Open();
        using var again = await _server.AcceptAsync();
        await again.SayAsync("after");
        await UntilTextAsync("before\r\n[no worker listened for 1 s]\r\nafter");
    }

    [Fact]
    public async Task Output_WhenANewVmmStarts_ContinuesWithoutAGap()
    {
        using (var guest = await _server.AcceptAsync())
        {
            await guest.SayAsync("first;");
            await UntilTextAsync("first;");
            _server.Dispose();
            File.Delete(SocketPath);
        }
        _server = new ScriptedPeer(SocketPath);
        using var next = await _server.AcceptAsync();
        await next.SayAsync("second");
        await UntilTextAsync("first;second");
        Assert.Equal(12, _console.End);
    }
}
