using System.Net.Sockets;

namespace Worker.Channels;

// Connects to a unix socket by its file. The file lies in a directory of the VM's user, who may put anything there under its name.
// Guarantees: what is connected to is a socket, of the same owner as its directory, and no link to another (the worker is root); the file
// may lie however deep, though a socket's address holds 107 bytes (unix(7), sun_path): it is opened first and named by its descriptor.
internal static class SocketFile
{
    public static async Task ConnectAsync(Socket socket, string path, CancellationToken ct)
    {
        var file = LibC.OpenPath(path);
        try
        {
            if (file < 0 || LibC.Describe(file) is not { Kind: LibC.FileKind.Socket } found || found.Owner != LibC.Describe(Path.GetDirectoryName(path)!)?.Owner)
                throw new SocketException((int)SocketError.AddressNotAvailable);
            await socket.ConnectAsync(new UnixDomainSocketEndPoint($"/proc/self/fd/{file}"), ct);
        }
        finally
        {
            if (file >= 0)
                _ = LibC.Close(file);
        }
    }
}
