using System.Text;
using Microsoft.Extensions.Logging.Abstractions;
using Worker.Console;
using Worker.Tests.Kvmtool;
using Xunit;

namespace Worker.Tests.Console;

public sealed class FollowedConsoleTests : IAsyncLifetime
{
    private readonly TemporaryDirectory _directory = new();
    private SerialConsole _console = null!;

    private static CancellationToken Ct => TestContext.Current.CancellationToken;
    private string Output => _directory.Of("console.out");
    private string Keys => _directory.Of("console.in");

    public ValueTask InitializeAsync()
    {
        _console = Open();
        return ValueTask.CompletedTask;
    }

    public async ValueTask DisposeAsync()
    {
        await _console.DisposeAsync();
        _directory.Dispose();
    }

    private SerialConsole Open() => new(new FollowedConsole(Output, Keys, TimeProvider.System), _directory.Of("ring"), TimeProvider.System, NullLogger.Instance);

    private string Text() => Encoding.UTF8.GetString(_console.Read(0, int.MaxValue).Data);

    private Task UntilTextAsync(string text) => Eventually.TrueAsync(() => Text() == text, $"the console shows {text}");

    [Fact]
    public async Task Output_AppendedToTheFile_IsShownOnce()
    {
        File.AppendAllText(Output, "hello");
        await UntilTextAsync("hello");
        File.AppendAllText(Output, ", world");
        await UntilTextAsync("hello, world");
        Assert.Equal(12, _console.End);
    }

    [Fact]
    public async Task Output_WhileTheWorkerWasAway_IsNeitherLostNorShownTwice()
    {
        File.AppendAllText(Output, "before;");
        await UntilTextAsync("before;");
        await _console.DisposeAsync();
        File.AppendAllText(Output, "meanwhile;");
        _console = Open();
        await UntilTextAsync("before;meanwhile;");
        File.AppendAllText(Output, "after");
        await UntilTextAsync("before;meanwhile;after");
    }

    [Fact]
    public async Task Output_OfTheNextVmm_FollowsThatOfTheOneBefore_AlsoOverAWorkersRestart()
    {
        File.AppendAllText(Output, "first;");
        await UntilTextAsync("first;");
        File.Delete(Output);
        File.AppendAllText(Output, "second;");
        await UntilTextAsync("first;second;");
        await _console.DisposeAsync();
        File.Delete(Output);
        // Longer than what was read of the one before.
        File.AppendAllText(Output, "the third one;");
        _console = Open();
        await UntilTextAsync("first;second;the third one;");
    }

    [Fact]
    public async Task Output_OfAFileThatWasDeletedMeanwhile_IsStillReadToItsEnd()
    {
        await using var stream = new FileStream(Output, FileMode.Append, FileAccess.Write, FileShare.ReadWrite | FileShare.Delete, 0);
        stream.Write("last"u8);
        await UntilTextAsync("last");
        stream.Write(" words"u8);
        File.Delete(Output);
        await UntilTextAsync("last words");
    }

    [Fact]
    public async Task Output_ThatIsCutOff_GoesOnAtItsNewEnd()
    {
        File.AppendAllText(Output, "long beginning;");
        await UntilTextAsync("long beginning;");
        using (var file = File.Open(Output, FileMode.Open, FileAccess.Write, FileShare.ReadWrite))
            file.SetLength(3);
        await Task.WhenAny(_console.WaitForOutputAsync(_console.End, Ct), Task.Delay(200, Ct));
        File.AppendAllText(Output, "more");
        await UntilTextAsync("long beginning;more");
    }

    [Fact]
    public async Task Output_ThatIsReadInPieces_IsGivenBackToTheDisk()
    {
        var part = new byte[512 * 1024];
        Array.Fill(part, (byte)'.');
        long length = 0;
        for (var round = 0; round < 8; round++)
        {
            using (var file = new FileStream(Output, FileMode.Append))
                file.Write(part);
            length += part.Length;
            await _console.WaitForOutputAsync(length - 1, Ct);
        }
        await Eventually.TrueAsync(() => BytesOnDisk() <= FollowedConsole.FreeEvery + 64 * 1024, "what was read takes no disk space");
        Assert.Equal(length, new FileInfo(Output).Length);
    }

