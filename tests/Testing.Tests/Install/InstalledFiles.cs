using System.Text.RegularExpressions;
using Xunit;

namespace Testing.Tests.Install;

/// <summary>The files by which the service is installed, read as text, and what the code says about the names in them.</summary>
internal static partial class InstalledFiles
{
    public static string Read(string path) => File.ReadAllText(Path.Combine(Surroundings.Repository, path));

    public static bool Exists(string path) => Path.Exists(Path.Combine(Surroundings.Repository, path));

    /// <summary>Settings of an env file, those in comments as well: they are the examples.</summary>
    public static IReadOnlyDictionary<string, string> Settings(string path) => Setting().Matches(Read(path)).ToDictionary(m => m.Groups[1].Value, m => m.Groups[2].Value.Trim());

    /// <summary>Null when the API or the worker reads a setting of this name.</summary>
    public static string? ProblemOf(string setting)
    {
        var path = setting.Split("__");
        if (path[0] == "Worker")
            return path.Length == 2 && Properties("worker/WorkerOptions.cs").Contains(path[1]) ? null : $"WorkerOptions has no {setting}";
        // The framework's own.
        if (setting == "Urls" || setting.StartsWith("Logging__LogLevel__", StringComparison.Ordinal))
            return null;
        var names = string.Concat(Sources("api"));
        var quoted = path[0] == "ConnectionStrings" ? $"\"{path[^1]}\"" : $"\"{string.Join(':', path)}\"";
        // What webhooks and images have alike is read by one reader, for the section that it is given.
        var shared = names.Contains($"Rules.Read(configuration, \"{path[0]}\")", StringComparison.Ordinal) && names.Contains($"{{section}}:{path[^1]}\"", StringComparison.Ordinal);
        return shared || names.Contains(quoted, StringComparison.Ordinal) ? null : $"the API reads no {setting}";
    }

    /// <summary>The assembly of a project's folder, as the project file says it.</summary>
    public static string AssemblyOf(string folder)
    {
        var project = Assert.Single(Directory.GetFiles(Path.Combine(Surroundings.Repository, folder), "*.csproj"));
        return AssemblyName().Match(File.ReadAllText(project)) is { Success: true } named ? named.Groups[1].Value : Path.GetFileNameWithoutExtension(project);
    }

    /// <summary>Every program of ours that a text starts exists: /opt/sandbox/FOLDER/ASSEMBLY.dll.</summary>
    public static void ProgramsExist(string text, int atLeast)
    {
        var programs = Program().Matches(text);
        Assert.True(programs.Count >= atLeast, $"only {programs.Count} programs");
        Assert.All(programs, program => Assert.Equal(AssemblyOf(program.Groups[1].Value), program.Groups[2].Value));
    }

    private static IEnumerable<string> Sources(string folder) => Directory.EnumerateFiles(Path.Combine(Surroundings.Repository, folder), "*.cs", SearchOption.AllDirectories)
        .Where(file => !file.Contains("/obj/", StringComparison.Ordinal) && !file.Contains("/bin/", StringComparison.Ordinal)).Select(File.ReadAllText);

    private static HashSet<string> Properties(string path) => [.. Property().Matches(Read(path)).Select(m => m.Groups[1].Value)];

    [GeneratedRegex(@"^#?([A-Za-z][A-Za-z0-9_]*)=(.*)$", RegexOptions.Multiline)]
    private static partial Regex Setting();

    [GeneratedRegex(@"public \S+ (\w+) \{ get; set; \}")]
    private static partial Regex Property();

    [GeneratedRegex("<AssemblyName>(.+?)</AssemblyName>")]
    private static partial Regex AssemblyName();

    [GeneratedRegex(@"/opt/sandbox/([a-z]+)/([A-Za-z.]+)\.dll")]
    private static partial Regex Program();
}
