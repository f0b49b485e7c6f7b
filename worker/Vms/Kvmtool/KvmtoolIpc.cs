using System.Buffers.Binary;
using System.Net.Sockets;
using Worker.Channels;

namespace Worker.Vms.Kvmtool;

// lkvm's own protocol on its socket (kvm-ipc.c): a head of two native 32-bit numbers, type and length of what follows; the answer to
// Pid is the bare number. lkvm serves one connection at a time, until it is closed: none is kept open. It answers as the VM's user could: a
// number is a claim, and every wait has the caller's limit.
internal static class KvmtoolIpc
{
    public const uint StopType = 6, PidType = 7;
    private const int HeadBytes = 8;

    public static async Task<int> AskPidAsync(string socketPath, CancellationToken ct)
    {
        using var socket = await SendAsync(socketPath, PidType, ct);
        var answer = new byte[sizeof(int)];
        for (var read = 0; read < answer.Length;)
            read += await socket.ReceiveAsync(answer.AsMemory(read), ct) is > 0 and var more ? more : throw new IOException("lkvm closed the connection instead of answering");
        return BinaryPrimitives.ReadInt32LittleEndian(answer);
    }

    /// <summary>Ends the VM at once, whatever its guest is doing.</summary>
    public static async Task StopAsync(string socketPath, CancellationToken ct)
    {
        try
        {
            using var socket = await SendAsync(socketPath, StopType, ct);
        }
        catch (SocketException problem)
        {
            throw new IOException($"lkvm does not answer: {problem.Message}", problem);
        }
    }

    private static async Task<Socket> SendAsync(string socketPath, uint type, CancellationToken ct)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await SocketFile.ConnectAsync(socket, socketPath, ct);
            var head = new byte[HeadBytes];
            BinaryPrimitives.WriteUInt32LittleEndian(head, type);
            await socket.SendAsync(head.AsMemory(), ct);
            return socket;
        }
        catch (Exception problem) when (problem is SocketException or OperationCanceledException)
        {
            socket.Dispose();
            throw;
        }
    }
}
