using System.Text.RegularExpressions;
using Xunit;

namespace Testing.Tests.Install;

/// <summary>The systemd units: they name what exists, systemd can read them, and a worker's end is no guest's.</summary>
public sealed partial class UnitsTests
{
    public static TheoryData<string> Names => ["sandbox-api", "sandbox-migrations", "sandbox-worker"];

    [Theory]
    [MemberData(nameof(Names))]
    public void Unit_NamesWhatExists(string name)
    {
        var unit = Unit(name);
        InstalledFiles.ProgramsExist(unit, 1);
        var users = InstalledFiles.Read("deploy/systemd/sandbox.sysusers.conf");
        foreach (var user in All(unit, "User")) Assert.Contains($"u {user} ", users, StringComparison.Ordinal);
        foreach (var directory in All(unit, "WorkingDirectory")) Assert.True(InstalledFiles.Exists(Path.GetFileName(directory)), directory);
        foreach (var file in All(unit, "EnvironmentFile")) Assert.True(InstalledFiles.Exists($"deploy/systemd/{Path.GetFileName(file)}.example"), file);
        foreach (var setting in All(unit, "Environment").SelectMany(line => line.Split(' ')).Select(pair => pair.Split('=')[0]).Where(name => !name.StartsWith("DOTNET_", StringComparison.Ordinal)))
            Assert.Null(InstalledFiles.ProblemOf(setting));
        foreach (var other in All(unit, "Requires").Concat(All(unit, "After")).SelectMany(line => line.Split(' ')).Where(other => other.StartsWith("sandbox-", StringComparison.Ordinal)))
            Assert.True(InstalledFiles.Exists($"deploy/systemd/{other}"), other);
    }

    [Fact]
    public void Migrations_AreCalledWithOptionsThatTheyHave()
    {
        var options = Option().Matches(Assert.Single(All(Unit("sandbox-migrations"), "ExecStart"))).Select(m => m.Value).ToList();
        Assert.Equal(["--connection-file", "--admin-key-file"], options);
        Assert.All(options, option => Assert.Contains($"options[\"{option[2..]}\"]", InstalledFiles.Read("migrations/Program.cs"), StringComparison.Ordinal));
    }

    [Fact]
    public void Api_StartsAfterMigrations_AndNotWithoutThem()
    {
        var unit = Unit("sandbox-api");
        Assert.Equal(["sandbox-migrations.service"], All(unit, "Requires"));
        Assert.Contains("sandbox-migrations.service", Assert.Single(All(unit, "After")), StringComparison.Ordinal);
        Assert.Equal(["oneshot"], All(Unit("sandbox-migrations"), "Type"));
    }

    /// <summary>Seen with systemd 257 as well: docs/install.md.</summary>
    [Fact]
    public void Worker_WhenItsUnitStops_KeepsItsGuests()
    {
        var unit = Unit("sandbox-worker");
        Assert.Equal(["process"], All(unit, "KillMode"));
        Assert.Equal(["yes"], All(unit, "Delegate"));
        Assert.Equal(["continue"], All(unit, "OOMPolicy"));
        Assert.Contains($"Leaf = \"{Assert.Single(All(unit, "DelegateSubgroup"))}\";", InstalledFiles.Read("worker/Vms/VmCgroup.cs"), StringComparison.Ordinal);
        Assert.Empty(All(unit, "User"));
    }

    /// <summary>systemd-sysusers makes no user of a name with a colon, and ends with 0 all the same.</summary>
    [Fact]
    public void Users_HaveNamesThatSystemdTakes() =>
        Assert.All(InstalledFiles.Read("deploy/systemd/sandbox.sysusers.conf").Split('\n', StringSplitOptions.RemoveEmptyEntries), line => Assert.Matches("^u [a-z-]+ - \"[^:\"]+\"$", line));

    [Theory]
    [InlineData("api")]
    [InlineData("worker")]
    public void Example_NamesSettingsThatExist(string name)
    {
        // Those of lists are told apart by the worker's own tests, which bind them.
        var settings = InstalledFiles.Settings($"deploy/systemd/{name}.env.example").Keys.Where(key => key.Split("__").Length < 3 || key.StartsWith("Logging", StringComparison.Ordinal)).ToList();
        Assert.True(settings.Count >= 5, $"only {settings.Count} settings");
        Assert.All(settings, setting => Assert.Null(InstalledFiles.ProblemOf(setting)));
    }

    [Theory]
    [MemberData(nameof(Names))]
    public async Task Unit_IsReadBySystemd(string name)
    {
        Assert.SkipUnless(File.Exists("/usr/bin/systemd-analyze") && File.Exists("/usr/bin/dotnet"), "systemd or /usr/bin/dotnet is not on this machine");
        await using var verify = ProcessUnderTest.Start("systemd-analyze", ["verify", "--man=no", Path.Combine(Surroundings.Repository, $"deploy/systemd/{name}.service")]);
        Assert.True(await verify.WaitForExitAsync(TimeSpan.FromSeconds(30)) == 0, verify.Output);
        // What an older systemd does not know it says, and goes on.
        Assert.DoesNotContain(verify.Lines, line => line.Contains($"{name}.service:", StringComparison.Ordinal) && !Newer().IsMatch(line));
    }

    private static string Unit(string name) => InstalledFiles.Read($"deploy/systemd/{name}.service");

    private static IReadOnlyList<string> All(string unit, string key) =>
        [.. unit.Split('\n').Where(line => line.StartsWith(key + "=", StringComparison.Ordinal)).Select(line => line[(key.Length + 1)..].TrimStart('-'))];

    [GeneratedRegex("--[a-z-]+")]
    private static partial Regex Option();

    [GeneratedRegex("Unknown key(?: name)? '(?:RestartMode|DelegateSubgroup)'")]
    private static partial Regex Newer();
}
