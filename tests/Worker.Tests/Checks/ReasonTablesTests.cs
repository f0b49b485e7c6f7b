using System.Reflection;
using System.Text.RegularExpressions;
using Contracts;
using Worker.Checks;
using Worker.Faults;
using Worker.Hardware.Assignment;
using Worker.Hardware.Verdicts;
using Worker.Sync;
using Worker.Vms;
using Xunit;

namespace Worker.Tests.Checks;

/// <summary>Every reason that a worker or its guest's agent can give stands in a table, from which docs/neoverse-node.md is written.</summary>
public sealed partial class ReasonTablesTests
{
    private static readonly (string Table, IReadOnlyList<string> Keys)[] Tables =
    [
        ("SvaReasons", [.. SvaReasons.All.Select(r => $"{r.Link} {r.Code}")]),
        ("VerdictReasons", [.. VerdictReasons.All.Select(r => r.Code)]),
        ("AssignmentReasons", [.. AssignmentReasons.All.Select(r => r.Code)]),
        ("NodeReasons", [.. NodeReasons.All.Select(r => r.Code)]),
        ("JoinReasons", [.. JoinReasons.All.Select(r => r.Code)]),
        ("StartReasons", [.. StartReasons.All.Select(r => r.Code)]),
        ("EndReasons", [.. EndReasons.All.Select(r => r.Reason.Code)]),
        ("ConditionReasons", [.. ConditionReasons.All.Select(r => $"{r.Type} {r.Code}")]),
        ("ProbeReasons", [.. ProbeReasons.All.Select(r => r.Code)]),
        ("NullReasons", [.. NullReasons.All.Select(r => r.Code)]),
        ("KnownFailures", [.. KnownFailures.All.Select(k => k.Code)]),
    ];

    private static readonly HashSet<string> Known = [.. Tables.SelectMany(t => t.Keys).Select(key => key.Split(' ')[^1])];

    /// <summary>Where codes are made: the first argument, or the first text of a condition, link or verdict, may be no text.</summary>
    [GeneratedRegex("""new (?:Failure|VmStartException|DeviceProblem|Reason|SvaReason|VerdictReason|ConditionReason|ProbeException)\(\s*\$?"|(?:JoinOutcome\.Refused|FromErrno)\(\s*\$?"|NullReason = "|new (?:Condition|VerdictLink|Verdict)\((?:[^()";]|\([^()"]*\))*\$?"|LinkStatus\.[A-Z][a-z]+, "|ProbeOutcome\.[A-Z][a-z]+, "|throw new\("[A-Z]""")]
    private static partial Regex Construction();

    [GeneratedRegex("""(?<![$@])"([A-Za-z][A-Za-z0-9_]*)"(?!")""")]
    private static partial Regex Text();

    [Fact]
    public void EveryTable_HasEachCodeOnce()
    {
        Assert.All(Tables, table => Assert.Empty(table.Keys.GroupBy(key => key).Where(group => group.Count() > 1).Select(group => $"{table.Table}: {group.Key}")));
        Assert.All(Tables.SelectMany(t => t.Keys), key => Assert.Matches("^([A-Za-z]+ )?([A-Z][A-Za-z0-9]+|[a-z]+(_[a-z]+)+)$", key));
    }

    [Fact]
    public void EveryReason_SaysSomethingAndHasARemedy() => Assert.All(
        (IEnumerable<Reason>)[.. AssignmentReasons.All, .. NodeReasons.All, .. JoinReasons.All, .. StartReasons.All, .. EndReasons.All.Select(e => e.Reason), .. KnownFailures.All.Select(k => k.Reason)],
        reason => Assert.True(reason.Message.EndsWith('.') && reason.Remedy.Length > 0, reason.Code));

    /// <summary>A field that is not in its table would be missing in the document.</summary>
    [Theory]
    [InlineData(typeof(AssignmentReasons))]
    [InlineData(typeof(NodeReasons))]
    [InlineData(typeof(JoinReasons))]
    [InlineData(typeof(StartReasons))]
    [InlineData(typeof(SvaReasons))]
    [InlineData(typeof(VerdictReasons))]
    [InlineData(typeof(ConditionReasons))]
    [InlineData(typeof(NullReasons))]
    [InlineData(typeof(ProbeReasons))]
    public void EveryField_IsInItsTable(Type table)
    {
        var listed = Tables.Single(t => t.Table == table.Name).Keys.Select(key => key.Split(' ')[^1]).ToHashSet();
        var fields = table.GetFields(BindingFlags.Public | BindingFlags.Static).Where(f => f.Name != "All").Select(f => f.GetValue(null)!)
            .Select(value => value as string ?? (string)value.GetType().GetProperty("Code")!.GetValue(value)!).ToList();
        Assert.NotEmpty(fields);
        Assert.Equal(fields.Distinct().Order(StringComparer.Ordinal), listed.Order(StringComparer.Ordinal));
    }

    [Fact]
    public void EveryEnd_HasItsReason() => Assert.Equal(
        Enum.GetValues<EndCause>().Where(cause => cause != EndCause.Failed).Select(cause => (cause, cause == EndCause.StoppedByUser ? StopReasons.AsPlanned : cause.ToString())).Order(),
        EndReasons.All.Select(entry => (entry.Cause, entry.Reason.Code)).Order());

    [Fact]
    public void NoCode_IsMadeOutsideOfATable()
    {
        var found = Sources().SelectMany(source => Construction().Matches(source.Text).Select(m => $"{source.Name}: {m.Value}")).ToList();
        Assert.True(found.Count == 0, string.Join('\n', found));
    }

    [Fact]
    public void NoCodeOfATable_IsWrittenAgainElsewhere()
    {
        var found = Sources().SelectMany(source => Text().Matches(source.Text).Where(m => Known.Contains(m.Groups[1].Value)).Select(m => $"{source.Name}: {m.Value}")).ToList();
        Assert.True(found.Count == 0, string.Join('\n', found));
    }

    /// <summary>That the two above see anything at all.</summary>
    [Theory]
    [InlineData("""problems.Add(new Failure("Some", "m", "r", now));""")]
    [InlineData("throw new VmStartException(\n    \"Some\", m);")]
    [InlineData("""reading with { NullReason = "Some" }""")]
    [InlineData("""new Condition(ConditionType.GuestReady, ConditionStatus.False, "Some", "m", now)""")]
    [InlineData("""new(VerdictLinkName.Vmm, LinkStatus.Fail, "Some", "m", "r")""")]
    [InlineData("""throw ProbeException.FromErrno("Some", "step")""")]
    [InlineData("""new JoinOutcome.Refused("Some", m, r)""")]
    public void Construction_OfABareCode_IsSeen(string line) => Assert.Matches(Construction(), line);

    private static List<(string Name, string Text)> Sources()
    {
        var repository = Environment.GetEnvironmentVariable("SANDBOX_REPOSITORY");
        Assert.False(string.IsNullOrEmpty(repository), "run the tests with ./sandbox test");
        var worker = Path.Combine(repository, "worker");
        var sources = Directory.EnumerateFiles(worker, "*.cs", SearchOption.AllDirectories)
            .Where(file => !file.Contains("/obj/", StringComparison.Ordinal) && !file.Contains("/bin/", StringComparison.Ordinal))
            .Where(file => Path.GetFileNameWithoutExtension(file) is var name && Tables.All(table => table.Table != name))
            .Select(file => (Path.GetRelativePath(repository, file), File.ReadAllText(file))).ToList();
        Assert.True(sources.Count > 100, $"only {sources.Count} sources below {worker}");
        return sources;
    }
}
