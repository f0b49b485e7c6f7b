using System.Net;
using System.Net.Sockets;
using Contracts;

namespace GuestAgent.Sessions;

// A connection to a port of the guest's own loopback address. Guarantees: bytes in order in both directions; an end of either direction is passed on, and the other goes on.
internal sealed unsafe class TcpSession(Guid id, TcpRequest request, Action<AgentMessage> tell) : Session(id, tell)
{
    private readonly byte[] _buffer = new byte[GuestSessions.MaxFrameBytes];
    private byte[]? _pending;
    private int _written;
    private bool _reads = true, _writes = true;

    protected override SessionEnded Run()
    {
        if (request.Port is < 1 or > 65535)
            return new(SessionReasons.InvalidRequest);
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            socket.Connect(IPAddress.Loopback, request.Port);
        }
        catch (SocketException problem)
        {
            return problem.SocketErrorCode is SocketError.ConnectionRefused or SocketError.NetworkUnreachable ? new(SessionReasons.NothingListens) : new(SessionReasons.Failed, Detail: problem.SocketErrorCode.ToString());
        }
        Tell(new SessionOpened());
        socket.Blocking = false;
        var items = stackalloc LibC.PollItem[2];
        while (!IsClosed && (_reads || _writes))
        {
            items[0] = new() { Descriptor = WakeDescriptor, Wanted = LibC.PollIn };
            items[1] = new() { Descriptor = (int)socket.Handle, Wanted = (short)((_reads && Credit > 0 ? LibC.PollIn : 0) | (_pending is null ? 0 : LibC.PollOut)) };
            // A socket that is only waited for is not asked: its hang-up would be told again and again.
            LibC.Poll(items, items[1].Wanted == 0 ? 1u : 2u, -1);
            if (items[0].Seen != 0)
                Heard();
            Receive(socket);
            Send(socket);
        }
        return new(SessionReasons.Done);
    }

    private void Receive(Socket socket)
    {
        if (!_reads || Credit == 0)
            return;
        var count = socket.Receive(_buffer, SocketFlags.None, out var error);
        if (error == SocketError.WouldBlock)
            return;
        _reads = error == SocketError.Success && count > 0;
        _writes &= error == SocketError.Success;
        TellOutput(1, _buffer.AsSpan(0, _reads ? count : 0));
    }

    private void Send(Socket socket)
    {
        while (_writes)
        {
            if (_pending is null)
            {
                if ((_pending = NextInput()) is null)
                    return;
                _written = 0;
            }
            if (_pending.Length == 0)
            {
                _writes = false;
                socket.Shutdown(SocketShutdown.Send);
            }
            while (_writes && _written < _pending.Length)
            {
                var count = socket.Send(_pending, _written, _pending.Length - _written, SocketFlags.None, out var error);
                if (error == SocketError.WouldBlock)
                    return;
                _writes = error == SocketError.Success;
                _written += count;
            }
            _pending = null;
        }
    }
}
