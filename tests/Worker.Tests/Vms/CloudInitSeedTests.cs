using Contracts;
using Worker.Vms;
using Xunit;

namespace Worker.Tests.Vms;

public sealed class CloudInitSeedTests
{
    private static readonly Guid Id = Guid.Parse("00112233-4455-6677-8899-aabbccddeeff");

    private static CloudInitSeed Seed(string? userData = null, string[]? keys = null, int incarnation = 1, string? name = "web", bool hasAgent = false) =>
        CloudInitSeed.For(Id, incarnation, name, new SandboxSpec("cloud", 1, 512, Viommu.None, [], userData, keys ?? [], Vmm.Qemu), hasAgent);

    [Fact]
    public void MetaData_NamesTheStartTheSandboxAndItsKeys()
    {
        Assert.Equal("instance-id: \"00112233445566778899aabbccddeeff-1\"\nlocal-hostname: \"web\"\n", Seed().MetaData);
        Assert.Equal(
            "instance-id: \"00112233445566778899aabbccddeeff-7\"\nlocal-hostname: \"web\"\npublic-keys:\n  - \"ssh-ed25519 AAAA+/= a \\\"b\\\" \\\\c: #d\"\n  - \"ssh-rsa BBBB\"\n",
            Seed(keys: ["ssh-ed25519 AAAA+/= a \"b\" \\c: #d", "ssh-rsa BBBB"], incarnation: 7).MetaData);
    }

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("Web")]
    [InlineData("-web")]
    [InlineData("web\n")]
    [InlineData("web\"\nx: y")]
    [InlineData("a.b")]
    public void MetaData_OfANameThatIsNoHosts_HasTheSandboxesNumber(string? name) =>
        Assert.Contains("\nlocal-hostname: \"sandbox-00112233445566778899aabbccddeeff\"\n", Seed(name: name).MetaData, StringComparison.Ordinal);

    [Theory]
    [InlineData("plain", "\"plain\"")]
    [InlineData("a\nb\t\0\u007f", "\"a\\U0000000Ab\\U00000009\\U00000000\\U0000007F\"")]
    [InlineData("ü\u2028\ufeff", "\"\\U000000FC\\U00002028\\U0000FEFF\"")]
    [InlineData("\U0001F600", "\"\\U0001F600\"")]
    public void Quote_LeavesOneLineOfAscii(string text, string quoted) => Assert.Equal(quoted, CloudInitSeed.Quote(text));

    [Fact]
    public void Quote_OfHalfACharacter_HasWhatStandsForIt() => Assert.Equal("\"\\U0000FFFD\"", CloudInitSeed.Quote("\ud83d"));

    [Theory]
    [InlineData("#!/bin/sh\necho 'a \"b\"' $x \\\n")]
    [InlineData("#cloud-config\r\nruncmd: [ \"ü 😀\" ]")]
    [InlineData("neither of both\n\n")]
    [InlineData("Content-Type: multipart/mixed; boundary=\"x\"\n\n--x--\n")]
    public void UserData_IsTheUsersOwn(string text)
    {
        Assert.Equal(text, Seed(text, ["ssh-rsa BBBB"]).UserData);
        Assert.DoesNotContain("BBBB", Seed(text).MetaData, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(null, false)]
    [InlineData("", false)]
    [InlineData("#!/bin/sh\n", true)]
    public void UserData_OfNoneOrForAnAgent_SaysNothing(string? text, bool hasAgent) => Assert.Equal("#cloud-config\n{}\n", Seed(text, hasAgent: hasAgent).UserData);

    [Fact]
    public void Write_LeavesTwoFilesForTheVmsUserAlone()
    {
        using var root = new TemporaryDirectory();
        var directory = RuntimeDirectory.Of(root.FullPath, Id);
        directory.Create();
        directory.CreateVmmDirectory(null);
        var text = "#!/bin/sh\n# " + string.Concat(Enumerable.Repeat("ü", (16_384 - 12) / 2));
        var user = LibC.EffectiveUser() == 0 ? 1_900_000_001u : (uint?)null;
        Seed(text).Write(directory, user);
        var folder = Path.Combine(directory.VmmDirectory, "seed");
        Assert.Equal(["meta-data", "user-data"], Directory.EnumerateFileSystemEntries(folder).Select(Path.GetFileName).Order(StringComparer.Ordinal));
        Assert.Equal(16_384, new FileInfo(Path.Combine(folder, "user-data")).Length);
        Assert.Equal(text, File.ReadAllText(Path.Combine(folder, "user-data")));
        Assert.Equal((UnixFileMode)0b111_000_000, File.GetUnixFileMode(folder));
        foreach (var file in (string[])[folder, Path.Combine(folder, "meta-data"), Path.Combine(folder, "user-data")])
        {
            var facts = LibC.Describe(file)!.Value;
            Assert.Equal(user ?? LibC.EffectiveUser(), facts.Owner);
            Assert.Equal((UnixFileMode)0, facts.Mode & ~(UnixFileMode)0b111_000_000);
        }
        Assert.Equal((UnixFileMode)0b110_000_000, File.GetUnixFileMode(Path.Combine(folder, "user-data")));
    }

    [Fact]
    public void Write_WhereSomethingLiesAlready_DoesNotFollowIt()
    {
        using var root = new TemporaryDirectory();
        var directory = RuntimeDirectory.Of(root.FullPath, Id);
        directory.Create();
        directory.CreateVmmDirectory(null);
        File.WriteAllText(root.Of("target"), "kept");
        Directory.CreateDirectory(Path.Combine(directory.VmmDirectory, "seed"));
        File.CreateSymbolicLink(Path.Combine(directory.VmmDirectory, "seed", "user-data"), root.Of("target"));
        Assert.Throws<IOException>(() => Seed("evil").Write(directory, null));
        Assert.Equal("kept", File.ReadAllText(root.Of("target")));
    }
}
