using Xunit;

namespace Testing.Tests.Install;

/// <summary>./sandbox publish: what it lays out is what the units start.</summary>
public sealed class PublishTests
{
    private readonly string _directory = Surroundings.NewDirectory("publish");

    [Fact]
    public async Task Publish_IntoANewDirectory_LaysOutWhatTheUnitsName()
    {
        var target = Path.Combine(_directory, "tree");
        await using var publish = Publish(target);
        // It builds nothing that the run has built already.
        Assert.True(await publish.WaitForExitAsync(TimeSpan.FromMinutes(15)) == 0, publish.Output);
        foreach (var name in UnitsTests.Names)
        {
            var unit = await File.ReadAllTextAsync(Path.Combine(target, $"usr/lib/systemd/system/{name.Data}.service"));
            var program = unit.Split('\n').First(line => line.StartsWith("ExecStart=", StringComparison.Ordinal)).Split(' ')[1];
            Assert.True(File.Exists(target + program), $"{program} is not below {target}");
            Assert.True(File.Exists(target + Path.ChangeExtension(program, ".runtimeconfig.json")));
        }
        Assert.All((string[])["opt/sandbox/web/index.html", "var/lib/sandbox/images/guest/image.json", "usr/lib/sysusers.d/sandbox.conf", "usr/lib/tmpfiles.d/sandbox.conf",
            "etc/sandbox/api.env.example", "etc/sandbox/worker.env.example"], file => Assert.True(File.Exists(Path.Combine(target, file)), file));
        Assert.All(Directory.EnumerateFileSystemEntries(target, "*", SearchOption.AllDirectories), path =>
            Assert.True(File.GetUnixFileMode(path).HasFlag(path.EndsWith("var/lib/sandbox", StringComparison.Ordinal) ? UnixFileMode.OtherExecute : UnixFileMode.OtherRead), path));
        Assert.Equal(target, Assert.Single(Directory.GetFileSystemEntries(_directory)));
    }

    [Fact]
    public async Task Publish_IntoADirectoryThatHoldsSomething_Refuses()
    {
        await File.WriteAllTextAsync(Path.Combine(_directory, "mine"), "kept");
        await using var publish = Publish(_directory);
        Assert.Equal(1, await publish.WaitForExitAsync(TimeSpan.FromMinutes(1)));
        Assert.Contains("is not empty", publish.Output, StringComparison.Ordinal);
        Assert.Equal("kept", await File.ReadAllTextAsync(Path.Combine(_directory, "mine")));
    }

    private static ProcessUnderTest Publish(string target) => ProcessUnderTest.Start(Path.Combine(Surroundings.Repository, "sandbox"), ["publish", target]);
}
