using System.Net.Sockets;
using Worker.Channels;
using Worker.Vms;
using Worker.Vms.Qemu;
using Xunit;

namespace Worker.Tests.Channels;

/// <summary>What the VM's user may have put in its directory in place of what the worker expects there.</summary>
public sealed class SocketFileTests : IDisposable
{
    private readonly TemporaryDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    private async Task<bool> ConnectsAsync(string name)
    {
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await SocketFile.ConnectAsync(socket, _directory.Of(name), TestContext.Current.CancellationToken);
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    [Fact]
    public async Task Connect_TakesASocketAndNoLinkToOne()
    {
        using var peer = new ScriptedPeer(_directory.Of("own.sock"));
        File.CreateSymbolicLink(_directory.Of("link.sock"), _directory.Of("own.sock"));
        await File.WriteAllTextAsync(_directory.Of("plain.sock"), "", TestContext.Current.CancellationToken);
        Assert.True(await ConnectsAsync("own.sock"));
        Assert.False(await ConnectsAsync("link.sock"));
        Assert.False(await ConnectsAsync("plain.sock"));
        Assert.False(await ConnectsAsync("none.sock"));
    }

    [Fact]
    public async Task Connect_WhenTheSocketIsSomebodyElses_Refuses()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "needs root: a file cannot be given away otherwise");
        using var peer = new ScriptedPeer(_directory.Of("given.sock"));
        LibC.Own(_directory.Of("given.sock"), 65534);
        Assert.False(await ConnectsAsync("given.sock"));
    }

    [Theory]
    [InlineData("pipe")]
    [InlineData("link")]
    [InlineData("directory")]
    [InlineData("nothing")]
    public void ReadEnd_OfAnythingButAPlainFile_IsNothingAndDoesNotWait(string kind)
    {
        var path = _directory.Of("events.out");
        switch (kind)
        {
            case "pipe":
                using (var made = System.Diagnostics.Process.Start("mkfifo", [path]))
                    made.WaitForExit();
                break;
            case "link":
                File.WriteAllText(_directory.Of("other"), "secret");
                File.CreateSymbolicLink(path, _directory.Of("other"));
                break;
            case "directory":
                Directory.CreateDirectory(path);
                break;
        }
        Assert.Null(VmFiles.ReadEnd(path, 100));
        Assert.Null(QemuEventLog.Read(_directory.Of("events")));
    }

    [Fact]
    public void ReadEnd_OfALongFile_IsItsEnd()
    {
        File.WriteAllText(_directory.Of("log"), "0123456789");
        Assert.Equal("789"u8.ToArray(), VmFiles.ReadEnd(_directory.Of("log"), 3));
    }
}
