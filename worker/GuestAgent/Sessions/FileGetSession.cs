using Contracts;
using Microsoft.Win32.SafeHandles;

namespace GuestAgent.Sessions;

// Reads a regular file; its digest is told before its bytes. Guarantees: the bytes that were told have that digest, or the end says that the file changed.
// A small file is read once, as far as there is something to read, and told from memory: what tells another thing at each reading, as files of /proc do, can be had that way,
// whatever size it claims. A larger one is read twice.
internal sealed class FileGetSession(Guid id, FileGetRequest request, Action<AgentMessage> tell) : Session(id, tell)
{
    private const int MaxKeptBytes = 1024 * 1024;

    /// <summary><c>Kept</c>: the whole file; null: it is to be read again.</summary>
    private sealed record Content(long Size, string Sha256, byte[]? Kept);

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
        // What is as large as it says need not be read to be refused.
        if (RandomAccess.GetLength(handle) > request.MaxBytes)
            return new(SessionReasons.TooLarge);
        var buffer = new byte[GuestSessions.MaxFrameBytes];
        if (Read(handle, buffer) is not { } file)
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
            var part = (int)Math.Min(buffer.Length, file.Size - at);
            if (file.Kept is { } kept)
            {
                TellOutput(1, kept.AsSpan((int)at, part));
                at += part;
                continue;
            }
            var read = RandomAccess.Read(handle, buffer.AsSpan(0, part), at);
            if (read == 0)
                return new(SessionReasons.Changed);
            sent.Append(buffer.AsSpan(0, read));
            TellOutput(1, buffer.AsSpan(0, read));
            at += read;
        }
        return new(file.Kept is not null || sent.Finish() == file.Sha256 ? SessionReasons.Done : SessionReasons.Changed);
    }

    /// <summary>Null when it is larger than it may be, or nobody waits any more.</summary>
    private Content? Read(SafeFileHandle handle, byte[] buffer)
    {
        var hash = new Sha256();
        var kept = new MemoryStream();
        var size = 0L;
        while (!IsClosed)
        {
            var read = RandomAccess.Read(handle, buffer, size);
            if (read == 0)
                return new(size, hash.Finish(), size <= MaxKeptBytes ? kept.ToArray() : null);
            size += read;
            if (size > request.MaxBytes)
                return null;
            hash.Append(buffer.AsSpan(0, read));
            if (size <= MaxKeptBytes)
                kept.Write(buffer, 0, read);
            else
                kept.SetLength(0);
        }
        return null;
    }
}
