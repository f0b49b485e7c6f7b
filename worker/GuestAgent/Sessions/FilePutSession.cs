using System.Runtime.Versioning;
using Contracts;

namespace GuestAgent.Sessions;

// Writes a file. Guarantees: under its name there is what was before, or all of the new one, written to the disk; what was begun is removed,
// unless the agent is killed meanwhile. A symbolic link of that name is replaced, never followed; what else is no regular file (a directory, a device, a pipe, a socket) is refused.
[SupportedOSPlatform("linux")]
internal sealed class FilePutSession(Guid id, FilePutRequest request, Action<AgentMessage> tell) : Session(id, tell)
{
    protected override SessionEnded Run()
    {
        if (FileProblem.OfPath(request.Path) is { } problem)
            return problem;
        if (IsOther)
            return new(SessionReasons.NotAFile);
        var part = Path.Combine(Path.GetDirectoryName(request.Path)!, $".sandbox-{Id:N}.part");
        var file = new FileStream(part, new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite });
        try
        {
            using (file)
            {
                Tell(new SessionOpened());
                var (ended, size, sha256) = Receive(file);
                if (ended is not null)
                    return ended;
                File.SetUnixFileMode(file.SafeFileHandle, (UnixFileMode)(request.Mode & LibC.PermissionMask));
                file.Flush(flushToDisk: true);
                if (IsOther)
                    return new(SessionReasons.NotAFile);
                File.Move(part, request.Path, overwrite: true);
                return new(SessionReasons.Done, SizeBytes: size, Sha256: sha256);
            }
        }
        finally
        {
            File.Delete(part);
        }
    }

    // A link to a directory may be one that the guest cannot do without.
    private bool IsOther => Directory.Exists(request.Path) || LibC.ModeOfPath(request.Path) is >= 0 and var mode && (mode & LibC.FileTypeMask) is not (LibC.RegularFile or LibC.SymbolicLink);

    private (SessionEnded? Ended, long Size, string Sha256) Receive(FileStream file)
    {
        var hash = new Sha256();
        var size = 0L;
        while (!IsClosed)
        {
            if (NextInput() is not { } data)
            {
                WaitForStep();
                continue;
            }
            if (data.Length == 0)
                return (null, size, hash.Finish());
            size += data.Length;
            if (size > request.MaxBytes)
                return (new(SessionReasons.TooLarge), 0, "");
            hash.Append(data);
            file.Write(data);
        }
        return (new(SessionReasons.Done), 0, "");
    }
}
