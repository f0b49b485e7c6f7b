using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text;
using Contracts;
using GuestAgent.Sessions;
using Xunit;

namespace Worker.Tests.GuestAgentParts;

public sealed class FileSessionTests
{
    private readonly ConcurrentQueue<OfSession> _told = new();

    private void Tell(AgentMessage message) => _told.Enqueue(((AgentOfSession)message).Step);

    private async Task<SessionEnded> EndAsync() => (SessionEnded)await Eventually.GetAsync<OfSession>(() => _told.OfType<SessionEnded>().SingleOrDefault(), "it ends", 60);

    private async Task<(SessionOpened Opened, byte[] Content, SessionEnded Ended)> GetAsync(string path, Action<int>? afterFrames = null)
    {
        var session = new FileGetSession(Guid.NewGuid(), new(path, 1L << 30), Tell);
        session.Begin();
        var given = 0;
        await Eventually.TrueAsync(() =>
        {
            var frames = _told.OfType<SessionOutput>().Count();
            if (frames > given && frames % GuestSessions.Window == 0)
            {
                afterFrames?.Invoke(frames);
                given = frames;
                session.Take(new SessionMore(GuestSessions.Window));
            }
            return _told.Any(t => t is SessionEnded);
        }, "it is read", 60);
        return (_told.OfType<SessionOpened>().Single(), [.. _told.OfType<SessionOutput>().SelectMany(o => o.Data)], await EndAsync());
    }

    [Theory]
    [InlineData("/proc/self/stat")]
    [InlineData("/proc/self/status")]
    [InlineData("/proc/self/maps")]
    [InlineData("/proc/uptime")]
    [InlineData("/proc/interrupts")]
    public async Task Get_OfAFileThatClaimsToBeEmpty_AndTellsAnotherThingAtEachReading_IsWhole(string path)
    {
        Assert.Equal(0, new FileInfo(path).Length);
        var (opened, content, ended) = await GetAsync(path);
        Assert.Equal(SessionReasons.Done, ended.Reason);
        Assert.Equal((opened.SizeBytes, opened.Sha256), (content.Length, Convert.ToHexStringLower(SHA256.HashData(content))));
        Assert.NotEmpty(content);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(1024 * 1024)]
    [InlineData(1024 * 1024 + 1)]
    [InlineData(3_000_000)]
    public async Task Get_OfAnySize_IsWhole(int size)
    {
        using var directory = new TemporaryDirectory();
        var path = Path.Combine(directory.FullPath, "file");
        var bytes = new byte[size];
        new Random(size).NextBytes(bytes);
        await File.WriteAllBytesAsync(path, bytes, TestContext.Current.CancellationToken);
        var (opened, content, ended) = await GetAsync(path);
        Assert.Equal((SessionReasons.Done, size), (ended.Reason, opened.SizeBytes));
        Assert.True(bytes.AsSpan().SequenceEqual(content));
    }

    [Theory]
    [InlineData(500_000, SessionReasons.Done)]
    [InlineData(3_000_000, SessionReasons.Changed)]
    public async Task Get_OfAFileThatIsTruncatedMeanwhile_IsWholeOrSaysSo(int size, string reason)
    {
        using var directory = new TemporaryDirectory();
        var path = Path.Combine(directory.FullPath, "file");
        await File.WriteAllBytesAsync(path, new byte[size], TestContext.Current.CancellationToken);
        var (_, content, ended) = await GetAsync(path, frames =>
        {
            if (frames != GuestSessions.Window) return;
            using var file = new FileStream(path, FileMode.Open, FileAccess.Write);
            file.SetLength(10);
        });
        Assert.Equal((reason, reason == SessionReasons.Done), (ended.Reason, content.Length == size));
    }

    [Theory]
    [InlineData("/dev/null")]
    [InlineData("/proc")]
    public async Task Put_OverWhatIsNoRegularFile_IsRefusedBeforeAnythingIsSent(string path)
    {
        var session = new FilePutSession(Guid.NewGuid(), new(path, 420, 1024), Tell);
        session.Begin();
        Assert.Equal(SessionReasons.NotAFile, (await EndAsync()).Reason);
        Assert.Single(_told);
    }

    [Fact]
    public async Task Put_OverALink_ReplacesTheLink_AndOverWhatBecameADirectoryMeanwhile_IsRefused()
    {
        using var directory = new TemporaryDirectory();
        var (target, link) = (Path.Combine(directory.FullPath, "target"), Path.Combine(directory.FullPath, "link"));
        await File.WriteAllTextAsync(target, "kept", TestContext.Current.CancellationToken);
        File.CreateSymbolicLink(link, target);
        await PutAsync(link, "new", () => { });
        Assert.Equal(SessionReasons.Done, (await EndAsync()).Reason);
        Assert.Equal(("kept", "new", null), (await File.ReadAllTextAsync(target, TestContext.Current.CancellationToken), await File.ReadAllTextAsync(link, TestContext.Current.CancellationToken), new FileInfo(link).LinkTarget));

        _told.Clear();
        var path = Path.Combine(directory.FullPath, "meanwhile");
        await PutAsync(path, "new", () => Directory.CreateDirectory(path));
        Assert.Equal(SessionReasons.NotAFile, (await EndAsync()).Reason);
        Assert.Empty(Directory.GetFiles(directory.FullPath, ".sandbox-*"));
    }

    private async Task PutAsync(string path, string text, Action meanwhile)
    {
        var session = new FilePutSession(Guid.NewGuid(), new(path, 420, 1024), Tell);
        session.Begin();
        await Eventually.TrueAsync(() => _told.Any(t => t is SessionOpened), "it is open", 60);
        meanwhile();
        session.Take(new SessionInput(Encoding.UTF8.GetBytes(text)));
        session.Take(new SessionInput([]));
    }
}
