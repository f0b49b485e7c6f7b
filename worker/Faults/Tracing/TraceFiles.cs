using System.Text;

namespace Worker.Faults.Tracing;

/// <summary>tracefs, or a test's stand-in. Every path is relative to its mount; what the kernel refuses is an IOException or UnauthorizedAccessException.</summary>
internal interface ITraceFiles
{
    bool Exists(string path);

    /// <summary>Names; none where there is no such folder.</summary>
    IReadOnlyList<string> Folders(string path);

    string Read(string path);

    /// <summary>One write, which adds to what is there.</summary>
    void Write(string path, string text);

    void MakeFolder(string path);

    void RemoveFolder(string path);
}

// The kernel's own. Assumes: a file that is opened to be written is never cut off, for kprobe_events and the like would then lose everybody's.
internal sealed class TraceFiles(string root) : ITraceFiles
{
    private const int MaxBytes = 8 << 20;

    /// <summary>Where tracefs is mounted; null where it is not.</summary>
    public static TraceFiles? Mounted() =>
        ((string[])["/sys/kernel/tracing", "/sys/kernel/debug/tracing"]).FirstOrDefault(root => File.Exists(Path.Combine(root, "trace"))) is { } found ? new TraceFiles(found) : null;

    public bool Exists(string path) => Path.Exists(Path.Combine(root, path));

    public IReadOnlyList<string> Folders(string path) => Exists(path) ? [.. Directory.EnumerateDirectories(Path.Combine(root, path)).Select(folder => Path.GetFileName(folder))] : [];

    public string Read(string path)
    {
        using var file = new FileStream(Path.Combine(root, path), FileMode.Open, FileAccess.Read, FileShare.ReadWrite, bufferSize: 0);
        var bytes = new MemoryStream();
        var buffer = new byte[64 * 1024];
        for (var read = file.Read(buffer); read > 0; read = file.Read(buffer))
        {
            bytes.Write(buffer, 0, read);
            if (bytes.Length > MaxBytes)
                throw new IOException($"{path} is longer than {MaxBytes} bytes");
        }
        return Encoding.UTF8.GetString(bytes.GetBuffer(), 0, (int)bytes.Length);
    }

    public void Write(string path, string text)
    {
        using var file = new FileStream(Path.Combine(root, path), FileMode.Open, FileAccess.Write, FileShare.ReadWrite, bufferSize: 0);
        file.Write(Encoding.ASCII.GetBytes(text + "\n"));
    }

    public void MakeFolder(string path) => Directory.CreateDirectory(Path.Combine(root, path));

    public void RemoveFolder(string path) => Directory.Delete(Path.Combine(root, path));
}
