namespace Worker;

// A file that appears whole or not at all: written beside its place and moved there. A leftover of a crash is written anew.
internal static class WholeFile
{
    /// <summary>On the disk when this returns, and for its owner alone.</summary>
    public static void Replace(string path, ReadOnlySpan<byte> content)
    {
        var temporary = path + ".new";
        // Of a crash; its mode may be any.
        File.Delete(temporary);
        var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, BufferSize = 0, UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite };
        using (var stream = new FileStream(temporary, options))
        {
            stream.Write(content);
            stream.Flush(flushToDisk: true);
        }
        File.Move(temporary, path, overwrite: true);
        LibC.SyncDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
    }

    /// <summary>One that was written beside its place, and is on the disk already: its name, too, is when this returns.</summary>
    public static void PutInPlace(string temporary, string path, UnixFileMode mode)
    {
        File.SetUnixFileMode(temporary, mode);
        File.Move(temporary, path, overwrite: true);
        LibC.SyncDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
    }

    /// <summary>Without waiting for the disk: for what is written often. A crash of the machine, not of the worker, may leave the old one.</summary>
    public static void ReplaceInCache(string path, byte[] content)
    {
        File.WriteAllBytes(path + ".new", content);
        File.Move(path + ".new", path, overwrite: true);
    }
}
