using Worker.Vms;
using Xunit;

namespace Worker.Tests.Vms;

public sealed class RuntimeDirectoryTests
{
    [Theory]
    [InlineData("")]
    [InlineData(".")]
    [InlineData("..")]
    [InlineData("../../etc")]
    [InlineData("/etc")]
    [InlineData("00112233445566778899aabbccddeef")]
    [InlineData("00112233445566778899AABBCCDDEEFF")]
    [InlineData("00112233-4455-6677-8899-aabbccddeeff")]
    [InlineData("{00112233445566778899aabbccddeeff}")]
    [InlineData(" 00112233445566778899aabbccddeeff")]
    [InlineData("00112233445566778899aabbccddeeff\n")]
    [InlineData("00112233445566778899aabbccddeeff/x")]
    [InlineData("state.json")]
    public void Parse_WhenNameIsNotAGuid_Refuses(string name) => Assert.Null(RuntimeDirectory.Parse("/s", name));

    [Fact]
    public void Parse_WhenNameIsAGuid_StaysBelowTheRoot() =>
        Assert.Equal("/s/00112233445566778899aabbccddeeff", RuntimeDirectory.Parse("/s", "00112233445566778899aabbccddeeff")!.FullPath);

    [Fact]
    public void Remove_WhenVmLeftLinks_LeavesTheirTargets()
    {
        using var root = new TemporaryDirectory();
        Directory.CreateDirectory(root.Of("precious"));
        File.WriteAllText(root.Of("precious/file"), "x");
        var directory = RuntimeDirectory.Of(root.FullPath, Guid.NewGuid());
        directory.Create();
        directory.CreateVmmDirectory(null);
        Directory.CreateSymbolicLink(Path.Combine(directory.VmmDirectory, "link"), root.Of("precious"));
        directory.Remove();
        Assert.False(directory.Exists);
        Assert.True(File.Exists(root.Of("precious/file")));
    }

    [Fact]
    public void CreateVmmDirectory_IsFreshAndClosedToOthers()
    {
        using var root = new TemporaryDirectory();
        var directory = RuntimeDirectory.Of(root.FullPath, Guid.NewGuid());
        directory.Create();
        directory.CreateVmmDirectory(null);
        File.WriteAllText(directory.QmpSocket, "old");
        directory.CreateVmmDirectory(null);
        Assert.Empty(Directory.GetFileSystemEntries(directory.VmmDirectory));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(directory.VmmDirectory));
    }

    [Fact]
    public void Scan_WhenForeignEntriesLieThere_ListsThemApart()
    {
        using var root = new TemporaryDirectory();
        var directory = RuntimeDirectory.Of(root.FullPath, Guid.NewGuid());
        directory.Create();
        File.WriteAllText(root.Of("note"), "");
        Directory.CreateSymbolicLink(root.Of("00112233445566778899aabbccddeeff"), directory.FullPath);
        var (directories, foreign) = RuntimeDirectory.Scan(root.FullPath);
        Assert.Equal(directory.Id, Assert.Single(directories).Id);
        Assert.Equal(["00112233445566778899aabbccddeeff", "note"], foreign.Order(StringComparer.Ordinal));
    }
}
