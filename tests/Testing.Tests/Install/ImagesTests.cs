using System.Text.Json;
using System.Text.RegularExpressions;
using Xunit;

namespace Testing.Tests.Install;

/// <summary>The Dockerfile and what it copies. That it builds is not shown here: docs/install.md says what was built, and how.</summary>
public sealed partial class ImagesTests
{
    private static readonly string Dockerfile = InstalledFiles.Read("Dockerfile").Replace("\\\n", " ", StringComparison.Ordinal);
    private static IReadOnlyList<string> Stages => [.. Stage().Matches(Dockerfile).Select(m => m.Groups[2].Value)];

    [Fact]
    public void Copies_AreOfFilesThatExist_AndAreNotIgnored()
    {
        var let = InstalledFiles.Read(".dockerignore").Split('\n').Where(line => line.StartsWith('!')).Select(line => line[1..]).ToList();
        Assert.All(let, path => Assert.True(InstalledFiles.Exists(path), $".dockerignore lets {path} in, which does not exist"));
        var copied = Copy().Matches(Dockerfile).SelectMany(m => m.Groups[1].Value.Split(' ', StringSplitOptions.RemoveEmptyEntries)[..^1]).ToList();
        Assert.True(copied.Count > 20, $"only {copied.Count} files are copied");
        Assert.All(copied, path =>
        {
            Assert.True(InstalledFiles.Exists(path), $"the Dockerfile copies {path}, which does not exist");
            Assert.True(let.Exists(root => path == root || path.StartsWith(root + "/", StringComparison.Ordinal)), $".dockerignore keeps {path} out");
        });
    }

    [Fact]
    public void Ignored_Always_IsEverythingFirst() => Assert.Equal("*", InstalledFiles.Read(".dockerignore").Split('\n').First(line => !line.StartsWith('#')));

    [Fact]
    public void Stages_ThatAreNamed_Exist()
    {
        Assert.All(From().Matches(Dockerfile), from => Assert.Contains(from.Groups[1].Value, Stages));
        Assert.All(Stage().Matches(Dockerfile).Select(m => m.Groups[1].Value).Where(name => !name.StartsWith('$')), name => Assert.Contains(name, Stages));
    }

    [Theory]
    [InlineData("api", true)]
    [InlineData("migrations", false)]
    [InlineData("worker", true)]
    public void Target_RunsAsNumberedUser_AndTellsItsHealthIfItStays(string target, bool stays)
    {
        var text = TextOf(target);
        Assert.Matches(@"\nUSER 10001:10001\n", text);
        Assert.DoesNotMatch("curl|wget", text);
        Assert.Equal(stays, text.Contains("\nHEALTHCHECK ", StringComparison.Ordinal));
        if (stays) Assert.Matches($@"CMD \[""dotnet"", ""/opt/sandbox/{target}/{InstalledFiles.AssemblyOf(target)}\.dll"", ""health""\]", text);
    }

    [Fact]
    public void Programs_ThatAreStarted_Exist()
    {
        InstalledFiles.ProgramsExist(Dockerfile, 3);
        InstalledFiles.ProgramsExist(InstalledFiles.Read("deploy/container/worker.sh"), 2);
    }

    [Fact]
    public void Settings_OfTheImages_AreReal()
    {
        var settings = Variable().Matches(Dockerfile).Select(m => m.Groups[1].Value).Where(name => name.Contains("__", StringComparison.Ordinal) || name == "Urls").ToList();
        Assert.True(settings.Count >= 6, $"only {settings.Count} settings");
        Assert.All(settings, setting => Assert.Null(InstalledFiles.ProblemOf(setting)));
    }

    [Fact]
    public void Bases_AreThoseThatTheSourcesNeed()
    {
        var node = Regex.Match(Dockerfile, @"\nARG NODE=node:(\d+)-");
        using var page = JsonDocument.Parse(InstalledFiles.Read("web/package.json"));
        var needed = Regex.Match(page.RootElement.GetProperty("engines").GetProperty("node").GetString()!, @"^>=(\d+)\.");
        // A later one, because the needed one's first versions are too old.
        Assert.True(int.Parse(node.Groups[1].Value, null) > int.Parse(needed.Groups[1].Value, null), $"node {node.Groups[1].Value} for {needed.Value}");

        using var sdk = JsonDocument.Parse(InstalledFiles.Read("global.json"));
        var major = sdk.RootElement.GetProperty("sdk").GetProperty("version").GetString()!.Split('.')[0];
        Assert.Contains($"The .NET {major} SDK's image", InstalledFiles.Read("deploy/compose.env.example"), StringComparison.Ordinal);
        // No name that somebody else could register stands in for it.
        Assert.Contains("\nARG DOTNET_SDK\n", Dockerfile, StringComparison.Ordinal);
    }

    private static string TextOf(string target) => Dockerfile[Dockerfile.IndexOf($" AS {target}\n", StringComparison.Ordinal)..].Split("\nFROM ")[0];

    [GeneratedRegex(@"^FROM (?:--platform=\S+ )?(\S+) AS (\S+)$", RegexOptions.Multiline)]
    private static partial Regex Stage();

    [GeneratedRegex(@"^COPY ((?!--from)[^\n]+)$", RegexOptions.Multiline)]
    private static partial Regex Copy();

    [GeneratedRegex(@"--from=(\S+)")]
    private static partial Regex From();

    [GeneratedRegex(@"(?<=^ENV .*)\b([A-Za-z_]+)=", RegexOptions.Multiline)]
    private static partial Regex Variable();
}