    private long BytesOnDisk() => long.Parse(StandInLkvm.Run("stat", "-c", "%b", Output).Said, System.Globalization.CultureInfo.InvariantCulture) * 512;

    [Fact]
    public async Task Output_ThatRunsAhead_IsSkippedAndTheConsoleSaysSo()
    {
        await _console.DisposeAsync();
        using (var file = new FileStream(Output, FileMode.Append))
        {
            file.SetLength(FollowedConsole.MaxBehind + ConsoleRing.Capacity);
            file.Seek(0, SeekOrigin.End);
            file.Write("the end"u8);
        }
        _console = Open();
        await Eventually.TrueAsync(() => Text().EndsWith("the end", StringComparison.Ordinal), "the end is shown");
        Assert.Equal(ConsoleRing.Capacity + Marker.Length, _console.End);
        await _console.DisposeAsync();
        File.AppendAllText(Output, "!");
        _console = Open();
        await Eventually.TrueAsync(() => Text().EndsWith("the end!", StringComparison.Ordinal), "it goes on after a restart");
    }

    private static string Marker => $"\r\n[{FollowedConsole.MaxBehind + 7} bytes were put out too fast and are left out]\r\n";

    [Fact]
    public async Task Output_ThatIsALinkAPipeOrSomebodyElsesFile_IsNeitherReadNorWaitedFor()
    {
        var secret = _directory.Of("secret");
        File.WriteAllText(secret, "secret");
        File.CreateSymbolicLink(Output, secret);
        await AssertNothingAsync();
        File.Delete(Output);
        StandInLkvm.MakePipe(Output);
        await AssertNothingAsync();
        File.Delete(Output);
        Assert.Equal(0, StandInLkvm.Run("ln", secret, Output).Status);
        await AssertNothingAsync();
        File.Delete(Output);
        if (LibC.EffectiveUser() == 0)
        {
            File.WriteAllText(Output, "another user's");
            LibC.Own(Output, 65_000);
            await AssertNothingAsync();
            File.Delete(Output);
        }
        File.WriteAllText(Output, "own");
        await UntilTextAsync("own");
    }

    private async Task AssertNothingAsync()
    {
        await Task.WhenAny(_console.WaitForOutputAsync(0, Ct), Task.Delay(200, Ct));
        Assert.Equal(0, _console.End);
    }

    [Fact]
    public async Task Write_ToAPipe_DoublesTheEscape()
    {
        StandInLkvm.MakePipe(Keys);
        File.WriteAllText(Output, "# ");
        await UntilTextAsync("# ");
        // Opened for both, as the launcher does: it never ends and its opening does not wait.
        await using var reader = new FileStream(Keys, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite, 0);
        await _console.WriteAsync("a\u0001xb"u8.ToArray(), Ct);
        var heard = new byte[5];
        await reader.ReadExactlyAsync(heard, Ct).AsTask().WaitAsync(TimeSpan.FromSeconds(10), Ct);
        Assert.Equal("a\u0001\u0001xb"u8.ToArray(), heard);
    }

    [Fact]
    public async Task Write_WhenNobodyReadsOrThePipeIsNoneOrFull_IsAnIoExceptionAtOnce()
    {
        await Assert.ThrowsAsync<IOException>(() => _console.WriteAsync("x"u8.ToArray(), Ct));
        File.WriteAllText(Output, "# ");
        await UntilTextAsync("# ");
        await Assert.ThrowsAsync<IOException>(() => _console.WriteAsync("x"u8.ToArray(), Ct));
        File.WriteAllText(Keys, "a file");
        await Assert.ThrowsAsync<IOException>(() => _console.WriteAsync("x"u8.ToArray(), Ct));
        Assert.Equal("a file", File.ReadAllText(Keys));
        File.Delete(Keys);
        StandInLkvm.MakePipe(Keys);
        await Assert.ThrowsAsync<IOException>(() => _console.WriteAsync("x"u8.ToArray(), Ct));
        await using var silent = new FileStream(Keys, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite, 0);
        await Assert.ThrowsAsync<IOException>(async () =>
        {
            for (var round = 0; round < 100; round++)
                await _console.WriteAsync(new byte[4096], Ct);
        });
    }
}
