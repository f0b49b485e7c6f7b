namespace Worker.Tests;

/// <summary>A directory of the test's own, where other users may pass, removed at the end.</summary>
internal sealed class TemporaryDirectory : IDisposable
{
    /// <param name="below">Null: the machine's directory for such things, whose path may be long.</param>
    public TemporaryDirectory(string? below = null)
    {
        FullPath = below is null ? Directory.CreateTempSubdirectory("sbx-").FullName : Directory.CreateDirectory(Path.Combine(below, $"sbx-{Guid.NewGuid().ToString("N")[..8]}")).FullName;
        File.SetUnixFileMode(FullPath, (UnixFileMode)0b111_101_101);
    }

    public string FullPath { get; }

    public string Of(string name) => Path.Combine(FullPath, name);

    public void Dispose() => Directory.Delete(FullPath, recursive: true);
}
