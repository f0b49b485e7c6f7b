using System.Text.RegularExpressions;
using Xunit;

namespace Testing.Tests;

/// <summary>ARCHITECTURE.md and README.md name real files.</summary>
public sealed partial class ArchitectureTests
{
    [GeneratedRegex(@"`((?:api|worker|migrations|deploy|web|tests)/[A-Za-z0-9._/-]+\.[a-z]+)`|\]\(([A-Za-z0-9._/-]+)\)")]
    private static partial Regex NamedFile();

    [Theory]
    [InlineData("ARCHITECTURE.md", 40)]
    [InlineData("README.md", 6)]
    public void Document_NamesFiles_TheyExist(string document, int atLeast)
    {
        var root = Root();
        var named = NamedFile().Matches(File.ReadAllText(Path.Combine(root, document)))
            .Select(m => m.Groups[1].Success ? m.Groups[1].Value : m.Groups[2].Value).Distinct().ToList();
        Assert.True(named.Count >= atLeast, $"{document} names only {named.Count} files");
        Assert.All(named, file => Assert.True(File.Exists(Path.Combine(root, file)), $"{document} names {file}, which does not exist"));
    }

    [Fact]
    public void Solution_ListsEveryProject()
    {
        var root = Root();
        var solution = File.ReadAllText(Path.Combine(root, "Sandbox.sln")).Replace('\\', '/');
        var projects = Directory.EnumerateFiles(root, "*.csproj", SearchOption.AllDirectories).Select(file => Path.GetRelativePath(root, file))
            .Where(file => !file.StartsWith('.') && !file.Contains("/obj/", StringComparison.Ordinal) && !file.Contains("node_modules", StringComparison.Ordinal)).ToList();
        Assert.True(projects.Count > 10, $"only {projects.Count} projects below {root}");
        Assert.All(projects, project => Assert.Contains($"\"{project}\"", solution, StringComparison.Ordinal));
    }

    private static string Root()
    {
        if (Environment.GetEnvironmentVariable("SANDBOX_REPOSITORY") is { Length: > 0 } given) return given;
        var directory = new DirectoryInfo(AppContext.BaseDirectory);
        while (directory is not null && !File.Exists(Path.Combine(directory.FullName, "Sandbox.sln"))) directory = directory.Parent;
        return directory?.FullName ?? throw new InvalidOperationException("set SANDBOX_REPOSITORY to the working tree");
    }
}
