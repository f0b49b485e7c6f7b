using Contracts;
using Microsoft.Win32.SafeHandles;

namespace GuestAgent.Sessions;

// Reads a regular file, twice: its digest is told before its bytes. Guarantees: the bytes that were told have that digest, or the end says that the file changed.
internal sealed class FileGetSession(Guid id, FileGetRequest request, Action<AgentMessage> tell) : Session(id, tell)
{
    protected override SessionEnded Run()
    {
        if (FileProblem.OfPath(request.Path) is { } problem)
            return problem;
        // Opening must not wait for whoever would write into a pipe.
        var descriptor = LibC.Open(request.Path, LibC.ReadOnly | LibC.NonBlock | LibC.CloseOnExec);
        if (descriptor < 0)
            return LibC.LastError == LibC.ENoEntry ? new(SessionReasons.NotFound) : new(SessionReasons.Failed, Detail: LibC.Describe(LibC.LastError));
        using var handle = new SafeFileHandle(descriptor, ownsHandle: true);
        var mode = LibC.ModeOf(descriptor);
        if (mode < 0 || (mode & LibC.FileTypeMask) != LibC.RegularFile)
            return new(SessionReasons.NotAFile);
        var buffer = new byte[GuestSessions.MaxFrameBytes];
        if (Digest(handle, buffer) is not { } file)
            return new(IsClosed ? SessionReasons.Done : SessionReasons.TooLarge);
        Tell(new SessionOpened(file.Size, mode & LibC.PermissionMask, file.Sha256));
        var sent = new Sha256();
        for (var at = 0L; at < file.Size;)
        {
            if (IsClosed)
                return new(SessionReasons.Done);
            if (Credit == 0)
            {
                WaitForStep();
                continue;
            }
            var read = RandomAccess.Read(handle, buffer.AsSpan(0, (int)Math.Min(buffer.Length, file.Size - at)), at);
            if (read == 0)
                return new(SessionReasons.Changed);
            sent.Append(buffer.AsSpan(0, read));
            TellOutput(1, buffer.AsSpan(0, read));
            at += read;
        }
        return new(sent.Finish() == file.Sha256 ? SessionReasons.Done : SessionReasons.Changed);
    }

    /// <summary>Null when it is larger than it may be, or nobody waits any more.</summary>
    private (long Size, string Sha256)? Digest(SafeFileHandle handle, byte[] buffer)
    {
        var hash = new Sha256();
        var size = 0L;
        while (!IsClosed)
        {
            var read = RandomAccess.Read(handle, buffer, size);
            if (read == 0)
                return (size, hash.Finish());
            size += read;
            if (size > request.MaxBytes)
                return null;
            hash.Append(buffer.AsSpan(0, read));
        }
        return null;
    }
}
