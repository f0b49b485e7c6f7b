using System.Net.Sockets;

namespace Worker.Channels;

/// <summary>A unix socket by its file, however deep that lies: a socket's address holds 107 bytes (unix(7), sun_path), so the directory
/// is opened and the file is named from there. Valid until disposed; the connection outlives it.</summary>
internal readonly struct SocketFile : IDisposable
{
    private const int OnlyAsPath = 0x200000; // O_PATH
    private const int CloseOnExec = 0x80000;
    private readonly int _directory;

    public SocketFile(string path)
    {
        _directory = LibC.Open(Path.GetDirectoryName(path)!, OnlyAsPath | CloseOnExec);
        if (_directory < 0)
            throw new SocketException((int)SocketError.AddressNotAvailable);
        Address = new UnixDomainSocketEndPoint($"/proc/self/fd/{_directory}/{Path.GetFileName(path)}");
    }

    public UnixDomainSocketEndPoint Address { get; }

    public static async Task ConnectAsync(Socket socket, string path, CancellationToken ct)
    {
        using var file = new SocketFile(path);
        await socket.ConnectAsync(file.Address, ct);
    }

    public void Dispose() => _ = LibC.Close(_directory);
}
