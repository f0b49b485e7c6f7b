using System.Globalization;
using System.Text;

namespace Worker.Hardware;

// The machine's /sys, /proc, /dev and /boot, below a root that tests replace.
// Guarantees: everything is bounded (bytes of a file, names in a directory), no link is followed to decide what something is called, and what
// vanishes or may not be read between two looks is null, never an exception: hot-unplug, permissions and hostile trees are ordinary here.
public sealed class HostTree(string root)
{
    private const int MaxTextBytes = 4096, MaxNames = 65_536;
    public static readonly HostTree Machine = new("/");

    public string Root => root;

    /// <summary>A small file without its last line end; null when it is not there or may not be read.</summary>
    public string? Text(string path, int maxBytes = MaxTextBytes) => Bytes(path, maxBytes) is { } bytes ? Encoding.UTF8.GetString(bytes).TrimEnd('\n', '\0') : null;

    /// <summary>At most that many bytes: as many as the file gives.</summary>
    public byte[]? Bytes(string path, int maxBytes)
    {
        try
        {
            using var file = new FileStream(Of(path), FileMode.Open, FileAccess.Read, FileShare.ReadWrite, bufferSize: 0);
            var buffer = new byte[maxBytes];
            var read = file.ReadAtLeast(buffer, maxBytes, throwOnEndOfStream: false);
            return buffer.AsSpan(0, read).ToArray();
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>Names in a directory, in order; none when it is not there.</summary>
    public IReadOnlyList<string> Names(string directory)
    {
        try
        {
            return [.. new DirectoryInfo(Of(directory)).EnumerateFileSystemInfos().Take(MaxNames).Select(entry => entry.Name).Order(StringComparer.Ordinal)];
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }

    /// <summary>The last name of a link's target, as it is written in the link; null when there is no link.</summary>
    public string? LinkName(string path) => LinkText(path) is { } target ? Path.GetFileName(target.TrimEnd('/')) : null;

    /// <summary>A link's target as it is written; null when there is no link.</summary>
    public string? LinkText(string path)
    {
        try
        {
            return new FileInfo(Of(path)).LinkTarget is { Length: > 0 } target ? target : null;
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    public bool Exists(string path) => Path.Exists(Of(path));

    /// <summary>A number as sysfs writes it, hexadecimal after 0x and decimal otherwise.</summary>
    public long? Number(string path)
    {
        var text = Text(path);
        return text switch
        {
            null => null,
            _ when text.StartsWith("0x", StringComparison.Ordinal) => long.TryParse(text.AsSpan(2), NumberStyles.HexNumber, CultureInfo.InvariantCulture, out var hex) ? hex : null,
            _ => long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var number) ? number : null,
        };
    }

    private string Of(string path) => Path.Combine(root, path.TrimStart('/'));
}
