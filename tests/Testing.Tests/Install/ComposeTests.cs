using System.Text.RegularExpressions;
using Xunit;
using YamlDotNet.Core;
using YamlDotNet.Serialization;

namespace Testing.Tests.Install;

/// <summary>deploy/compose.yaml: it names what exists, and confines what it starts.</summary>
public sealed partial class ComposeTests
{
    private static readonly string Text = InstalledFiles.Read("deploy/compose.yaml");
    private static readonly Dictionary<object, object> Compose = Parse();
    private static Dictionary<object, object> Services => Map(Compose, "services");

    public static TheoryData<string> Names => [.. Services.Keys.Cast<string>()];

    [Theory]
    [MemberData(nameof(Names))]
    public void Service_IsConfined(string name)
    {
        var service = Map(Services, name);
        Assert.Equal("true", service["read_only"]);
        Assert.Equal(["ALL"], List(service, "cap_drop"));
        Assert.False(service.ContainsKey("cap_add") || service.ContainsKey("privileged") || service.ContainsKey("devices"));
        Assert.Equal(["no-new-privileges:true"], List(service, "security_opt"));
        var limits = Map(Map(Map(service, "deploy"), "resources"), "limits");
        Assert.All((string[])["cpus", "memory", "pids"], limit => Assert.True(limits.ContainsKey(limit), $"{name} has no limit of {limit}"));
        // Ours say theirs in the Dockerfile.
        Assert.True(service.ContainsKey("build") || service.ContainsKey("user"), $"{name} runs as its image likes");
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Service_NamesWhatExists(string name)
    {
        var service = Map(Services, name);
        if (service.TryGetValue("build", out var built))
        {
            var build = (Dictionary<object, object>)built;
            Assert.Matches($" AS {build["target"]}\n", InstalledFiles.Read("Dockerfile"));
            Assert.True(InstalledFiles.Exists(Path.Combine("deploy", (string)build["context"], "Dockerfile")));
            Assert.All(Map(build, "args").Keys, argument => Assert.Matches($@"(?m)^ARG {argument}(=|$)", InstalledFiles.Read("Dockerfile")));
            Assert.All(Keys(service, "environment"), setting => Assert.Null(InstalledFiles.ProblemOf(setting)));
        }
        Assert.All(List(service, "secrets"), secret => Assert.Contains(secret, Keys(Compose, "secrets")));
        Assert.All(List(service, "networks"), network => Assert.Contains(network, Keys(Compose, "networks")));
        Assert.All(Keys(service, "depends_on"), other => Assert.Contains(other, Keys(Compose, "services")));
        Assert.All(List(service, "volumes"), volume =>
        {
            var parts = volume.Split(':');
            Assert.Contains(parts[0], Keys(Compose, "volumes"));
            // A new volume has the owner of the image's directory: root's, if there is none.
            if (service.ContainsKey("build")) Assert.Contains($" {parts[1]}", InstalledFiles.Read("Dockerfile"), StringComparison.Ordinal);
        });
    }

    [Fact]
    public void Order_IsDatabaseMigrationsApiWorker()
    {
        Assert.Equal("service_healthy", Condition("migrations", "postgres"));
        Assert.Equal("service_completed_successfully", Condition("api", "migrations"));
        Assert.Equal("service_healthy", Condition("worker", "api"));
        Assert.Equal("no", Map(Services, "migrations")["restart"]);
    }

    [Fact]
    public void Database_IsReachedByApiAndMigrationsOnly()
    {
        Assert.Equal("true", Map(Map(Compose, "networks"), "database")["internal"]);
        Assert.Equal(["api", "migrations", "postgres"], Keys(Compose, "services").Where(name => List(Map(Services, name), "networks").Contains("database")).Order());
        Assert.Equal(["database"], List(Map(Services, "postgres"), "networks"));
        var ports = Keys(Compose, "services").SelectMany(name => List(Map(Services, name), "ports").Select(port => (name, port))).ToList();
        Assert.Equal([("api", "${SANDBOX_ADDRESS:-127.0.0.1}:${SANDBOX_PORT:-8080}:8080")], ports);
    }

    [Fact]
    public void Secrets_AreFiles_AndTheWorkerHasNone()
    {
        Assert.DoesNotMatch("(?i)password *[:=] *[^ ]*\\$", Text);
        Assert.All(Keys(Compose, "services").SelectMany(name => Keys(Map(Services, name), "environment")).Where(setting => PasswordName().IsMatch(setting)),
            setting => Assert.EndsWith("_FILE", setting, StringComparison.Ordinal));
        Assert.Empty(List(Map(Services, "worker"), "secrets"));
        Assert.DoesNotContain(List(Map(Services, "worker"), "volumes"), volume => volume.StartsWith("admin:", StringComparison.Ordinal));
        // Not read-only: it writes the token there that takes the place of this one.
        Assert.Contains("token:/var/lib/sandbox/token", List(Map(Services, "worker"), "volumes"));
    }

    [Fact]
    public void Variables_AreThoseOfTheExample_WithItsDefaults()
    {
        var example = InstalledFiles.Settings("deploy/compose.env.example");
        var used = Interpolation().Matches(Text).ToLookup(m => m.Groups[1].Value, m => m.Groups[2].Value);
        Assert.Equal(example.Keys.Order(), used.Select(u => u.Key).Order());
        Assert.All(used, variable => Assert.Equal(example[variable.Key], Assert.Single(variable.Distinct())));
    }

    [Fact]
    public void Bases_AreTheDockerfiles() => Assert.All(Map(Map(Map(Services, "api"), "build"), "args").Where(a => (string)a.Key != "DOTNET_SDK"), argument =>
        Assert.Contains($"ARG {argument.Key}={Interpolation().Match((string)argument.Value).Groups[2].Value}\n", InstalledFiles.Read("Dockerfile"), StringComparison.Ordinal));

    private static string Condition(string service, string on) => (string)Map(Map(Map(Services, service), "depends_on"), on)["condition"];

    private static Dictionary<object, object> Parse()
    {
        var parser = new MergingParser(new Parser(new StringReader(InstalledFiles.Read("deploy/compose.yaml"))));
        return new DeserializerBuilder().Build().Deserialize<Dictionary<object, object>>(parser)!;
    }

    private static Dictionary<object, object> Map(Dictionary<object, object> of, string key) => (Dictionary<object, object>)of[key];

    private static IReadOnlyList<string> Keys(Dictionary<object, object> of, string key) => of.TryGetValue(key, out var map) ? [.. ((Dictionary<object, object>)map).Keys.Cast<string>()] : [];

    private static IReadOnlyList<string> List(Dictionary<object, object> of, string key) => of.TryGetValue(key, out var list) ? [.. ((List<object>)list).Cast<string>()] : [];

    [GeneratedRegex("(?i)password|secret|token|key")]
    private static partial Regex PasswordName();

    // The one without a default has a sentence instead, which is none.
    [GeneratedRegex(@"\$\{(\w+)(?::-([^}]*)|:\?[^}]*)\}")]
    private static partial Regex Interpolation();
}
