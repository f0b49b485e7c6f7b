using System.Net.Sockets;
using System.Text;

namespace Worker.Tests.Channels;

/// <summary>The other end of a channel: listens on a real unix socket and does what the test says.</summary>
internal sealed class ScriptedPeer : IDisposable
{
    private readonly Socket _listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);

    public ScriptedPeer(string path)
    {
        // By way of the open directory: the path may be longer than an address.
        var directory = LibC.OpenPath(Path.GetDirectoryName(path)!);
        _listener.Bind(new UnixDomainSocketEndPoint($"/proc/self/fd/{directory}/{Path.GetFileName(path)}"));
        _ = LibC.Close(directory);
        _listener.Listen(8);
    }

    public static CancellationToken Ct => Xunit.TestContext.Current.CancellationToken;

    public async Task<PeerConnection> AcceptAsync(int seconds = 10)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(Ct);
        limit.CancelAfter(TimeSpan.FromSeconds(seconds));
        return new PeerConnection(await _listener.AcceptAsync(limit.Token));
    }

    /// <summary>Whether somebody connects within a time.</summary>
    public bool IsKnockedAt(TimeSpan within) => _listener.Poll(within, SelectMode.SelectRead);

    public void Dispose() => _listener.Dispose();
}

internal sealed class PeerConnection : IDisposable
{
    private readonly Socket _socket;
    private readonly NetworkStream _stream;
    private readonly StreamReader _reader;

    public PeerConnection(Socket socket)
    {
        _socket = socket;
        _stream = new NetworkStream(socket, ownsSocket: true);
        _reader = new StreamReader(_stream, new UTF8Encoding(false));
    }

    public Task SayAsync(string text) => SayAsync(Encoding.UTF8.GetBytes(text));

    public async Task SayAsync(byte[] bytes) => await _stream.WriteAsync(bytes, ScriptedPeer.Ct);

    /// <summary>Whether something was said that has not been heard yet.</summary>
    public bool IsSpokenTo => _socket.Available > 0;

    /// <summary>Null at the end of the connection.</summary>
    public async Task<string?> HearLineAsync(int seconds = 10)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(ScriptedPeer.Ct);
        limit.CancelAfter(TimeSpan.FromSeconds(seconds));
        try
        {
            return await _reader.ReadLineAsync(limit.Token);
        }
        catch (IOException)
        {
            return null;
        }
    }

    public void Dispose()
    {
        _reader.Dispose();
        _stream.Dispose();
    }
}
