using System.Net.Sockets;
using System.Text;

namespace StandIn;

/// <summary>The sockets in $HOME/.lkvm.</summary>
internal static class Instances
{
    private const int MaxAddress = 107;

    private static string Folder => Path.Combine(Environment.GetEnvironmentVariable("HOME") ?? "(null)", ".lkvm");

    public static Socket? Listen(string name, out string path)
    {
        Directory.CreateDirectory(Folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        path = Path.GetFullPath(Folder) + $"//{name}.sock";
        path = Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(path).AsSpan(0, Math.Min(MaxAddress, Encoding.UTF8.GetByteCount(path))));
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            socket.Bind(new UnixDomainSocketEndPoint(path));
            socket.Listen(5);
            return socket;
        }
        catch (SocketException problem)
        {
            Console.Error.WriteLine($"bind: {problem.Message}");
            socket.Dispose();
            return null;
        }
    }

    public static int List()
    {
        Console.WriteLine($"{"PID",6} {"NAME",-20} STATE");
        Console.WriteLine(new string('-', 36));
        foreach (var path in Directory.Exists(Folder) ? Directory.EnumerateFiles(Folder, "*.sock") : [])
        {
            using var socket = Ask(path, 7);
            var answer = new byte[4];
            if (socket.Receive(answer) == answer.Length)
                Console.WriteLine($"{BitConverter.ToInt32(answer),5} {Path.GetFileNameWithoutExtension(path),-20} running");
        }
        return 0;
    }

    public static int Stop(string name)
    {
        using var socket = Ask(Path.Combine(Folder, name + ".sock"), 6);
        return 0;
    }

    private static Socket Ask(string path, uint type)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Connect(new UnixDomainSocketEndPoint(path));
        socket.Send([.. BitConverter.GetBytes(type), 0, 0, 0, 0]);
        return socket;
    }
}
